/** A motion as the server sends it, and what is known of it. */

export const JOINTS = [
  "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
  "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
  "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
] as const;
/** Of each joint, the one that it hangs on. */
export const PARENTS = [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19];

const HEADER_BYTES = 16;

export interface Segment {
  prompt: string;
  stop: number;
}

export interface MotionInfo {
  id: string;
  title: string;
  task: string;
  frames: number;
  fps: number;
  seconds: number;
  prompt: string | null;
  seed: number | null;
  command: string | null;
  given: [number, number][];
  segments: Segment[];
  expires_in: number;
}

/** Joint positions over time: metres, y up; joint j of frame t starts at (t * 22 + j) * 3. */
export interface Clip {
  frames: number;
  fps: number;
  joints: Float32Array;
}

/** Reads the binary form; throws if it is something else. */
export function parseClip(data: ArrayBuffer): Clip {
  const view = new DataView(data);
  if (data.byteLength < HEADER_BYTES || view.getUint32(0, false) !== 0x4d47334d) throw new Error("not a motion");
  const frames = view.getUint32(4, true);
  const joints = view.getUint32(8, true);
  if (joints !== JOINTS.length || data.byteLength !== HEADER_BYTES + frames * joints * 12) {
    throw new Error("the motion is cut short");
  }
  return { frames, fps: view.getFloat32(12, true), joints: new Float32Array(data, HEADER_BYTES) };
}

/** Whether a frame was given, rather than made. */
export function isGiven(info: Pick<MotionInfo, "given">, frame: number): boolean {
  return info.given.some(([start, stop]) => frame >= start && frame < stop);
}
