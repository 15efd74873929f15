/** What the bar under a viewer is made of. */

import type { MotionInfo } from "./clip";
import { h, icon, type Icon, ICONS } from "./dom";

/** A button with a picture; its label ends with its key. */
export function button(name: Icon, label: string, press: () => void): HTMLButtonElement {
  return h("button", { type: "button", class: "tool", title: label, "aria-label": label, onclick: press }, icon(name));
}

/** A button that stays pressed until it is pressed again, with a picture or a word. */
export function onOff(face: Icon | string, label: string, on: boolean, set: (on: boolean) => void): HTMLButtonElement {
  const key = /\((\w)\)/.exec(label)![1]!.toLowerCase();
  const pictured = face in ICONS;
  const made = h("button", {
    type: "button", class: pictured ? "tool" : "tool worded", title: label, "aria-label": label, "aria-pressed": String(on),
    "data-key": key,
    onclick: () => {
      const pressed = made.getAttribute("aria-pressed") !== "true";
      made.setAttribute("aria-pressed", String(pressed));
      set(pressed);
    },
  }, pictured ? icon(face as Icon) : face);
  return made;
}

/** Background of the scrubber: what was given and made, or the prompts of a sequence. */
export function track(info: MotionInfo, last: number): string {
  const parts: [string, number][] = [];
  for (const [start, stop] of info.given) parts.push(["made", start - 0.5], ["given", stop - 0.5]);
  if (info.given.length) parts.push(["made", last]);
  else info.segments.forEach((segment, index) => parts.push([`segment-${index % 2}`, segment.stop - 0.5]));
  let from = 0;
  const stops = parts.map(([name, stop]) => {
    const to = (100 * Math.max(0, Math.min(stop, last))) / Math.max(last, 1);
    const colour = `var(--${name}) ${from.toFixed(2)}% ${to.toFixed(2)}%`;
    from = to;
    return colour;
  });
  return stops.length ? `linear-gradient(90deg, ${stops.join(", ")})` : "var(--track)";
}
