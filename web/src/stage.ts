/** What a viewer shows: a floor, figures, where they go; drawn by one renderer that all viewers share. */

import {
  BufferAttribute, BufferGeometry, Color, DirectionalLight, Fog, Group, HemisphereLight, Line, LineBasicMaterial, Mesh,
  PCFShadowMap, PerspectiveCamera, PlaneGeometry, Scene, ShaderMaterial, ShadowMaterial, SRGBColorSpace, Vector3,
  WebGLRenderer,
} from "three";
import { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
import { type Clip, JOINTS } from "./clip";
import { Mannequin } from "./mannequin";

/** Seconds over which the camera follows. */
const FOLLOW_SECONDS = 0.35;
const GHOSTS = 6;

export interface Look {
  background: number;
  floor: number;
  line: number;
  shadow: number;
}

export const LIGHT: Look = { background: 0xe9edf3, floor: 0xe3e8ef, line: 0xb9c3d2, shadow: 0.26 };
export const DARK: Look = { background: 0x1b1f27, floor: 0x20252e, line: 0x3b4453, shadow: 0.5 };

/** One figure with its clip. */
export interface Actor {
  clip: Clip;
  given: (frame: number) => boolean;
}

let shared: WebGLRenderer | null = null;

/** The renderer of all viewers: browsers allow few of them. Throws where there is no WebGL. */
function renderer(): WebGLRenderer {
  if (!shared) {
    shared = new WebGLRenderer({ antialias: true, powerPreference: "low-power" });
    shared.outputColorSpace = SRGBColorSpace;
    shared.shadowMap.enabled = true;
    shared.shadowMap.type = PCFShadowMap;
  }
  return shared;
}

const FLOOR_VERTEX = `
varying vec3 place;
void main() {
  vec4 world = modelMatrix * vec4(position, 1.0);
  place = world.xyz;
  gl_Position = projectionMatrix * viewMatrix * world;
}`;

const FLOOR_FRAGMENT = `
uniform vec3 floorColour, lineColour, backColour;
uniform vec3 centre;
varying vec3 place;
float lines(vec2 at, float every, float width) {
  vec2 scaled = at / every;
  vec2 away = abs(fract(scaled - 0.5) - 0.5) / fwidth(scaled);
  return 1.0 - min(min(away.x, away.y) / width, 1.0);
}
void main() {
  float grid = max(lines(place.xz, 1.0, 1.4), 0.35 * lines(place.xz, 0.25, 1.0));
  float fade = 1.0 - smoothstep(3.0, 11.0, distance(place.xz, centre.xz));
  gl_FragColor = vec4(mix(backColour, mix(floorColour, lineColour, grid), fade), 1.0);
  #include <colorspace_fragment>
}`;

/** The root's path as seen from above, with a moving part of it given. */
function path(clip: Clip, given: (frame: number) => boolean): Line {
  const positions = new Float32Array(clip.frames * 3);
  const colours = new Float32Array(clip.frames * 3);
  const made = new Color(0xd9662a);
  const kept = new Color(0x4f8f78);
  for (let frame = 0; frame < clip.frames; frame++) {
    const at = frame * JOINTS.length * 3;
    positions.set([clip.joints[at]!, 0.006, clip.joints[at + 2]!], frame * 3);
    (given(frame) ? kept : made).toArray(colours, frame * 3);
  }
  const geometry = new BufferGeometry();
  geometry.setAttribute("position", new BufferAttribute(positions, 3));
  geometry.setAttribute("color", new BufferAttribute(colours, 3));
  return new Line(geometry, new LineBasicMaterial({ vertexColors: true }));
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
  private readonly scene = new Scene();
  private readonly sun = new DirectionalLight(0xffffff, 2.1);
  private readonly floor: Mesh<PlaneGeometry, ShaderMaterial>;
  private readonly shade: Mesh<PlaneGeometry, ShadowMaterial>;
  private readonly orbit: OrbitControls;
  private readonly context: CanvasRenderingContext2D;
  private places: Group[] = [];
  private figures: Mannequin[] = [];
  private ghosts: Group[] = [];
  private paths: Line[] = [];
  private actors: Actor[] = [];
  private readonly focus = new Vector3();
  private settled = false;
  private framed = false;
  private gap = 0;
  private now = 0;

  constructor(private readonly canvas: HTMLCanvasElement, look: Look, moved: () => void) {
    renderer();
    this.context = canvas.getContext("2d")!;
    this.scene.fog = new Fog(look.background, 9, 22);
    this.scene.add(new HemisphereLight(0xffffff, 0x9aa4b5, 1.7), this.sun, this.sun.target);
    this.sun.castShadow = true;
    this.sun.shadow.mapSize.set(1024, 1024);
    this.sun.shadow.radius = 4;
    this.sun.shadow.bias = -0.0006;
    this.sun.shadow.normalBias = 0.01;
    const box = this.sun.shadow.camera;
    [box.left, box.right, box.top, box.bottom, box.near, box.far] = [-4, 4, 4, -4, 0.5, 16];
    const plane = new PlaneGeometry(60, 60).rotateX(-Math.PI / 2);
    const colours = { floorColour: { value: new Color() }, lineColour: { value: new Color() }, backColour: { value: new Color() } };
    this.floor = new Mesh(plane, new ShaderMaterial({
      vertexShader: FLOOR_VERTEX,
      fragmentShader: FLOOR_FRAGMENT,
      uniforms: { ...colours, centre: { value: new Vector3() } },
    }));
    this.floor.position.y = -0.004;
    this.shade = new Mesh(plane, new ShadowMaterial({ opacity: 0.3 }));
    this.shade.receiveShadow = true;
    this.scene.add(this.floor, this.shade);
    this.orbit = new OrbitControls(this.camera, canvas);
    this.orbit.enableDamping = false;
    this.orbit.maxPolarAngle = Math.PI / 2 - 0.02;
    this.orbit.minDistance = 1.2;
    this.orbit.maxDistance = 20;
    this.orbit.addEventListener("change", moved);
    canvas.style.touchAction = "pan-y";
    this.dress(look);
  }

  /** Takes other colours. */
  dress(look: Look): void {
    this.scene.background = new Color(look.background);
    this.scene.fog!.color.set(look.background);
    const uniforms = this.floor.material.uniforms;
    uniforms["floorColour"]!.value.set(look.floor);
    uniforms["lineColour"]!.value.set(look.line);
    uniforms["backColour"]!.value.set(look.background);
    this.shade.material.opacity = look.shadow;
  }

  /** Puts figures on the stage, side by side; the camera frames them. */
  cast(actors: Actor[]): void {
    for (const figure of this.figures) figure.dispose();
    this.scene.remove(...this.places);
    this.actors = actors;
    const widths = actors.map((actor) => reach(actor.clip, 0));
    const gap = Math.max(1.25, ...widths.map(([least, most]) => Math.min(most - least, 2.5) + 0.8));
    this.figures = actors.map((actor) => new Mannequin(actor.clip));
    this.ghosts = actors.map(() => new Group());
    this.paths = actors.map((actor) => path(actor.clip, actor.given));
    this.places = actors.map((_, index) => {
      const place = new Group();
      place.position.x = (index - (actors.length - 1) / 2) * gap;
      place.add(this.figures[index]!, this.ghosts[index]!, this.paths[index]!);
      return place;
    });
    this.scene.add(...this.places);
    this.gap = gap;
    this.framed = false;
    this.settled = false;
    this.show(0);
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
    for (const line of this.paths) line.visible = shown;
  }

  setGhostsShown(shown: boolean): void {
    this.figures.forEach((figure, index) => {
      const group = this.ghosts[index]!;
      if (shown && !group.children.length) {
        const { frames } = this.actors[index]!.clip;
        for (let ghost = 0; ghost < GHOSTS; ghost++) {
          group.add(figure.ghost(Math.round((ghost / (GHOSTS - 1)) * (frames - 1))));
        }
      }
      group.visible = shown;
    });
  }

  /** Takes the poses of a moment, in frames; who is done earlier stands still. */
  show(frame: number): void {
    this.figures.forEach((figure, index) => {
      const actor = this.actors[index]!;
      const now = Math.min(frame, actor.clip.frames - 1);
      figure.show(now, actor.given(Math.round(now)));
    });
    this.now = frame;
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
    const before = this.middle(this.now, new Vector3());
    const late = this.follow && before.distanceTo(this.focus) > 0.005;
    if (this.follow) {
      const share = this.settled ? 1 - Math.exp(-seconds / FOLLOW_SECONDS) : 1;
      const step = before.sub(this.focus).multiplyScalar(share);
      this.focus.add(step);
      this.orbit.target.add(step);
      this.camera.position.add(step);
    }
    this.settled = true;
    const centre = this.orbit.target;
    this.floor.position.set(Math.round(centre.x), -0.004, Math.round(centre.z));
    this.shade.position.set(this.floor.position.x, 0, this.floor.position.z);
    (this.floor.material.uniforms["centre"]!.value as Vector3).copy(centre);
    this.sun.target.position.set(centre.x, 0, centre.z);
    this.sun.position.set(centre.x - 2.2, 6.5, centre.z + 3.2);
    const draws = renderer();
    const size = draws.domElement;
    if (size.width !== width || size.height !== height) draws.setSize(width, height, false);
    draws.render(this.scene, this.camera);
    this.context.drawImage(size, 0, 0);
    return late;
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
    for (const figure of this.figures) figure.dispose();
    this.sun.shadow.dispose();
  }
}
