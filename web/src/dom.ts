/** Making elements. */

type Child = Node | string | null | undefined | false;
type Handler = (event: never) => void;

/** An element with attributes (``onclick`` and the like are listeners) and children. */
export function h<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Record<string, string | number | boolean | Handler | null | undefined> = {},
  ...children: Child[]
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key.slice(2), value as EventListener);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, String(value));
  }
  for (const child of children) if (child) element.append(child);
  return element;
}

export const ICONS = {
  play: "M7 4.5v15l12-7.5z",
  pause: "M7 5h3.5v14H7zM13.5 5H17v14h-3.5z",
  loop: "M4 11a7 7 0 0 1 12-4.6V4h2v6h-6V8h2.8A5 5 0 0 0 6 11zM20 13a7 7 0 0 1-12 4.6V20H6v-6h6v2H9.200A5 5 0 0 0 18 13z",
  follow: "M12 3v3M12 18v3M3 12h3M18 12h3M12 7.500a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9z",
  path: "M4 19c5 0 3-7 8-7s3-7 8-7",
  ghost: "M6 20v-9a6 6 0 0 1 12 0v9l-3-2-3 2-3-2z",
  expand: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  send: "M4 12l16-8-6 16-3-6z",
  stop: "M6 6h12v12H6z",
  attach: "M8 12l6-6a3.5 3.5 0 0 1 5 5l-8 8a5 5 0 0 1-7-7l8-8",
  close: "M6 6l12 12M18 6L6 18",
  theme: "M12 4a8 8 0 1 0 8 8 6 6 0 0 1-8-8z",
  dice: "M5 5h14v14H5zM9 9h.01M15 15h.01M12 12h.01",
  up: "M6 14l6-6 6 6",
  down: "M6 10l6 6 6-6",
} as const;

const FILLED = new Set<string>(["play", "pause", "loop", "send", "stop", "theme"]);

export type Icon = keyof typeof ICONS;

/** A picture that says nothing to screen readers: the button around it has a label. */
export function icon(name: Icon): SVGSVGElement {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("icon", FILLED.has(name) ? "filled" : "outlined");
  const shape = document.createElementNS(space, "path");
  shape.setAttribute("d", ICONS[name]);
  svg.append(shape);
  return svg;
}
