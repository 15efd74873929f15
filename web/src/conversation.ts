/** What was said and what came of it, oldest first. */

import { ask, clip, file, fileAddress, Problem, type Reply, type State } from "./api";
import type { MotionInfo } from "./clip";
import { h, icon } from "./dom";
import type { Sampling } from "./settings";
import { pauseViewers, type Take, Viewer } from "./viewer";

/** Kinds of files that have a button, in order; the server says which of them it has. */
const DOWNLOADS: [string, string][] = [
  ["joints", "npy"], ["bvh", "BVH"], ["glb", "GLB"], ["amass", "AMASS"], ["mp4", "mp4"],
];

export interface Wish {
  text: string;
  given?: Take | undefined;
  task?: string | undefined;
  seconds?: number | null | undefined;
  count: number;
  sampling: Sampling;
  segments?: { prompt: string; seconds: number | null }[] | undefined;
}

export class Conversation {
  readonly element = h("div", { class: "conversation", role: "log", "aria-label": "Conversation", "aria-live": "polite" });
  formats: string[] = [];
  private name: string | null = null;
  private running: AbortController | null = null;

  /** @param changed told whenever something begins or ends */
  constructor(private readonly changed: () => void) {}

  get busy(): boolean {
    return this.running !== null;
  }

  get empty(): boolean {
    return this.element.childElementCount === 0;
  }

  /** Gives up what is being made; the server stops working on it. */
  stop(): void {
    this.running?.abort();
  }

  /** Asks for something and shows what comes. */
  async ask(wish: Wish): Promise<void> {
    if (this.running) return;
    // So that the space bar plays what comes, and does not press the button again.
    if (document.activeElement instanceof HTMLButtonElement) document.activeElement.blur();
    const aborter = new AbortController();
    this.running = aborter;
    const answer = h("div", { class: "answer" });
    const turn = h("article", { class: "turn" }, this.said(wish), answer);
    this.element.append(turn);
    this.changed();
    const status = h("p", { class: "status", role: "status" }, "Sending …");
    const blank = h("div", { class: "blank", "aria-hidden": "true" });
    const words = h("p", { class: "words" });
    answer.append(words, blank, status);
    turn.scrollIntoView({ block: "end", behavior: "smooth" });
    try {
      const reply = await this.send(wish, aborter.signal, {
        state: (state) => { status.textContent = describe(state, wish); },
        text: (piece) => {
          blank.remove();
          words.textContent = (words.textContent! + piece).trimStart();
        },
      });
      const takes = await Promise.all(reply.motions.map(async (info) => ({ info, clip: await clip(info.id) })));
      answer.replaceChildren();
      if (!reply.remembered) answer.append(h("p", { class: "note" }, "The server had forgotten this conversation; it begins anew."));
      if (reply.text) answer.append(h("p", { class: "words" }, reply.text));
      if (takes.length) answer.append(this.motion(takes, wish, reply.task));
    } catch (error) {
      answer.replaceChildren(aborter.signal.aborted ? h("p", { class: "note" }, "Stopped.") : this.problem(error, wish, turn));
    } finally {
      this.running = null;
      this.changed();
      requestAnimationFrame(() => turn.scrollIntoView({ block: "end", behavior: "smooth" }));
    }
  }

  private async send(
    wish: Wish, signal: AbortSignal, hear: { state: (state: State) => void; text: (piece: string) => void },
  ): Promise<Reply> {
    if (wish.segments) {
      const body = { segments: wish.segments, ...wish.sampling };
      const made = await ask<{ motions: MotionInfo[] }>("api/timeline", body, signal, hear);
      return { ...made, conversation: "", task: "timeline", text: "", remembered: true };
    }
    const body = {
      text: wish.text, conversation: this.name, motion: wish.given?.info.id ?? null, task: wish.task || null,
      seconds: wish.seconds ?? null, count: wish.count, ...wish.sampling,
    };
    const reply = await ask<Reply>("api/chat", body, signal, hear);
    this.name = reply.conversation;
    return reply;
  }

  private said(wish: Wish): HTMLElement {
    const said = h("div", { class: "said" });
    if (wish.given) {
      said.append(h("p", { class: "with" }, `with ${wish.given.info.title}, ${wish.given.info.seconds.toFixed(1)} s`));
      if (wish.given.info.task === "upload") said.append(viewerOf([wish.given], null));
    }
    if (wish.segments) {
      said.append(h("ol", {}, ...wish.segments.map((one) =>
        h("li", {}, one.prompt, one.seconds === null ? null : h("span", { class: "length" }, ` ${one.seconds} s`)))));
    } else said.append(h("p", {}, wish.text));
    return said;
  }

  private motion(takes: Take[], wish: Wish, task: string): HTMLElement {
    let chosen = takes[0]!;
    const tools = h("div", { class: "tools" });
    const describe = () => tools.replaceChildren(...this.tools(chosen, wish));
    const source = task === "pred" || task === "inbetween" ? wish.given ?? null : null;
    const samples = takes.length < 2 ? null : h("div", { class: "samples", role: "group", "aria-label": "Sample" },
      ...takes.map((take, index) => {
        const button = h("button", {
          type: "button", class: "chip", "aria-pressed": String(take === chosen),
          onclick: () => {
            chosen = take;
            for (const other of samples!.children) other.setAttribute("aria-pressed", String(other === button));
            describe();
          },
        }, `Sample ${index + 1}`);
        return button;
      }));
    describe();
    return h("div", { class: "motion" }, viewerOf(takes, source), samples, tools);
  }

  /** What can be done with a motion. */
  private tools(take: Take, wish: Wish): HTMLElement[] {
    const { info } = take;
    const again = (text: string, task: string | undefined) => () => {
      void this.ask({ text, task, given: take, count: 1, sampling: { seed: wish.sampling.seed } });
    };
    const button = (text: string, hint: string, press: () => void) =>
      h("button", { type: "button", class: "chip", title: hint, onclick: press }, text);
    const links = DOWNLOADS.filter(([name]) => this.formats.includes(name)).map(([name, title]) =>
      download(info.id, name, title));
    const copies = [
      info.command && copier("Copy command", "The command line that makes this", info.command),
      (info.task === "t2m" || info.task === "timeline") && copier("Copy link", "An address that makes this again", address(info, wish)),
    ];
    return [
      h("div", { class: "row", role: "group", "aria-label": "Download" }, h("span", { class: "label" }, "Download"), ...links),
      h("div", { class: "row", role: "group", "aria-label": "What next" },
        h("span", { class: "label" }, "Next"),
        button("Continue", "Go on from the last frame", again("go on", "pred")),
        button("Fill the middle", "Keep both ends, make the middle anew", again("fill the middle anew", "inbetween")),
        button("What is it?", "Put it into words", again("What is this person doing?", "m2t")),
        info.task === "t2m" && button("Again", "The same words, another seed", () => {
          void this.ask({ ...wish, sampling: { ...wish.sampling, seed: (wish.sampling.seed + wish.count) % 2 ** 32 } });
        }),
        ...copies),
    ];
  }

  private problem(error: unknown, wish: Wish, turn: HTMLElement): HTMLElement {
    const known = error instanceof Problem;
    if (!known) console.error(error);
    const text = known ? error.message : "The page has made a mistake; the browser's console says which.";
    return h("div", { class: "problem", role: "alert" },
      h("p", {}, text),
      h("button", {
        type: "button", class: "chip",
        onclick: () => {
          turn.remove();
          void this.ask(wish);
        },
      }, "Try again"));
  }
}

/** A viewer, or a sentence where nothing can be drawn. */
function viewerOf(takes: Take[], source: Take | null): HTMLElement {
  try {
    pauseViewers();
    const viewer = new Viewer(takes, source);
    Object.assign(viewer.element, { viewer });
    return viewer.element;
  } catch (error) {
    console.error(error);
    return h("p", { class: "problem" }, "This browser cannot draw in 3D (WebGL is off); the files can still be downloaded.");
  }
}

function describe(state: State, wish: Wish): string {
  const about = state.seconds < 1.5 ? "a moment" : `about ${Math.ceil(state.seconds)} s`;
  if (state.started) return wish.segments ? "Making one motion after another …" : "Thinking …";
  if (!state.ahead) return "Your turn next …";
  return `${state.ahead} ${state.ahead === 1 ? "request" : "requests"} before yours, ${about}`;
}

/** An address that asks for the same again. */
function address(info: MotionInfo, wish: Wish): string {
  const query = new URLSearchParams();
  if (wish.segments) {
    for (const one of wish.segments) query.append("then", one.seconds === null ? one.prompt : `${one.seconds}s ${one.prompt}`);
  } else query.set("prompt", wish.text);
  query.set("seed", String(info.seed ?? wish.sampling.seed));
  if (!wish.segments && wish.seconds) query.set("seconds", String(wish.seconds));
  for (const name of ["guidance", "steps", "scheduler", "model"] as const) {
    const value = wish.sampling[name];
    if (value !== undefined) query.set(name, String(value));
  }
  return `${location.origin}${location.pathname}?${query}`;
}

/** A link to a file that says when it takes a while (a film is drawn first) or cannot be had. */
function download(id: string, format: string, title: string): HTMLElement {
  const link: HTMLAnchorElement = h("a", {
    class: "chip", href: fileAddress(id, format), title: `Download as ${title}`,
    onclick: async (event: MouseEvent) => {
      event.preventDefault();
      if (link.getAttribute("aria-busy")) return;
      link.setAttribute("aria-busy", "true");
      link.replaceChildren(`${title} …`);
      try {
        const { data, name } = await file(id, format);
        const address = URL.createObjectURL(data);
        h("a", { href: address, download: name }).click();
        setTimeout(() => URL.revokeObjectURL(address), 60_000);
        link.replaceChildren(title);
      } catch (error) {
        link.replaceChildren(`${title}: ${error instanceof Problem ? error.message : "failed"}`);
      }
      link.removeAttribute("aria-busy");
    },
  }, title);
  return link;
}

/** A button that puts text on the clipboard. */
function copier(title: string, hint: string, text: string): HTMLElement {
  const button = h("button", {
    type: "button", class: "chip", title: `${hint}: ${text}`, "data-copies": text,
    onclick: async () => {
      let done = true;
      try {
        await navigator.clipboard.writeText(text);
      } catch {
        done = false;
        window.prompt(hint, text);
      }
      button.replaceChildren(done ? "Copied" : title);
      setTimeout(() => button.replaceChildren(title), 1500);
    },
  }, title);
  return button;
}

/** What is attached to the next message. */
export function attachment(take: Take, remove: () => void): HTMLElement {
  return h("span", { class: "attached" }, `${take.info.title} · ${take.info.seconds.toFixed(1)} s`,
    h("button", { type: "button", class: "tool", title: "Remove", "aria-label": `Remove ${take.info.title}`, onclick: remove }, icon("close")));
}
