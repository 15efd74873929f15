/** What can be set of a request, folded away under "more". */

import type { Info } from "./api";
import { h, icon } from "./dom";

const TASKS: [string, string][] = [
  ["", "the model decides"], ["t2m", "make a motion"], ["m2t", "say what a motion is"], ["pred", "continue a motion"],
  ["inbetween", "fill a motion's middle"], ["t2t", "just talk"],
];

export interface Sampling {
  seed: number;
  guidance?: number;
  steps?: number;
  scheduler?: string;
}

export class Settings {
  readonly element: HTMLDetailsElement;
  readonly task = h("select", { id: "task" }, ...TASKS.map(([value, title]) => h("option", { value }, title)));
  private readonly seconds = h("input", { id: "seconds", type: "number", step: 0.1, placeholder: "the model decides" });
  private readonly seed = h("input", { id: "seed", type: "number", min: 0, max: 2 ** 32 - 1, step: 1, placeholder: "new each time" });
  private readonly count = h("select", { id: "count" }, ...[1, 2, 3, 4].map((n) => h("option", { value: n }, String(n))));
  private readonly guidance = h("input", { id: "guidance", type: "number", min: 0, max: 20, step: 0.1 });
  private readonly steps = h("input", { id: "steps", type: "number", min: 1, max: 200, step: 1 });
  private readonly scheduler = h("select", { id: "scheduler" }, h("option", { value: "" }, "the model's"));
  private readonly model = h("output", { id: "model" });

  constructor() {
    const field = (label: string, input: HTMLElement, hint: string) =>
      h("div", { class: "field", title: hint }, h("label", { for: input.id }, label), input);
    const roll = h("button", {
      type: "button", class: "tool", title: "Another seed", "aria-label": "Another seed",
      onclick: () => { this.seed.value = String(fresh()); },
    }, icon("dice"));
    this.element = h("details", { class: "more" },
      h("summary", {}, "More"),
      h("div", { class: "fields" },
        field("Task", this.task, "What you want of the model"),
        field("Length, seconds", this.seconds, "Of what is made; to continue, what is added"),
        h("div", { class: "field", title: "The same words and seed make the same motion" },
          h("label", { for: "seed" }, "Seed"), h("div", { class: "joined" }, this.seed, roll)),
        field("Samples", this.count, "Side by side"),
        field("Guidance", this.guidance, "How strongly to follow the words; 1 is none"),
        field("Steps", this.steps, "Of sampling: more take longer"),
        field("Scheduler", this.scheduler, "How noise becomes motion"),
        h("div", { class: "field" }, h("span", { class: "label" }, "Model"), this.model),
      ));
  }

  /** Says what the model does when nothing is set, and within which limits. */
  describe(info: Info): void {
    if (info.shortest_seconds !== null && info.longest_seconds !== null) {
      this.seconds.min = "0.1";
      this.seconds.max = String(info.longest_seconds);
    }
    this.guidance.placeholder = info.guidance === null ? "" : String(info.guidance);
    this.steps.placeholder = info.steps === null ? "" : String(info.steps);
    const names = info.schedulers.map((name) => h("option", { value: name }, name));
    const kept = this.scheduler.value;
    this.scheduler.replaceChildren(h("option", { value: "" }, info.scheduler ?? "the model's"), ...names);
    this.scheduler.value = kept;
    this.model.textContent = info.model;
    this.model.title = Object.entries(info.about).map(([name, value]) => `${name}: ${value}`).join("\n");
  }

  /** Seconds, or null. */
  get length(): number | null {
    return number(this.seconds);
  }

  get samples(): number {
    return Number(this.count.value);
  }

  /** How to sample, with a seed that is new unless one is set. */
  sampling(): Sampling {
    const sampling: Sampling = { seed: number(this.seed) ?? fresh() };
    const guidance = number(this.guidance);
    const steps = number(this.steps);
    if (guidance !== null) sampling.guidance = guidance;
    if (steps !== null) sampling.steps = steps;
    if (this.scheduler.value) sampling.scheduler = this.scheduler.value;
    return sampling;
  }

  /** Takes what a shared address says. */
  take(address: URLSearchParams): void {
    for (const [name, input] of [
      ["seconds", this.seconds], ["seed", this.seed], ["count", this.count], ["guidance", this.guidance],
      ["steps", this.steps],
    ] as const) {
      const value = address.get(name);
      if (value !== null && /^\d+(\.\d+)?$/.test(value)) input.value = value;
    }
    const scheduler = address.get("scheduler") ?? "";
    if (/^[\w+]{1,20}$/.test(scheduler)) {
      this.scheduler.append(h("option", { value: scheduler }, scheduler));
      this.scheduler.value = scheduler;
    }
  }
}

const fresh = (): number => Math.floor(Math.random() * 10_000);

function number(input: HTMLInputElement): number | null {
  return input.value.trim() === "" || Number.isNaN(input.valueAsNumber) ? null : input.valueAsNumber;
}
