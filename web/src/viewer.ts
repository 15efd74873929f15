/** A motion on the page: the stage, and under it what plays it. */

import { type Clip, isGiven, type MotionInfo } from "./clip";
import { h, icon } from "./dom";
import { type Actor, Stage } from "./stage";
import { DARK, LIGHT, theatre } from "./theatre";
import * as tool from "./tools";
import { chooseFigure, chosenFigure, dress, type FigureName, FIGURE_NAMES, FIGURES } from "./wardrobe";

const SPEEDS = [0.25, 0.5, 1, 2];

export interface Take {
  clip: Clip;
  info: MotionInfo;
  /** Where the movement of the body is, if not at the server under the motion's name. */
  pose?: string;
}

const isDark = (): boolean => document.documentElement.dataset["theme"] === "dark";

/** Viewers that are on the page, the one that was used last at the end. */
const viewers: Viewer[] = [];

/** The viewer that keys are for. */
export const activeViewer = (): Viewer | undefined => viewers[viewers.length - 1];

/** Lets everything stand still that is on the page. */
export function pauseViewers(): void {
  for (const viewer of viewers) viewer.pause();
}

/** Lets everybody on the page be another figure, now and on the next visit. */
function choose(name: FigureName): void {
  chooseFigure(name);
  for (const viewer of viewers) viewer.dress();
}

/** Draws all anew, in the colours of the page. */
export function redressViewers(): void {
  if (!viewers.length) return;
  theatre().dress(isDark() ? DARK : LIGHT);
  for (const viewer of viewers) viewer.run();
}

export class Viewer {
  readonly element: HTMLElement;
  private readonly canvas: HTMLCanvasElement;
  private readonly scrubber: HTMLInputElement;
  private readonly time: HTMLElement;
  private readonly playButton: HTMLButtonElement;
  private readonly legend: HTMLElement;
  private readonly speed: HTMLSelectElement;
  private readonly figure: HTMLSelectElement;
  private readonly stage: Stage;
  private readonly frames: number;
  private readonly fps: number;
  private frame = 0;
  private playing = false;
  private loop = true;
  private compared = false;
  private ghosts = false;
  private paths = true;
  private visible = false;
  private last = 0;
  private shownFrame = -1;
  private shownSegment: string | null = null;
  /** What each actor wears; null as long as nothing. */
  private worn: (FigureName | null)[] = [];
  /** Whether somebody should be the body, but cannot. */
  private bodiless = false;
  /** Counts changes of clothes, so that one that comes too late is known. */
  private dressings = 0;

  /**
   * @param takes samples of one request, side by side
   * @param source what they were made from, to compare with
   * @param quiet without controls, as decoration
   */
  constructor(private readonly takes: Take[], private readonly source: Take | null = null, quiet = false) {
    const title = takes[0]!.info.title;
    this.frames = Math.max(...takes.map((take) => take.clip.frames));
    this.fps = takes[0]!.clip.fps;
    this.canvas = h("canvas", {
      class: "stage",
      tabindex: quiet ? -1 : 0,
      role: "img",
      "aria-label": `A moving figure: ${title}. Space plays and pauses, the arrow keys step.`,
    });
    this.scrubber = h("input", {
      type: "range", class: "scrubber", min: 0, max: this.frames - 1, step: 1, value: 0, "aria-label": "Frame",
      oninput: () => {
        this.pause();
        this.seek(Number(this.scrubber.value));
      },
    });
    this.time = h("output", { class: "time", "aria-live": "off" });
    this.playButton = tool.button("pause", "Pause (space)", () => this.toggle());
    this.speed = h("select", { class: "speed", "aria-label": "Speed", title: "Speed" },
      ...SPEEDS.map((speed) => h("option", { value: speed, selected: speed === 1 }, `${speed}×`)));
    this.figure = h("select", {
      class: "speed", "aria-label": "Figure", title: "Figure (B)",
      onchange: () => choose(this.figure.value as FigureName),
    }, ...FIGURE_NAMES.map((name) => h("option", { value: name }, FIGURES[name])));
    this.legend = h("div", { class: "legend" });
    const controls = h("div", { class: "controls" },
      this.playButton, this.scrubber, this.time, this.speed, this.figure,
      h("div", { class: "switches", onclick: () => this.run() },
        tool.onOff("loop", "Loop (L)", true, (on) => { this.loop = on; }),
        tool.onOff("follow", "Follow (F)", true, (on) => { this.stage.follow = on; }),
        tool.onOff("path", "Path on the floor (T)", true, (on) => { this.paths = on; this.stage.setPathsShown(on); }),
        tool.onOff("ghost", "Poses over time (G)", false, (on) => { this.ghosts = on; this.stage.setGhostsShown(on); }),
        source && tool.onOff("Compare", "Compare with the motion that was given (C)", false, (on) => this.compare(on))),
      tool.button("expand", "Full window (X)", () => this.expand()),
    );
    this.element = h("figure", { class: quiet ? "viewer quiet" : "viewer" }, this.canvas, this.legend, quiet ? null : controls);
    this.stage = new Stage(this.canvas, () => this.run());
    if (!viewers.length) theatre().dress(isDark() ? DARK : LIGHT);
    this.stage.setZoom(false);
    this.canvas.addEventListener("wheel", (event) => this.stage.setZoom(this.expanded || event.ctrlKey), { capture: true });
    this.element.addEventListener("pointerdown", () => this.activate());
    this.element.addEventListener("focusin", () => this.activate());
    this.perform();
    viewers.push(this);
    new ResizeObserver(() => this.resize()).observe(this.canvas);
    new IntersectionObserver((entries) => {
      this.visible = entries.some((entry) => entry.isIntersecting);
      if (this.visible) this.run();
    }).observe(this.canvas);
    if (quiet && matchMedia("(prefers-reduced-motion: reduce)").matches) this.seek(this.frames / 2);
    else this.play();
  }

  /** Joints of a sample, for tests and for those who look into the console. */
  get joints(): Float32Array {
    return this.takes[0]!.clip.joints;
  }

  get currentFrame(): number {
    return Math.min(Math.round(this.frame), this.frames - 1);
  }

  /** What is on stage, actor by actor; null while it comes. */
  get figures(): readonly (FigureName | null)[] {
    return this.worn;
  }

  get expanded(): boolean {
    return this.element.classList.contains("expanded");
  }

  play(): void {
    if (this.frame >= this.frames - 1) this.frame = 0;
    this.setPlaying(true);
    this.run();
  }

  pause(): void {
    this.setPlaying(false);
  }

  toggle(): void {
    if (this.playing) this.pause();
    else this.play();
  }

  /** Goes to a frame, from the last one if negative. */
  seek(frame: number): void {
    this.frame = Math.max(0, Math.min(this.frames - 1, frame));
    this.stage.arrive();
    this.show();
    this.run();
  }

  step(frames: number): void {
    this.pause();
    this.seek(Math.round(this.frame) + frames);
  }

  /** Does what a key stands for; whether it stands for anything. */
  key(event: KeyboardEvent): boolean {
    const actions: Record<string, () => void> = {
      " ": () => this.toggle(),
      ArrowLeft: () => this.step(event.shiftKey ? -10 : -1),
      ArrowRight: () => this.step(event.shiftKey ? 10 : 1),
      Home: () => this.step(-this.frames),
      End: () => this.step(this.frames),
      Escape: () => this.expanded && this.expand(),
      x: () => this.expand(),
      ...Object.fromEntries(["l", "f", "t", "g", "c"].map((letter) => [letter, () => this.press(letter)])),
      b: () => choose(FIGURE_NAMES[(FIGURE_NAMES.indexOf(chosenFigure()) + 1) % FIGURE_NAMES.length]!),
    };
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    action?.();
    return action !== undefined;
  }

  /** Gives everybody the figure that was chosen. */
  dress(): void {
    const dressing = ++this.dressings;
    this.bodiless = false;
    this.figure.value = chosenFigure();
    this.actors().forEach(({ clip, pose }, index) => {
      dress(clip, pose, (shape, name, failed) => {
        if (dressing !== this.dressings) return shape.dispose();
        this.stage.wear(index, shape);
        this.worn[index] = name;
        this.bodiless ||= failed;
        this.describe();
        this.show();
        this.run();
      });
    });
  }

  dispose(): void {
    this.setPlaying(false);
    this.dressings++;
    viewers.splice(viewers.indexOf(this), 1);
    this.stage.dispose();
    this.element.remove();
  }

  private actors(): Actor[] {
    const actor = ({ clip, info, pose }: Take, given: (frame: number) => boolean): Actor =>
      ({ clip, pose: pose ?? `api/motions/${info.id}/pose`, given });
    const actors = this.takes.map((take) => actor(take, (frame) => isGiven(take.info, frame)));
    return this.compared && this.source ? [actor(this.source, () => true), ...actors] : actors;
  }

  /** Puts everybody on the stage. */
  private perform(): void {
    const actors = this.actors();
    this.worn = actors.map(() => null);
    this.stage.cast(actors);
    this.stage.setPathsShown(this.paths);
    this.stage.setGhostsShown(this.ghosts);
    this.stage.show(this.frame);
    this.describe();
    this.dress();
  }

  private describe(): void {
    const { info } = this.takes[0]!;
    const parts: (HTMLElement | string)[] = [];
    const mark = (kind: string, text: string) => h("span", { class: `mark ${kind}` }, text);
    if (info.given.length || this.compared) parts.push(mark("given", "given"), mark("made", "made"));
    if (this.compared) parts.push("left: as it was given");
    if (this.takes.length > 1) {
      parts.push(`${this.takes.length} samples, seeds ${this.takes.map((take) => take.info.seed).join(", ")}`);
    }
    if (this.bodiless) parts.push("The body cannot be shown.");
    this.legend.replaceChildren(...parts);
    this.shownSegment = null;
    this.shownFrame = -1;
    this.scrubber.style.setProperty("--fill", tool.track(info, this.frames - 1));
  }

  private compare(on: boolean): void {
    this.compared = on;
    this.perform();
    this.show();
  }

  private expand(): void {
    const expanded = this.element.classList.toggle("expanded");
    document.body.classList.toggle("has-expanded", expanded);
    this.stage.setZoom(expanded);
    this.resize();
  }

  private activate(): void {
    viewers.splice(viewers.indexOf(this), 1);
    viewers.push(this);
  }

  private press(letter: string): void {
    this.element.querySelector<HTMLButtonElement>(`[data-key="${letter}"]`)?.click();
  }

  private setPlaying(playing: boolean): void {
    this.playing = playing;
    this.playButton.replaceChildren(icon(playing ? "pause" : "play"));
    this.playButton.title = playing ? "Pause (space)" : "Play (space)";
    this.playButton.setAttribute("aria-label", this.playButton.title);
  }

  private resize(): void {
    const scale = Math.min(window.devicePixelRatio || 1, 2);
    this.canvas.width = Math.round(this.canvas.clientWidth * scale);
    this.canvas.height = Math.round(this.canvas.clientHeight * scale);
    this.run();
  }

  private show(): void {
    const frame = this.currentFrame;
    this.stage.show(this.frame);
    if (frame === this.shownFrame) return;
    this.shownFrame = frame;
    this.scrubber.value = String(frame);
    const seconds = (frame / this.fps).toFixed(1);
    const info = this.takes[0]!.info;
    const segment = info.segments.find((one) => frame < one.stop)?.prompt ?? null;
    this.time.textContent = `${seconds} s · ${frame + 1}/${this.frames}`;
    this.scrubber.setAttribute("aria-valuetext", `${seconds} seconds, frame ${frame + 1} of ${this.frames}`);
    if (segment && segment !== this.shownSegment) this.legend.textContent = this.shownSegment = segment;
  }

  private waiting = false;

  /** Draws, again and again while something moves and can be seen. */
  run(): void {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame((now) => {
      this.waiting = false;
      const seconds = Math.min((now - this.last) / 1000, 0.1);
      this.last = now;
      if (!this.element.isConnected || !this.visible) return;
      if (this.playing) this.advance(seconds);
      if (this.stage.draw(seconds) || this.playing) this.run();
    });
  }

  private advance(seconds: number): void {
    this.frame += seconds * this.fps * Number(this.speed.value);
    if (this.frame > this.frames - 1) {
      if (this.loop) {
        this.frame = 0;
        this.stage.arrive();
      }
      else {
        this.frame = this.frames - 1;
        this.setPlaying(false);
      }
    }
    this.show();
  }
}
