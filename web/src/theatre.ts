/** What all viewers share, for browsers allow few renderers: that, the floor and the light. */

import {
  Color, DirectionalLight, Fog, type Group, HemisphereLight, Mesh, PCFShadowMap, type PerspectiveCamera, PlaneGeometry, Scene,
  ShaderMaterial, ShadowMaterial, SRGBColorSpace, Vector3, WebGLRenderer,
} from "three";

export interface Look {
  background: number;
  floor: number;
  line: number;
  shadow: number;
  /** Of all lights, relative to a bright background's. */
  light: number;
}

export const LIGHT: Look = { background: 0xe9edf3, floor: 0xe3e8ef, line: 0xb9c3d2, shadow: 0.3, light: 1 };
export const DARK: Look = { background: 0x1b1f27, floor: 0x20252e, line: 0x3b4453, shadow: 0.6, light: 0.78 };

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

/** Throws where there is no WebGL. */
export class Theatre {
  readonly renderer = new WebGLRenderer({ antialias: true, powerPreference: "low-power" });
  readonly scene = new Scene();
  private readonly sun = new DirectionalLight(0xfff4ea);
  private readonly sky = new HemisphereLight(0xffffff, 0xb4bac6);
  private readonly rim = new DirectionalLight(0xdce8ff);
  private readonly floor: Mesh<PlaneGeometry, ShaderMaterial>;
  private readonly shade: Mesh<PlaneGeometry, ShadowMaterial>;
  private cast: Group | null = null;

  constructor() {
    this.renderer.outputColorSpace = SRGBColorSpace;
    this.renderer.shadowMap.enabled = true;
    this.renderer.shadowMap.type = PCFShadowMap;
    this.scene.fog = new Fog(0, 9, 22);
    this.scene.background = new Color();
    this.rim.position.set(3, 3, -5);
    this.scene.add(this.sky, this.rim, this.sun, this.sun.target);
    this.sun.castShadow = true;
    this.sun.shadow.mapSize.set(1024, 1024);
    this.sun.shadow.radius = 5;
    // On figures; on the floor the look says how dark it is.
    this.sun.shadow.intensity = 0.75;
    this.sun.shadow.bias = -0.0006;
    this.sun.shadow.normalBias = 0.01;
    const plane = new PlaneGeometry(1, 1).rotateX(-Math.PI / 2);
    const colours = { floorColour: { value: new Color() }, lineColour: { value: new Color() }, backColour: { value: new Color() } };
    this.floor = new Mesh(plane, new ShaderMaterial({
      vertexShader: FLOOR_VERTEX,
      fragmentShader: FLOOR_FRAGMENT,
      uniforms: { ...colours, centre: { value: new Vector3() } },
    }));
    this.floor.scale.set(60, 1, 60);
    this.shade = new Mesh(plane, new ShadowMaterial({ opacity: 0.3 }));
    this.shade.receiveShadow = true;
    this.scene.add(this.floor, this.shade);
  }

  dress(look: Look): void {
    (this.scene.background as Color).set(look.background);
    this.scene.fog!.color.set(look.background);
    const uniforms = this.floor.material.uniforms;
    uniforms["floorColour"]!.value.set(look.floor);
    uniforms["lineColour"]!.value.set(look.line);
    uniforms["backColour"]!.value.set(look.background);
    this.shade.material.opacity = look.shadow;
    this.sun.intensity = 2.3 * look.light;
    this.sky.intensity = 1.9 * look.light;
    this.rim.intensity = 0.9 * look.light;
  }

  /** Lets others onto the stage; shadows are drawn up to a distance from the centre. */
  enter(cast: Group, reach: number): void {
    if (this.cast === cast) return;
    if (this.cast) this.scene.remove(this.cast);
    this.cast = cast;
    this.scene.add(cast);
    const box = this.sun.shadow.camera;
    [box.left, box.right, box.top, box.bottom, box.near, box.far] = [-reach, reach, reach, -reach, 0.5, 16];
    box.updateProjectionMatrix();
    // Shadows need no larger floor than that, and a smaller one is drawn faster.
    this.shade.scale.set(2 * reach, 1, 2 * reach);
  }

  leave(cast: Group): void {
    if (this.cast !== cast) return;
    this.scene.remove(cast);
    this.cast = null;
  }

  /** Draws who is on stage around a point of the floor. */
  draw(camera: PerspectiveCamera, centre: Vector3, width: number, height: number): HTMLCanvasElement {
    this.floor.position.set(Math.round(centre.x), -0.004, Math.round(centre.z));
    this.shade.position.set(centre.x, 0, centre.z);
    (this.floor.material.uniforms["centre"]!.value as Vector3).copy(centre);
    this.sun.target.position.set(centre.x, 0, centre.z);
    this.sun.position.set(centre.x - 2.6, 5.6, centre.z + 4.2);
    const canvas = this.renderer.domElement;
    if (canvas.width !== width || canvas.height !== height) this.renderer.setSize(width, height, false);
    this.renderer.render(this.scene, camera);
    return canvas;
  }
}

let shared: Theatre | null = null;

/** The only one. */
export const theatre = (): Theatre => (shared ??= new Theatre());
