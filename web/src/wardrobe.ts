/** Which figure there is for a clip: the one that the visitor chose, or capsules until the body is there. */

import { bytes } from "./api";
import { type BodyMesh, BodyShape, parseBody } from "./body";
import type { Clip } from "./clip";
import type { Shape } from "./figure";
import { mannequin, skeleton } from "./mannequin";

/** Kinds of figures with their names for people, the usual one first. */
export const FIGURES = { body: "Body", capsules: "Capsules", bones: "Bones" } as const;
export type FigureName = keyof typeof FIGURES;
export const FIGURE_NAMES = Object.keys(FIGURES) as FigureName[];

/** Milliseconds for which nobody is shown, rather than somebody who changes at once. */
const PATIENCE = 400;

let mesh: Promise<BodyMesh> | null = null;
const bodies = new WeakMap<Clip, BodyShape>();

export function chosenFigure(): FigureName {
  const kept = localStorage.getItem("figure") as FigureName;
  return FIGURE_NAMES.includes(kept) ? kept : "body";
}

export function chooseFigure(name: FigureName): void {
  localStorage.setItem("figure", name);
}

async function fetchMesh(): Promise<BodyMesh> {
  try {
    return parseBody(await bytes("api/body"));
  } catch (error) {
    mesh = null; // so that the next clip tries again
    throw error;
  }
}

/** The body in a clip, by the movement at an address. */
async function body(clip: Clip, address: string): Promise<BodyShape> {
  const [found, movement] = await Promise.all([(mesh ??= fetchMesh()), bytes(address)]);
  const shape = new BodyShape(found, movement);
  bodies.set(clip, shape);
  return shape;
}

/**
 * Calls for a figure to be put on, once or twice: the body may come later than the capsules.
 * @param wear given the figure, what it is, and whether the body cannot be had
 */
export function dress(
  clip: Clip, address: string, wear: (shape: Shape, name: FigureName, failed: boolean) => void,
): void {
  const wanted = chosenFigure();
  if (wanted === "bones") wear(skeleton(clip), wanted, false);
  else if (wanted === "capsules") wear(mannequin(clip), wanted, false);
  else if (bodies.has(clip)) wear(bodies.get(clip)!, wanted, false);
  else {
    const instead = (failed: boolean) => wear(mannequin(clip), "capsules", failed);
    const late = setTimeout(instead, PATIENCE, false);
    body(clip, address).then((shape) => wear(shape, wanted, false), (error: unknown) => {
      console.warn("no body", error);
      instead(true);
    }).finally(() => clearTimeout(late));
  }
}
