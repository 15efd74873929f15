/** The page of the HTTP interface: what /openapi.json says, with examples that can be tried. */

import "./style.css";
import "./docs.css";
import { h } from "./dom";
import { fields, type OpenApi, type Operation, type Parameter, resolved, type Row, typeOf } from "./openapi";
import { preferredTheme } from "./theme";

const JSON_TYPE = "application/json";
/** Stands in examples for a motion; becomes the one that an answer spoke of last. */
const SOME_MOTION = "id-of-a-motion";

let lastMotion = SOME_MOTION;

document.documentElement.dataset["theme"] = preferredTheme();
const main = h("main", { class: "api" });
document.body.append(
  h("header", {},
    h("a", { class: "brand", href: "./" }, "MotionGPT3"),
    h("nav", { "aria-label": "Also here" }, h("a", { href: "openapi.json" }, "openapi.json"))),
  main);
void show();

async function show(): Promise<void> {
  try {
    const answer = await fetch("openapi.json");
    if (!answer.ok) throw new Error(`the server answered with status ${answer.status}`);
    const api = (await answer.json()) as OpenApi;
    main.append(h("h1", {}, "For programs"), h("p", {}, api.info.description), ...api.tags.map((tag) => section(api, tag)), shapes(api));
    document.getElementById(decodeURIComponent(location.hash.slice(1)))?.setAttribute("open", "");
  } catch (error) {
    main.append(h("p", { class: "problem", role: "alert" }, `The interface cannot be shown: ${(error as Error).message}.`));
  }
}

function section(api: OpenApi, tag: OpenApi["tags"][number]): HTMLElement {
  const found = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([, operation]) => operation.tags.includes(tag.name))
      .map(([method, operation]) => described(api, method.toUpperCase(), path, operation)));
  return h("section", {}, h("h2", {}, tag.name), h("p", {}, tag.description), ...found);
}

/** What goes to and fro in JSON, by name. */
function shapes(api: OpenApi): HTMLElement {
  const found = Object.entries(api.components.schemas).map(([name, schema]) =>
    h("details", { class: "operation" },
      h("summary", {}, h("code", {}, name), schema.description), h("div", {}, table("Fields", fields(api, schema)))));
  return h("section", {}, h("h2", {}, "shapes"), h("p", {}, "What goes to and fro in JSON."), ...found);
}

function described(api: OpenApi, method: string, path: string, operation: Operation): HTMLElement {
  const parameters = operation.parameters ?? [];
  const [[bodyType, body] = [null, null]] = Object.entries(operation.requestBody?.content ?? {});
  const schema = body?.schema ? resolved(api, body.schema) : null;
  const rows: Row[] = parameters.map((one) => ({
    name: one.name, type: `${typeOf(api, one.schema)}, in the ${one.in}`, required: one.required ?? false, about: one.description ?? "",
  }));
  const said = bodyType === JSON_TYPE && schema ? fields(api, schema) : [];
  const answers = Object.entries(operation.responses).map(([status, { description, content }]) => {
    const kind = content?.[JSON_TYPE]?.schema;
    return { name: status, type: kind ? typeOf(api, kind) : Object.keys(content ?? {}).join(), required: false, about: description };
  });
  const example = bodyType === JSON_TYPE ? JSON.stringify(schema?.examples?.[0] ?? {}, null, 2) : null;
  return h("details", { class: "operation", id: `${method} ${path}` },
    h("summary", {}, h("span", { class: "method" }, method), h("code", {}, path), operation.description),
    h("div", {},
      table("Parameters", rows),
      table("Body", said),
      operation.requestBody?.description ? h("p", {}, `Body: ${operation.requestBody.description}`) : null,
      table("Answers", answers),
      trial(method, path, parameters, bodyType, example)));
}

function table(title: string, rows: Row[]): HTMLElement | null {
  if (!rows.length) return null;
  return h("div", {}, h("h3", {}, title), h("table", {}, h("tbody", {}, ...rows.map((row) =>
    h("tr", {}, h("td", {}, h("code", {}, row.name), row.required ? " (needed)" : null), h("td", {}, row.type), h("td", {}, row.about))))));
}

/** An example that can be changed, shown as a command, and sent. */
function trial(
  method: string, path: string, parameters: Parameter[], bodyType: string | null, example: string | null,
): HTMLElement {
  const inputs = parameters.filter((one) => one.in !== "header").map((one) => {
    const value = one.schema.examples?.[0] ?? one.schema.default ?? "";
    return { ...one, input: h("input", { id: `${method} ${path} ${one.name}`, value: String(value) }) };
  });
  const text = example === null ? null : h("textarea", { rows: example.split("\n").length, "aria-label": "Body" }, example);
  const file = bodyType && !text ? h("input", { type: "file", "aria-label": "File" }) : null;
  const command = h("pre", { "aria-label": "Command" });
  const outcome = h("div", { "aria-live": "polite" });

  const filled = (value: string) => value.replaceAll(SOME_MOTION, lastMotion);
  const address = () => {
    const query = new URLSearchParams();
    let where = path;
    for (const { name, in: place, input } of inputs) {
      const value = filled(input.value.trim());
      if (place === "path") where = where.replace(`{${name}}`, encodeURIComponent(value));
      else if (value) query.set(name, value);
    }
    return query.size ? `${where}?${query}` : where;
  };
  const describe = () => { command.textContent = curl(method, address(), text && filled(text.value), file && "clip.bvh"); };
  const send = async () => {
    outcome.replaceChildren("…");
    try {
      const body = text ? filled(text.value) : file?.files?.[0] ?? null;
      const headers: Record<string, string> = text ? { "Content-Type": JSON_TYPE } : {};
      outcome.replaceChildren(...await told(await fetch(`.${address()}`, { method, body, headers })));
    } catch {
      outcome.replaceChildren("The server cannot be reached.");
    }
  };
  const form = h("form", {
    oninput: describe, onfocusin: describe, onsubmit: (event: Event) => {
      event.preventDefault();
      void send();
    },
  },
    h("h3", {}, "Example"),
    h("div", { class: "inputs" }, ...inputs.map(({ name, input }) =>
      h("div", { class: "field" }, h("label", { for: input.id }, name), input))),
    text, file, command, h("button", { type: "submit", class: "chip" }, "Send"), outcome);
  describe();
  return form;
}

/** The same as a command line. */
function curl(method: string, address: string, body: string | null, file: string | null): string {
  const quoted = (value: string) => `'${value.replaceAll("'", `'"'"'`)}'`;
  const words = ["curl", "-s", quoted(location.origin + address)];
  if (method !== "GET" && body === null && file === null) words.push("-X", method);
  if (body !== null) words.push("-H", quoted(`Content-Type: ${JSON_TYPE}`), "-d", quoted(body.replaceAll(/\s*\n\s*/g, " ")));
  if (file !== null) words.push("--data-binary", `@${file}`);
  return words.join(" ");
}

/** What came back: words as they are, anything else as a file to take. */
async function told(answer: Response): Promise<(Node | string)[]> {
  const status = h("p", {}, `${answer.status} ${answer.statusText}`);
  const type = answer.headers.get("Content-Type") ?? "";
  if (type.startsWith(JSON_TYPE)) {
    const content = (await answer.json()) as { id?: string; motions?: { id: string }[] };
    lastMotion = content.motions?.[0]?.id ?? content.id ?? lastMotion;
    return [status, h("pre", {}, JSON.stringify(content, null, 2))];
  }
  if (type.startsWith("text/")) return [status, h("pre", {}, await answer.text())];
  const data = await answer.blob();
  if (!data.size) return [status];
  const [, name] = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") ?? "") ?? [];
  return [status, h("a", { class: "chip", href: URL.createObjectURL(data), download: name ?? "answer" }, `${data.size} bytes`)];
}
