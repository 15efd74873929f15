/** A list of prompts with lengths, each continuing the one before. */

import { h, icon } from "./dom";

export interface Line {
  prompt: string;
  seconds: number | null;
}

const FIRST: Line[] = [
  { prompt: "a person walks forward", seconds: 3 },
  { prompt: "a person waves with the left hand", seconds: 3 },
  { prompt: "a person jumps", seconds: 2.5 },
];

export class Timeline {
  readonly element: HTMLElement;
  private readonly list = h("ol", { class: "lines" });

  /** @param most lines that may be asked for at once */
  constructor(private most = 12) {
    const add = h("button", { type: "button", class: "chip", onclick: () => this.add({ prompt: "", seconds: 3 }, true) }, "Add a line");
    this.element = h("div", { class: "timeline" }, this.list, add);
    this.set(FIRST);
  }

  set(lines: Line[]): void {
    this.list.replaceChildren();
    for (const line of lines.slice(0, this.most)) this.add(line);
  }

  /** The lines that say something. */
  get lines(): Line[] {
    return [...this.list.children].map((row) => {
      const [prompt, seconds] = row.querySelectorAll("input");
      return { prompt: prompt!.value.trim(), seconds: seconds!.value === "" ? null : seconds!.valueAsNumber };
    }).filter((line) => line.prompt);
  }

  private add(line: Line, focus = false): void {
    if (this.list.childElementCount >= this.most) return;
    const tool = (name: "up" | "down" | "close", label: string, press: () => void) =>
      h("button", { type: "button", class: "tool", title: label, "aria-label": label, onclick: press }, icon(name));
    const prompt = h("input", { type: "text", value: line.prompt, maxlength: 1000, placeholder: "what the person does", "aria-label": "Prompt" });
    const seconds = h("input", { type: "number", min: 0.1, max: 9, step: 0.1, value: line.seconds ?? "", "aria-label": "Seconds" });
    const row: HTMLLIElement = h("li", {}, prompt, seconds, h("span", { class: "unit" }, "s"),
      tool("up", "Earlier", () => row.previousElementSibling?.before(row)),
      tool("down", "Later", () => row.nextElementSibling?.after(row)),
      tool("close", "Remove this line", () => row.remove()));
    this.list.append(row);
    if (focus) prompt.focus();
  }
}
