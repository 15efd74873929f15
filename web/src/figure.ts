/** A figure of any kind: one mesh whose parts are moved by the graphics card. */

import {
  Bone, type BufferGeometry, DetachedBindMode, Group, Matrix4, MeshStandardMaterial, Skeleton, SkinnedMesh,
} from "three";

/** What a figure is made of, and where its parts are at a moment. */
export interface Shape {
  /** As it looks where frames were made, and where they were given; skinned, with colours. */
  readonly made: BufferGeometry;
  readonly given: BufferGeometry;
  /** How many matrices move it. */
  readonly parts: number;
  /** Writes the matrices of a moment, in frames; column by column, 16 numbers each. */
  pose(frame: number, matrices: Float32Array): void;
  /** Frees what is this shape's alone. */
  dispose(): void;
}

const MATERIAL = new MeshStandardMaterial({ vertexColors: true, roughness: 0.62 });
const GHOST = new MeshStandardMaterial({ vertexColors: true, color: 0xc6cad6, roughness: 1, transparent: true, opacity: 0.42 });
/** Drawn before a ghost and a little behind it, so that only its front is seen. */
const FRONT = new MeshStandardMaterial({
  colorWrite: false, polygonOffset: true, polygonOffsetFactor: 1, polygonOffsetUnits: 2,
});
const STILL = new Matrix4();

/** Bones that are nothing but their matrices. */
class Matrices extends Skeleton {
  constructor(count: number) {
    super(Array.from({ length: count }, () => new Bone()));
    this.computeBoneTexture();
  }

  get numbers(): Float32Array {
    return this.boneMatrices!;
  }

  /** Says that the matrices are others now. */
  changed(): void {
    this.boneTexture!.needsUpdate = true;
  }

  /** They are not made of anything. */
  override update(): void {}
}

function skinned(geometry: BufferGeometry, material: MeshStandardMaterial, skeleton: Matrices): SkinnedMesh {
  const mesh = new SkinnedMesh(geometry, material);
  mesh.bindMode = DetachedBindMode;
  mesh.bind(skeleton, STILL);
  mesh.frustumCulled = false;
  return mesh;
}

/** A figure that shows any moment of its clip. */
export class Figure extends Group {
  private readonly skeleton: Matrices;
  private readonly mesh: SkinnedMesh;

  constructor(readonly shape: Shape) {
    super();
    this.skeleton = new Matrices(shape.parts);
    this.mesh = skinned(shape.made, MATERIAL, this.skeleton);
    this.mesh.castShadow = true;
    this.mesh.receiveShadow = true;
    this.add(this.mesh);
  }

  /** Takes the pose of a moment, tinted if that was given. */
  show(frame: number, given: boolean): void {
    this.shape.pose(frame, this.skeleton.numbers);
    this.skeleton.changed();
    this.mesh.geometry = given ? this.shape.given : this.shape.made;
  }

  dispose(): void {
    this.skeleton.dispose();
    this.shape.dispose();
  }
}

/** One pose of a figure, pale, that stays. */
export class Ghost extends Group {
  private readonly skeleton: Matrices;

  constructor(shape: Shape, frame: number, given: boolean) {
    super();
    this.skeleton = new Matrices(shape.parts);
    shape.pose(frame, this.skeleton.numbers);
    const geometry = given ? shape.given : shape.made;
    const front = skinned(geometry, FRONT, this.skeleton);
    const pale = skinned(geometry, GHOST, this.skeleton);
    front.renderOrder = 1;
    pale.renderOrder = 2;
    this.add(front, pale);
  }

  dispose(): void {
    this.skeleton.dispose();
  }
}
