/** What a viewer shows: figures, where they go, and the camera that looks at them. */

import { BufferAttribute, BufferGeometry, Color, DoubleSide, Group, Mesh, MeshBasicMaterial, PerspectiveCamera, Vector3 } from "three";
import { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
import { type Clip, JOINTS } from "./clip";
import { Figure, Ghost, type Shape } from "./figure";
import { theatre } from "./theatre";

/** Seconds over which the camera follows. */
const FOLLOW_SECONDS = 0.35;
const GHOSTS = 6;
/** Metres around the outermost actor in which there are shadows. */
const SHADOW_REACH = 3;

/** One figure with its clip. */
export interface Actor {
  clip: Clip;
  /** Where the movement of the body is. */
  pose: string;
  given: (frame: number) => boolean;
}

/** Half the width of a path, metres. */
const PATH_WIDTH = 0.014;
/** Metres that somebody must get around to have a path. */
const LEAST_WAY = 0.25;
const PATH = new MeshBasicMaterial({ vertexColors: true, side: DoubleSide });

/** The root's path as a ribbon on the floor, in the colours of what was given and made. */
function path(clip: Clip, given: (frame: number) => boolean): Mesh {
  const positions = new Float32Array(clip.frames * 6);
  const colours = new Float32Array(clip.frames * 6);
  const indices: number[] = [];
  const made = new Color(0xd9662a);
  const kept = new Color(0x4f8f78);
  const x = (frame: number) => clip.joints[frame * JOINTS.length * 3]!;
  const z = (frame: number) => clip.joints[frame * JOINTS.length * 3 + 2]!;
  let [across, ahead] = [1, 0];
  for (let frame = 0; frame < clip.frames; frame++) {
    const [from, to] = [Math.max(frame - 1, 0), Math.min(frame + 1, clip.frames - 1)];
    const length = Math.hypot(x(to) - x(from), z(to) - z(from));
    if (length > 1e-3) [across, ahead] = [(z(to) - z(from)) / length, (x(from) - x(to)) / length];
    const [dx, dz] = [across * PATH_WIDTH, ahead * PATH_WIDTH];
    positions.set([x(frame) - dx, 0.003, z(frame) - dz, x(frame) + dx, 0.003, z(frame) + dz], frame * 6);
    const colour = given(frame) ? kept : made;
    colour.toArray(colours, frame * 6);
    colour.toArray(colours, frame * 6 + 3);
    const corner = 2 * frame;
    if (frame) indices.push(corner - 2, corner, corner - 1, corner - 1, corner, corner + 1);
  }
  const geometry = new BufferGeometry();
  geometry.setAttribute("position", new BufferAttribute(positions, 3));
  geometry.setAttribute("color", new BufferAttribute(colours, 3));
  geometry.setIndex(indices);
  return new Mesh(geometry, PATH);
}

/** Whether somebody goes anywhere. */
function walks(clip: Clip): boolean {
  return [0, 2].some((axis) => {
    const [least, most] = reach(clip, axis);
    return most - least > LEAST_WAY;
  });
}

/** Highest and lowest of the root along an axis. */
function reach(clip: Clip, axis: number): [number, number] {
  let least = Infinity;
  let most = -Infinity;
  for (let frame = 0; frame < clip.frames; frame++) {
    const value = clip.joints[frame * JOINTS.length * 3 + axis]!;
    least = Math.min(least, value);
    most = Math.max(most, value);
  }
  return [least, most];
}

export class Stage {
  readonly camera = new PerspectiveCamera(32, 1, 0.05, 60);
  follow = true;
  private readonly group = new Group();
  private readonly orbit: OrbitControls;
  private readonly context: CanvasRenderingContext2D;
  private places: Group[] = [];
  private figures: (Figure | null)[] = [];
  private ghosts: Ghost[][] = [];
  private paths: Mesh[] = [];
  private actors: Actor[] = [];
  private readonly focus = new Vector3();
  private readonly step = new Vector3();
  private ghostly = false;
  private settled = false;
  private framed = false;
  private gap = 0;
  private now = 0;

  constructor(private readonly canvas: HTMLCanvasElement, moved: () => void) {
    theatre();
    this.context = canvas.getContext("2d")!;
    this.orbit = new OrbitControls(this.camera, canvas);
    this.orbit.enableDamping = false;
    this.orbit.maxPolarAngle = Math.PI / 2 - 0.02;
    this.orbit.minDistance = 1.2;
    this.orbit.maxDistance = 20;
    this.orbit.addEventListener("change", moved);
    canvas.style.touchAction = "pan-y";
  }

  /** Puts actors on the stage, side by side; the camera frames them. They are seen once they wear something. */
  cast(actors: Actor[]): void {
    this.clear();
    this.actors = actors;
    const widths = actors.map((actor) => reach(actor.clip, 0));
    this.gap = Math.max(1.25, ...widths.map(([least, most]) => Math.min(most - least, 2.5) + 0.8));
    this.figures = actors.map(() => null);
    this.ghosts = actors.map(() => []);
    this.paths = actors.map((actor) => path(actor.clip, actor.given));
    this.places = actors.map((_, index) => {
      const place = new Group();
      place.position.x = (index - (actors.length - 1) / 2) * this.gap;
      return place.add(this.paths[index]!);
    });
    this.group.add(...this.places);
    this.framed = false;
    this.settled = false;
    theatre().leave(this.group);
  }

  /** Gives an actor a figure in place of what it wore. */
  wear(index: number, shape: Shape): void {
    this.undress(index);
    const figure = new Figure(shape);
    this.figures[index] = figure;
    this.places[index]!.add(figure);
    if (this.ghostly) this.haunt(index);
    this.pose(index);
  }

  /** Looks at everybody from the front, a little from the side and from above. */
  private frame(): void {
    const count = this.actors.length;
    const wide = (count - 1) * this.gap + 1.9;
    const high = 2.3;
    const angle = Math.tan(((this.camera.fov / 2) * Math.PI) / 180);
    const far = Math.max(high / 2 / angle, wide / 2 / angle / Math.max(this.camera.aspect, 0.3)) + 0.3;
    const turn = count > 1 ? 0.16 : 0.5;
    this.middle(this.now, this.focus);
    this.orbit.target.copy(this.focus);
    this.camera.position.set(
      this.focus.x + far * Math.sin(turn) * 0.97,
      this.focus.y + far * 0.24,
      this.focus.z + far * Math.cos(turn) * 0.97,
    );
    this.orbit.update();
  }

  setPathsShown(shown: boolean): void {
    this.paths.forEach((ribbon, index) => { ribbon.visible = shown && walks(this.actors[index]!.clip); });
  }

  setGhostsShown(shown: boolean): void {
    this.ghostly = shown;
    this.actors.forEach((_, index) => {
      if (shown && !this.ghosts[index]!.length) this.haunt(index);
      for (const ghost of this.ghosts[index]!) ghost.visible = shown;
    });
  }

  /** Takes the poses of a moment, in frames; who is done earlier stands still. */
  show(frame: number): void {
    this.now = frame;
    for (let index = 0; index < this.figures.length; index++) this.pose(index);
  }

  private pose(index: number): void {
    const { clip, given } = this.actors[index]!;
    const now = Math.min(this.now, clip.frames - 1);
    this.figures[index]?.show(now, given(Math.round(now)));
  }

  /** Poses of the whole clip around an actor that wears something. */
  private haunt(index: number): void {
    const { clip, given } = this.actors[index]!;
    const shape = this.figures[index]?.shape;
    if (!shape) return;
    for (let ghost = 0; ghost < GHOSTS; ghost++) {
      const frame = Math.round((ghost / (GHOSTS - 1)) * (clip.frames - 1));
      this.ghosts[index]!.push(new Ghost(shape, frame, given(frame)));
    }
    this.places[index]!.add(...this.ghosts[index]!);
  }

  private undress(index: number): void {
    const place = this.places[index]!;
    for (const ghost of this.ghosts[index]!) ghost.dispose();
    place.remove(...this.ghosts[index]!);
    this.ghosts[index] = [];
    const figure = this.figures[index];
    if (!figure) return;
    figure.dispose();
    place.remove(figure);
    this.figures[index] = null;
  }

  private clear(): void {
    this.actors.forEach((_, index) => this.undress(index));
    for (const ribbon of this.paths) ribbon.geometry.dispose();
    this.group.clear();
  }

  /** Centre of all figures at a moment, at the height of their middle. */
  private middle(frame: number, into: Vector3): Vector3 {
    into.set(0, 0, 0);
    this.actors.forEach((actor, index) => {
      const at = Math.min(Math.round(frame), actor.clip.frames - 1) * JOINTS.length * 3;
      into.x += actor.clip.joints[at]! + this.places[index]!.position.x;
      into.z += actor.clip.joints[at + 2]!;
    });
    into.divideScalar(Math.max(this.actors.length, 1));
    into.y = 0.92;
    return into;
  }

  /** Draws what is on stage, some seconds after the last time; whether the camera is still on its way. */
  draw(seconds: number): boolean {
    const width = this.canvas.width;
    const height = this.canvas.height;
    if (!width || !height) return false;
    const aspect = width / height;
    if (Math.abs(aspect - this.camera.aspect) > 1e-3) {
      this.camera.aspect = aspect;
      this.camera.updateProjectionMatrix();
    }
    if (!this.framed) this.frame();
    this.framed = true;
    const step = this.middle(this.now, this.step).sub(this.focus);
    const late = this.follow && step.length() > 0.005;
    if (this.follow) {
      step.multiplyScalar(this.settled ? 1 - Math.exp(-seconds / FOLLOW_SECONDS) : 1);
      this.focus.add(step);
      this.orbit.target.add(step);
      this.camera.position.add(step);
    }
    this.settled = true;
    theatre().enter(this.group, ((this.actors.length - 1) * this.gap) / 2 + SHADOW_REACH);
    this.context.drawImage(theatre().draw(this.camera, this.orbit.target, width, height), 0, 0);
    return late;
  }

  /** Draw calls and triangles of the last picture, for those who measure. */
  get counts(): { calls: number; triangles: number } {
    const { calls, triangles } = theatre().renderer.info.render;
    return { calls, triangles };
  }

  /** Lets the camera be where it follows to at once, as after a jump in time. */
  arrive(): void {
    this.settled = false;
  }

  /** Whether the wheel and two fingers zoom, or belong to the page. */
  setZoom(enabled: boolean): void {
    this.orbit.enableZoom = enabled;
  }

  dispose(): void {
    this.orbit.dispose();
    this.clear();
    theatre().leave(this.group);
  }
}
