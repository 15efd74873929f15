/** The figure: 22 joints dressed in tapered capsules, warm on its left and cool on its right. */

import {
  BufferAttribute, BufferGeometry, Color, Group, Mesh, MeshBasicMaterial, MeshStandardMaterial, Vector3,
} from "three";
import { type Clip, JOINTS } from "./clip";

/** Hip-knee-ankle in metres of the body that the radii are for. */
const REFERENCE_LEG = 0.82;

type Tone = "left" | "right" | "middle" | "face";

interface Limb {
  start: number;
  end: number;
  startRadius: number;
  endRadius: number;
  tone: Tone;
}

/** Points that no joint gives. */
const ADDED = [
  "skull", "face_left", "face_right", "left_hand", "right_hand", "left_heel", "right_heel", "left_toe", "right_toe",
  "chest",
];
const POINTS = new Map<string, number>([...JOINTS, ...ADDED].map((name, index) => [name, index]));
const point = (name: string): number => {
  const index = POINTS.get(name);
  if (index === undefined) throw new Error(`no point ${name}`);
  return index;
};

const limb = (start: string, end: string, startRadius: number, endRadius: number, tone: Tone): Limb => ({
  start: point(start), end: point(end), startRadius, endRadius, tone,
});

const SIDE: [string, string, number, number][] = [
  ["hip", "knee", 0.086, 0.06], ["knee", "ankle", 0.058, 0.04], ["ankle", "foot", 0.042, 0.04],
  ["heel", "foot", 0.043, 0.043], ["foot", "toe", 0.04, 0.034], ["shoulder", "elbow", 0.058, 0.044],
  ["elbow", "wrist", 0.043, 0.032], ["wrist", "hand", 0.04, 0.034],
];

const LIMBS: Limb[] = [
  limb("left_hip", "right_hip", 0.07, 0.07, "middle"),
  limb("pelvis", "spine1", 0.09, 0.1, "middle"),
  limb("spine1", "chest", 0.1, 0.128, "middle"),
  limb("chest", "left_shoulder", 0.098, 0.046, "middle"),
  limb("chest", "right_shoulder", 0.098, 0.046, "middle"),
  limb("chest", "skull", 0.052, 0.046, "middle"),
  limb("skull", "skull", 0.112, 0.112, "middle"),
  ...(["left", "right"] as const).flatMap((side) =>
    SIDE.map(([start, end, a, b]) => limb(`${side}_${start}`, `${side}_${end}`, a, b, side)),
  ),
  limb("face_left", "face_right", 0.036, 0.036, "face"),
];

const COLOURS: Record<Tone, number> = { left: 0xee7a34, right: 0x2a7ccd, middle: 0xe2e0dc, face: 0x464a54 };
const GIVEN_COLOURS: Record<Tone, number> = { left: 0x8fae9b, right: 0x6f9c8a, middle: 0xb9d3c6, face: 0x3c5249 };

function materials(colours: Record<Tone, number>): Record<Tone, MeshStandardMaterial> {
  const make = (tone: Tone) => new MeshStandardMaterial({ color: new Color(colours[tone]), roughness: 0.58 });
  return { left: make("left"), right: make("right"), middle: make("middle"), face: make("face") };
}

const MADE = materials(COLOURS);
const GIVEN = materials(GIVEN_COLOURS);
const ghostMaterial = new MeshBasicMaterial({
  color: 0x8b95a7, transparent: true, opacity: 0.3,
});

const RINGS = 7;
const SECTORS = 18;

/** A capsule from the origin to (0, length, 0) whose radius changes evenly. */
function capsule(length: number, startRadius: number, endRadius: number): BufferGeometry {
  const positions: number[] = [];
  const normals: number[] = [];
  const indices: number[] = [];
  const ring = (centre: number, radius: number, latitude: number) => {
    for (let sector = 0; sector <= SECTORS; sector++) {
      const angle = (sector / SECTORS) * 2 * Math.PI;
      const normal = [Math.cos(latitude) * Math.cos(angle), Math.sin(latitude), Math.cos(latitude) * Math.sin(angle)];
      positions.push(radius * normal[0]!, centre + radius * normal[1]!, radius * normal[2]!);
      normals.push(...(normal as [number, number, number]));
    }
  };
  // Where the cone touches both balls.
  const tilt = length > 1e-6 ? Math.asin(Math.max(-1, Math.min(1, (startRadius - endRadius) / length))) : 0;
  for (let step = 0; step <= RINGS; step++) ring(0, startRadius, -Math.PI / 2 + (step / RINGS) * (Math.PI / 2 + tilt));
  for (let step = 0; step <= RINGS; step++) ring(length, endRadius, tilt + (step / RINGS) * (Math.PI / 2 - tilt));
  const row = SECTORS + 1;
  for (let band = 0; band < 2 * RINGS + 1; band++) {
    for (let sector = 0; sector < SECTORS; sector++) {
      const corner = band * row + sector;
      indices.push(corner, corner + row, corner + 1, corner + 1, corner + row, corner + row + 1);
    }
  }
  const geometry = new BufferGeometry();
  geometry.setAttribute("position", new BufferAttribute(new Float32Array(positions), 3));
  geometry.setAttribute("normal", new BufferAttribute(new Float32Array(normals), 3));
  geometry.setIndex(indices);
  return geometry;
}

const next = new Vector3();
const unit = (vector: Vector3): Vector3 => (vector.lengthSq() > 1e-12 ? vector.normalize() : vector.set(0, 1, 0));

/** All points of a frame, or of a moment between two: the joints, and those that follow from them. */
function dress(clip: Clip, frame: number, size: number, points: Vector3[]): void {
  const before = Math.min(Math.floor(frame), clip.frames - 1);
  const after = Math.min(before + 1, clip.frames - 1);
  for (let joint = 0; joint < JOINTS.length; joint++) {
    points[joint]!.fromArray(clip.joints, (before * JOINTS.length + joint) * 3);
    if (frame > before) {
      next.fromArray(clip.joints, (after * JOINTS.length + joint) * 3);
      points[joint]!.lerp(next, frame - before);
    }
  }
  const at = (name: string): Vector3 => points[point(name)]!;
  const up = unit(at("head").clone().sub(at("spine3")));
  const across = unit(at("left_shoulder").clone().sub(at("right_shoulder")));
  const forward = unit(across.cross(up));
  const side = up.clone().cross(forward);
  at("skull").copy(at("head")).addScaledVector(up, 0.075 * size).addScaledVector(forward, 0.01 * size);
  const face = at("skull").clone().addScaledVector(forward, 0.099 * size).addScaledVector(up, 0.018 * size);
  at("face_left").copy(face).addScaledVector(side, 0.03 * size);
  at("face_right").copy(face).addScaledVector(side, -0.03 * size);
  at("chest").copy(at("spine3")).addScaledVector(up, 0.03 * size).addScaledVector(forward, 0.012 * size);
  for (const name of ["left", "right"]) {
    const ankle = at(`${name}_ankle`);
    const along = unit(at(`${name}_foot`).clone().sub(ankle));
    const shin = unit(ankle.clone().sub(at(`${name}_knee`)));
    const flat = unit(along.clone().addScaledVector(shin, -0.6 * along.dot(shin)));
    at(`${name}_heel`).copy(ankle).addScaledVector(shin, 0.03 * size).addScaledVector(flat, -0.035 * size);
    at(`${name}_toe`).copy(at(`${name}_foot`)).addScaledVector(flat, 0.055 * size);
    const forearm = unit(at(`${name}_wrist`).clone().sub(at(`${name}_elbow`)));
    at(`${name}_hand`).copy(at(`${name}_wrist`)).addScaledVector(forearm, 0.085 * size);
  }
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1] ?? 0;
}

/** How much larger a body is than one with legs of 0.82 m. */
function bodySize(clip: Clip): number {
  const a = new Vector3();
  const b = new Vector3();
  const legs: number[] = [];
  for (let frame = 0; frame < clip.frames; frame += Math.max(1, clip.frames >> 5)) {
    let sum = 0;
    for (const side of ["left", "right"]) {
      for (const [upper, lower] of [["hip", "knee"], ["knee", "ankle"]]) {
        a.fromArray(clip.joints, (frame * JOINTS.length + point(`${side}_${upper}`)) * 3);
        b.fromArray(clip.joints, (frame * JOINTS.length + point(`${side}_${lower}`)) * 3);
        sum += a.distanceTo(b);
      }
    }
    legs.push(sum);
  }
  return Math.max(median(legs) / 2 / REFERENCE_LEG, 0.01);
}

const UP = new Vector3(0, 1, 0);

/** A figure that shows any frame of a clip. */
export class Mannequin extends Group {
  private readonly meshes: Mesh[];
  private readonly lengths: number[];
  private readonly points: Vector3[];
  private readonly size: number;
  private readonly direction = new Vector3();
  private tinted = false;

  constructor(private readonly clip: Clip) {
    super();
    this.size = bodySize(clip);
    this.points = Array.from({ length: POINTS.size }, () => new Vector3());
    dress(clip, 0, this.size, this.points);
    this.lengths = LIMBS.map((one) => this.points[one.start]!.distanceTo(this.points[one.end]!));
    this.meshes = LIMBS.map((one, index) => {
      const geometry = capsule(this.lengths[index]!, one.startRadius * this.size, one.endRadius * this.size);
      const mesh = new Mesh(geometry, MADE[one.tone]);
      mesh.castShadow = true;
      mesh.receiveShadow = true;
      mesh.frustumCulled = false;
      return mesh;
    });
    this.add(...this.meshes);
    this.show(0, false);
  }

  /** Takes the pose of a frame, tinted if that frame was given. */
  show(frame: number, given: boolean): void {
    dress(this.clip, frame, this.size, this.points);
    LIMBS.forEach((one, index) => this.place(this.meshes[index]!, one, this.lengths[index]!));
    if (given !== this.tinted) {
      this.tinted = given;
      LIMBS.forEach((one, index) => {
        this.meshes[index]!.material = (given ? GIVEN : MADE)[one.tone];
      });
    }
  }

  /** The pose of a frame as one pale mesh that stays. */
  ghost(frame: number): Mesh {
    this.show(frame, this.tinted);
    const positions: number[] = [];
    const indices: number[] = [];
    const vertex = new Vector3();
    for (const mesh of this.meshes) {
      mesh.updateMatrix();
      const from = mesh.geometry.getAttribute("position");
      const first = positions.length / 3;
      for (let index = 0; index < from.count; index++) {
        vertex.fromBufferAttribute(from, index).applyMatrix4(mesh.matrix);
        positions.push(vertex.x, vertex.y, vertex.z);
      }
      for (const index of mesh.geometry.getIndex()!.array) indices.push(first + index);
    }
    const geometry = new BufferGeometry();
    geometry.setAttribute("position", new BufferAttribute(new Float32Array(positions), 3));
    geometry.setIndex(indices);
    return new Mesh(geometry, ghostMaterial);
  }

  dispose(): void {
    for (const mesh of this.meshes) mesh.geometry.dispose();
  }

  private place(mesh: Mesh, one: Limb, length: number): void {
    const start = this.points[one.start]!;
    this.direction.copy(this.points[one.end]!).sub(start);
    const now = this.direction.length();
    mesh.position.copy(start);
    if (now > 1e-6 && length > 1e-6) {
      mesh.quaternion.setFromUnitVectors(UP, this.direction.divideScalar(now));
      // Bones of generated motion change their length by millimetres.
      mesh.scale.set(1, now / length, 1);
    }
  }
}
