/** The body: a mesh that all figures share, and how its bones move in a clip; the server makes both. */

import { BufferAttribute, BufferGeometry, Color, Matrix4, Quaternion, Vector3 } from "three";
import type { Shape } from "./figure";

const HEADER_BYTES = 16;
const STEPS = 32767;
const MADE = new Color(0xe9e0d6);
const GIVEN = new Color(0x84b89f);

export interface BodyMesh {
  made: BufferGeometry;
  given: BufferGeometry;
  /** Of each bone, the one that it is relative to, which comes before it. */
  parents: Uint8Array;
}

/** Header of a file of the server: three numbers after the mark; throws if the mark is another one. */
function header(data: ArrayBuffer, mark: string): [number, number, number] {
  const view = new DataView(data);
  const found = data.byteLength < HEADER_BYTES ? "" : String.fromCharCode(...new Uint8Array(data, 0, 4));
  if (found !== mark) throw new Error(`not ${mark}`);
  return [view.getUint32(4, true), view.getUint32(8, true), view.getUint32(12, true)];
}

/** The same mesh in one colour. */
function coloured(geometry: BufferGeometry, colour: Color): BufferGeometry {
  const copy = new BufferGeometry();
  copy.setIndex(geometry.getIndex());
  for (const [name, attribute] of Object.entries(geometry.attributes)) copy.setAttribute(name, attribute);
  const colours = new Float32Array(geometry.getAttribute("position").count * 3);
  for (let at = 0; at < colours.length; at += 3) colour.toArray(colours, at);
  copy.setAttribute("color", new BufferAttribute(colours, 3));
  return copy;
}

/** Reads the mesh; throws if it is something else. Its layout: src/motiongpt3/web/binary_body.py. */
export function parseBody(data: ArrayBuffer): BodyMesh {
  const [vertices, faces, bones] = header(data, "MG3B");
  if (data.byteLength !== HEADER_BYTES + vertices * 20 + faces * 6 + bones) throw new Error("the body is cut short");
  let at = HEADER_BYTES;
  const positions = new Float32Array(data, at, vertices * 3);
  const corners = new Uint16Array(data, (at += vertices * 12), faces * 3);
  const movers = new Uint8Array(data, (at += faces * 6), vertices * 4);
  const steps = new Uint8Array(data, (at += vertices * 4), vertices * 4);
  const parents = new Uint8Array(data, at + vertices * 4, bones);
  const weights = new Float32Array(steps);
  for (let vertex = 0; vertex < weights.length; vertex += 4) {
    // Rounded to steps, they sum to nearly 1.
    const sum = weights[vertex]! + weights[vertex + 1]! + weights[vertex + 2]! + weights[vertex + 3]!;
    for (let bone = 0; bone < 4; bone++) weights[vertex + bone]! /= sum;
  }
  const geometry = new BufferGeometry();
  geometry.setIndex(new BufferAttribute(corners, 1));
  geometry.setAttribute("position", new BufferAttribute(positions, 3));
  geometry.setAttribute("skinIndex", new BufferAttribute(movers, 4));
  geometry.setAttribute("skinWeight", new BufferAttribute(weights, 4));
  geometry.computeVertexNormals();
  return { made: coloured(geometry, MADE), given: coloured(geometry, GIVEN), parents };
}

const ONE = new Vector3(1, 1, 1);

/** The body as it moves in one clip. */
export class BodyShape implements Shape {
  readonly made: BufferGeometry;
  readonly given: BufferGeometry;
  readonly parts: number;
  private readonly frames: number;
  private readonly parents: Uint8Array;
  /** From the mesh to the frame of each bone. */
  private readonly binds: Matrix4[];
  /** Of each bone from its parent. */
  private readonly offsets: Vector3[];
  private readonly places: Float32Array;
  private readonly rotations: Float32Array;
  /** The frames of the bones in the world. */
  private readonly bones: Matrix4[];
  // What a pose is computed with.
  private readonly place = new Vector3();
  private readonly turn = new Quaternion();
  private readonly nextPlace = new Vector3();
  private readonly nextTurn = new Quaternion();
  private readonly matrix = new Matrix4();

  /** Reads a movement; throws if it is something else, or another body's. */
  constructor(mesh: BodyMesh, data: ArrayBuffer) {
    const [frames, bones] = header(data, "MG3P");
    if (bones !== mesh.parents.length || data.byteLength !== HEADER_BYTES + bones * 60 + frames * (12 + bones * 8)) {
      throw new Error("not a movement of this body");
    }
    this.made = mesh.made;
    this.given = mesh.given;
    this.parents = mesh.parents;
    this.parts = bones;
    this.frames = frames;
    const binds = new Float32Array(data, HEADER_BYTES, bones * 12);
    const offsets = new Float32Array(data, HEADER_BYTES + bones * 48, bones * 3);
    const steps = new Int16Array(data, HEADER_BYTES + bones * 60 + frames * 12, frames * bones * 4);
    this.places = new Float32Array(data, HEADER_BYTES + bones * 60, frames * 3);
    this.rotations = Float32Array.from(steps, (step) => step / STEPS);
    this.bones = Array.from({ length: bones }, () => new Matrix4());
    this.binds = this.bones.map((_, bone) => {
      // They come row by row, without the last row.
      const rows = [...binds.subarray(bone * 12, bone * 12 + 12), 0, 0, 0, 1];
      return new Matrix4().fromArray(rows).transpose();
    });
    this.offsets = this.bones.map((_, bone) => new Vector3().fromArray(offsets, bone * 3));
  }

  pose(moment: number, matrices: Float32Array): void {
    const before = Math.min(Math.floor(moment), this.frames - 1);
    const after = Math.min(before + 1, this.frames - 1);
    const share = moment - before;
    for (let bone = 0; bone < this.parts; bone++) {
      this.turn.fromArray(this.rotations, (before * this.parts + bone) * 4);
      this.turn.slerp(this.nextTurn.fromArray(this.rotations, (after * this.parts + bone) * 4), share);
      const frame = this.bones[bone]!;
      if (bone) {
        this.matrix.compose(this.offsets[bone]!, this.turn, ONE);
        frame.multiplyMatrices(this.bones[this.parents[bone]!]!, this.matrix);
      } else {
        this.place.fromArray(this.places, before * 3).lerp(this.nextPlace.fromArray(this.places, after * 3), share);
        frame.compose(this.place, this.turn, ONE);
      }
      this.matrix.multiplyMatrices(frame, this.binds[bone]!).toArray(matrices, bone * 16);
    }
  }

  /** All figures share the mesh. */
  dispose(): void {}
}
