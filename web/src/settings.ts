/** What can be set of a request, folded away under "more". */

import type { Info, ModelInfo } from "./api";
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
  model?: string;
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
  private readonly model = h("select", {
    id: "model", onchange: () => {
      this.scheduler.value = "";
      this.describeModel();
    },
  });
  /** Says which model it is where there is no choice. */
  private readonly onlyModel = h("output", {});
  private models: ModelInfo[] = [];

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
        h("div", { class: "field" }, h("label", { for: "model" }, "Model"), this.model, this.onlyModel),
      ));
  }

  /** Shows the models that there are, and what the chosen one does when nothing else is set. */
  describe(info: Info): void {
    this.models = info.models;
    this.onlyModel.textContent = info.models[0]!.name;
    setOptions(this.model, info.models.map(({ name, ready, failure }) => {
      const state = ready ? "" : failure === null ? " (loading)" : " (cannot be loaded)";
      return h("option", { value: name, disabled: !ready, title: failure }, name + state);
    }));
    this.describeModel();
  }

  /** Whether there is more than one; a link may ask for one that is not there. */
  private get choice(): boolean {
    return this.model.options.length > 1;
  }

  private describeModel(): void {
    this.model.hidden = !this.choice;
    this.onlyModel.hidden = this.choice;
    const model = this.models.find(({ name }) => name === this.model.value);
    if (!model) return;
    this.seconds.min = "0.1";
    this.seconds.max = String(model.longest_seconds ?? "");
    this.guidance.placeholder = String(model.guidance ?? "");
    this.steps.placeholder = String(model.steps ?? "");
    const names = model.schedulers.map((name) => h("option", { value: name }, name));
    setOptions(this.scheduler, [h("option", { value: "" }, model.scheduler ?? "the model's"), ...names]);
    for (const option of this.task.options) {
      option.disabled = model.ready && !(option.value ? model.tasks.includes(option.value) : model.chooses_task);
    }
    if (this.task.selectedOptions[0]?.disabled) this.task.value = "t2m";
    const about = Object.entries(model.about).map(([name, value]) => `${name}: ${value}`).join("\n");
    this.model.title = this.onlyModel.title = about;
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
    if (this.choice) sampling.model = this.model.value;
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
    choose(this.model, address.get("model"));
    this.describeModel();
    choose(this.scheduler, address.get("scheduler"));
  }
}

/** New options for a select, which keeps its choice if it can. */
function setOptions(select: HTMLSelectElement, options: HTMLOptionElement[]): void {
  const kept = select.value;
  select.replaceChildren(...options);
  choose(select, kept);
  if (!select.value) select.value = options[0]!.value;
}

/** Chooses a value; one that is not offered is offered too, and the server will say that there is none. */
function choose(select: HTMLSelectElement, value: string | null): void {
  if (!value || value.length > 200) return;
  if (![...select.options].some((option) => option.value === value)) select.append(h("option", { value }, value));
  select.value = value;
}

const fresh = (): number => Math.floor(Math.random() * 10_000);

function number(input: HTMLInputElement): number | null {
  return input.value.trim() === "" || Number.isNaN(input.valueAsNumber) ? null : input.valueAsNumber;
}
