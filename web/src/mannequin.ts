/** Figures made of tapered capsules between joints: a mannequin, and a skeleton of thin bones. */

import { BufferAttribute, BufferGeometry, Color, Matrix4, Quaternion, Vector3 } from "three";
import { type Clip, JOINTS, PARENTS } from "./clip";
import type { Shape } from "./figure";

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

const MANNEQUIN: Limb[] = [
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

/** Every joint as a ball, with a stick to the one that it hangs on. */
const SKELETON: Limb[] = [
  limb("head", "skull", 0.013, 0.013, "middle"),
  limb("skull", "skull", 0.05, 0.05, "middle"),
  ...JOINTS.flatMap((name, joint) => {
    const tone: Tone = name.startsWith("left") ? "left" : name.startsWith("right") ? "right" : "middle";
    const ball = limb(name, name, 0.023, 0.023, tone);
    return joint ? [ball, limb(JOINTS[PARENTS[joint]!]!, name, 0.013, 0.01, tone)] : [ball];
  }),
];

type Palette = Record<Tone, number>;

const MANNEQUIN_MADE: Palette = { left: 0xee7a34, right: 0x2a7ccd, middle: 0xe2e0dc, face: 0x464a54 };
const MANNEQUIN_GIVEN: Palette = { left: 0x8fae9b, right: 0x6f9c8a, middle: 0xb9d3c6, face: 0x3c5249 };
const SKELETON_MADE: Palette = { ...MANNEQUIN_MADE, middle: 0x76829a };
const SKELETON_GIVEN: Palette = { left: 0x5fa585, right: 0x4b9074, middle: 0x6fb595, face: 0x3c5249 };

/** How finely capsules are made: rings of each end, and sectors around. */
const SMOOTH: [number, number] = [7, 18];
const COARSE: [number, number] = [3, 10];

/** Vertices of many parts, as they are put together. */
class Parts {
  readonly positions: number[] = [];
  readonly normals: number[] = [];
  readonly indices: number[] = [];
  readonly part: number[] = [];

  constructor(private readonly rings: number, private readonly sectors: number) {}

  /** Adds a capsule from the origin to (0, length, 0) whose radius changes evenly. */
  capsule(length: number, startRadius: number, endRadius: number, part: number): void {
    const first = this.positions.length / 3;
    // Where the cone touches both balls.
    const tilt = length > 1e-6 ? Math.asin(Math.max(-1, Math.min(1, (startRadius - endRadius) / length))) : 0;
    for (let step = 0; step <= this.rings; step++) this.ring(0, startRadius, -Math.PI / 2 + (step / this.rings) * (Math.PI / 2 + tilt), part);
    for (let step = 0; step <= this.rings; step++) this.ring(length, endRadius, tilt + (step / this.rings) * (Math.PI / 2 - tilt), part);
    const row = this.sectors + 1;
    for (let band = 0; band < 2 * this.rings + 1; band++) {
      for (let sector = 0; sector < this.sectors; sector++) {
        const corner = first + band * row + sector;
        this.indices.push(corner, corner + row, corner + 1, corner + 1, corner + row, corner + row + 1);
      }
    }
  }

  private ring(centre: number, radius: number, latitude: number, part: number): void {
    for (let sector = 0; sector <= this.sectors; sector++) {
      const angle = (sector / this.sectors) * 2 * Math.PI;
      const [x, y, z] = [Math.cos(latitude) * Math.cos(angle), Math.sin(latitude), Math.cos(latitude) * Math.sin(angle)];
      this.positions.push(radius * x, centre + radius * y, radius * z);
      this.normals.push(x, y, z);
      this.part.push(part);
    }
  }

  /** The mesh; each vertex has the tone of its part, and moves with that alone. */
  geometry(tones: Tone[], palette: Palette): BufferGeometry {
    const geometry = new BufferGeometry();
    const colours = this.part.flatMap((part) => new Color(palette[tones[part]!]).toArray());
    const add = (name: string, values: ArrayLike<number>, size: number) =>
      geometry.setAttribute(name, new BufferAttribute(Float32Array.from(values), size));
    add("position", this.positions, 3);
    add("normal", this.normals, 3);
    add("color", colours, 3);
    add("skinIndex", this.part.flatMap((part) => [part, 0, 0, 0]), 4);
    add("skinWeight", this.part.flatMap(() => [1, 0, 0, 0]), 4);
    geometry.setIndex(this.indices);
    return geometry;
  }
}

const P = Object.fromEntries(POINTS) as Record<string, number>;
const SIDES = (["left", "right"] as const).map((side) => ({
  ankle: P[`${side}_ankle`]!, knee: P[`${side}_knee`]!, foot: P[`${side}_foot`]!, heel: P[`${side}_heel`]!,
  toe: P[`${side}_toe`]!, wrist: P[`${side}_wrist`]!, elbow: P[`${side}_elbow`]!, hand: P[`${side}_hand`]!,
}));
const FACE: [string, number][] = [["face_left", 1], ["face_right", -1]];

// What the points of a frame are computed with.
const next = new Vector3();
const up = new Vector3();
const across = new Vector3();
const forward = new Vector3();
const along = new Vector3();
const shin = new Vector3();
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
  const at = (index: number): Vector3 => points[index]!;
  unit(up.subVectors(at(P["head"]!), at(P["spine3"]!)));
  unit(across.subVectors(at(P["left_shoulder"]!), at(P["right_shoulder"]!)));
  unit(forward.crossVectors(across, up));
  across.crossVectors(up, forward);
  at(P["skull"]!).copy(at(P["head"]!)).addScaledVector(up, 0.075 * size).addScaledVector(forward, 0.01 * size);
  for (const [name, sign] of FACE) {
    at(P[name]!).copy(at(P["skull"]!)).addScaledVector(forward, 0.099 * size).addScaledVector(up, 0.018 * size)
      .addScaledVector(across, 0.03 * sign * size);
  }
  at(P["chest"]!).copy(at(P["spine3"]!)).addScaledVector(up, 0.03 * size).addScaledVector(forward, 0.012 * size);
  for (const side of SIDES) {
    unit(along.subVectors(at(side.foot), at(side.ankle)));
    unit(shin.subVectors(at(side.ankle), at(side.knee)));
    // The way the sole goes.
    unit(along.addScaledVector(shin, -0.6 * along.dot(shin)));
    at(side.heel).copy(at(side.ankle)).addScaledVector(shin, 0.03 * size).addScaledVector(along, -0.035 * size);
    at(side.toe).copy(at(side.foot)).addScaledVector(along, 0.055 * size);
    unit(along.subVectors(at(side.wrist), at(side.elbow)));
    at(side.hand).copy(at(side.wrist)).addScaledVector(along, 0.085 * size);
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

class Capsules implements Shape {
  readonly made: BufferGeometry;
  readonly given: BufferGeometry;
  readonly parts: number;
  private readonly size: number;
  private readonly points: Vector3[];
  private readonly lengths: number[];
  private readonly direction = new Vector3();
  private readonly turn = new Quaternion();
  private readonly scale = new Vector3();
  private readonly matrix = new Matrix4();

  constructor(private readonly clip: Clip, private readonly limbs: Limb[], made: Palette, given: Palette, fineness: [number, number]) {
    this.size = bodySize(clip);
    this.parts = limbs.length;
    this.points = Array.from({ length: POINTS.size }, () => new Vector3());
    dress(clip, 0, this.size, this.points);
    this.lengths = limbs.map((one) => this.points[one.start]!.distanceTo(this.points[one.end]!));
    const parts = new Parts(...fineness);
    limbs.forEach((one, part) =>
      parts.capsule(this.lengths[part]!, one.startRadius * this.size, one.endRadius * this.size, part));
    const tones = limbs.map((one) => one.tone);
    this.made = parts.geometry(tones, made);
    this.given = parts.geometry(tones, given);
  }

  pose(frame: number, matrices: Float32Array): void {
    dress(this.clip, frame, this.size, this.points);
    for (let part = 0; part < this.parts; part++) {
      const one = this.limbs[part]!;
      const start = this.points[one.start]!;
      const length = this.lengths[part]!;
      const now = this.direction.subVectors(this.points[one.end]!, start).length();
      this.turn.identity();
      this.scale.set(1, 1, 1);
      if (now > 1e-6 && length > 1e-6) {
        this.turn.setFromUnitVectors(UP, this.direction.divideScalar(now));
        // Bones of generated motion change their length by millimetres.
        this.scale.y = now / length;
      }
      this.matrix.compose(start, this.turn, this.scale).toArray(matrices, part * 16);
    }
  }

  dispose(): void {
    this.made.dispose();
    this.given.dispose();
  }
}

/** A mannequin, warm on its left and cool on its right. */
export const mannequin = (clip: Clip): Shape => new Capsules(clip, MANNEQUIN, MANNEQUIN_MADE, MANNEQUIN_GIVEN, SMOOTH);

/** The 22 joints, with thin bones between them. */
export const skeleton = (clip: Clip): Shape => new Capsules(clip, SKELETON, SKELETON_MADE, SKELETON_GIVEN, COARSE);
