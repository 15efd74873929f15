/** The page. */

import "./style.css";
import { clip, info as serverInfo, type Info, Problem, upload } from "./api";
import { parseClip, type MotionInfo } from "./clip";
import { attachment, Conversation, type Wish } from "./conversation";
import { h, icon } from "./dom";
import { Settings } from "./settings";
import { preferredTheme, type Theme } from "./theme";
import { Timeline } from "./timeline";
import { activeViewer, redressViewers, type Take, Viewer } from "./viewer";

const PROMPTS = [
  "a person waves with the left hand", "someone walks forward and turns left", "a person jumps up high",
  "a man runs forward", "the person bows", "What can you tell me about walking?",
];
const FILES: [string, string][] = [["walk.bvh", "a walk (BVH)"], ["raise.npy", "a gesture (npy)"]];
const RETRY = 2500; // milliseconds

const settings = new Settings();
const timeline = new Timeline();
const conversation = new Conversation(() => refresh());
let server: Info | null = null;
let attached: Take | null = null;
let mode: "chat" | "timeline" = "chat";

const text = h("textarea", {
  id: "text", rows: 1, maxlength: 1000, placeholder: "What should the figure do?",
  oninput: () => grow(), onkeydown: (event: KeyboardEvent) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      // Stopping is for the button; what is typed meanwhile waits.
      if (!conversation.busy) submit();
    }
  },
});
const picker = h("input", { type: "file", hidden: true, onchange: () => void attach(picker.files?.[0]) });
const attachButton = h("button", {
  type: "button", class: "tool large", title: "Give a motion file", "aria-label": "Give a motion file", onclick: () => picker.click(),
}, icon("attach"));
const send = h("button", { type: "submit", class: "send", "aria-label": "Send", title: "Send (Enter)" }, icon("send"));
const attachments = h("div", { class: "attachments", "aria-live": "polite" });
const tabs = (["chat", "timeline"] as const).map((name) =>
  h("button", { type: "button", role: "tab", class: "tab", id: `tab-${name}`, onclick: () => setMode(name) },
    name === "chat" ? "Talk" : "Timeline"));
const typing = h("div", { class: "typing" }, attachButton, picker, h("label", { for: "text", class: "hidden" }, "Say something"), text);
const composer = h("form", {
  class: "composer", onsubmit: (event: Event) => {
    event.preventDefault();
    submit();
  },
},
  h("div", { class: "modes" }, h("div", { role: "tablist", "aria-label": "How to ask", class: "tabs" }, ...tabs)),
  attachments,
  h("div", { class: "entry" }, typing, timeline.element, send),
  settings.element);

const banner = h("div", { class: "banner", role: "status", hidden: true });
const welcome = h("section", { class: "welcome" },
  h("div", { class: "hero", "aria-hidden": "true" }),
  h("h1", {}, "Say it. See it move."),
  h("p", { class: "lead" }, "Describe what a person does, and a figure does it. Or give it a motion, and ask what it is."),
  h("div", { class: "examples", role: "group", "aria-label": "Examples" },
    ...PROMPTS.map((prompt) => h("button", { type: "button", class: "chip", onclick: () => ask(prompt) }, prompt)),
    ...FILES.map(([name, title]) =>
      h("button", { type: "button", class: "chip file", onclick: () => void example(name) }, `What is this? ${title}`)),
    h("button", { type: "button", class: "chip", onclick: () => setMode("timeline") }, "Several actions, one after another")));
const theme = h("button", {
  type: "button", class: "tool large", title: "Dark or light", "aria-label": "Dark or light", onclick: () => setTheme(isDark() ? "light" : "dark"),
}, icon("theme"));
const status = h("span", { class: "pill", role: "status" }, "connecting");
const gradio = h("a", { href: "gradio/", hidden: true }, "Gradio");
const drop = h("div", { class: "drop", hidden: true, "aria-hidden": "true" }, "Drop a motion file here");

document.body.append(
  h("div", { class: "top" },
    h("header", {},
      h("a", { class: "brand", href: "./" }, "MotionGPT3"), status,
      h("nav", { "aria-label": "Also here" },
        h("a", { href: "docs" }, "API"), gradio, theme)),
    banner),
  h("main", {}, welcome, conversation.element),
  composer, drop);

function isDark(): boolean {
  return document.documentElement.dataset["theme"] === "dark";
}

function setTheme(name: Theme, keep = true): void {
  document.documentElement.dataset["theme"] = name;
  if (keep) localStorage.setItem("theme", name);
  redressViewers();
}

function setMode(name: "chat" | "timeline"): void {
  mode = name;
  tabs.forEach((tab) => tab.setAttribute("aria-selected", String(tab.id === `tab-${name}`)));
  typing.hidden = name !== "chat";
  timeline.element.hidden = name !== "timeline";
  refresh();
}

function grow(): void {
  text.style.height = "auto";
  text.style.height = `${Math.min(text.scrollHeight, 160)}px`;
}

/** Brings buttons and notices in line with what is going on. */
function refresh(): void {
  welcome.hidden = !conversation.empty;
  send.replaceChildren(icon(conversation.busy ? "stop" : "send"));
  send.title = conversation.busy ? "Stop" : mode === "chat" ? "Send (Enter)" : "Make the sequence";
  send.setAttribute("aria-label", send.title);
  send.disabled = !server?.ready && !conversation.busy;
  attachments.replaceChildren(...(attached ? [attachment(attached, () => { attached = null; refresh(); })] : []));
  text.placeholder = attached ? "Ask what it is, or to continue it" : "What should the figure do?";
}

function submit(): void {
  if (conversation.busy) {
    conversation.stop();
    return;
  }
  if (!server?.ready) return;
  if (mode === "timeline") {
    const segments = timeline.lines;
    if (segments.length) void conversation.ask({ text: "", segments, count: 1, sampling: settings.sampling() });
    return;
  }
  const words = text.value.trim() || (attached ? "What is this person doing?" : "");
  if (!words) {
    text.focus();
    return;
  }
  const wish: Wish = {
    text: words, given: attached ?? undefined, task: settings.task.value, seconds: settings.length,
    count: settings.samples, sampling: settings.sampling(),
  };
  attached = null;
  text.value = "";
  grow();
  void conversation.ask(wish);
}

/** Says something for the visitor. */
function ask(words: string): void {
  setMode("chat");
  text.value = words;
  submit();
}

async function attach(file: File | undefined): Promise<void> {
  picker.value = "";
  if (!file) return;
  attachments.replaceChildren(h("span", { class: "attached" }, `reading ${file.name} …`));
  try {
    if (server && file.size > server.upload_bytes) {
      throw new Problem(`${file.name} is larger than ${Math.round(server.upload_bytes / 2 ** 20)} MB: cut the clip`, 413);
    }
    const info = await upload(file);
    attached = { info, clip: await clip(info.id) };
    setMode("chat");
    text.focus();
  } catch (error) {
    attached = null;
    refresh();
    const message = error instanceof Problem ? error.message : `${file.name} cannot be read`;
    attachments.append(h("span", { class: "attached wrong", role: "alert" }, message));
  }
}

async function example(name: string): Promise<void> {
  const data = await (await fetch(`examples/${name}`)).blob();
  await attach(new File([data], name));
  if (attached) submit();
}

/** The figure that greets, from a file of the page, so that it moves before the model is loaded. */
async function greet(): Promise<void> {
  const data = await (await fetch("examples/hello.motion")).arrayBuffer();
  const moving = parseClip(data);
  const info: MotionInfo = {
    id: "", title: "a person waves", task: "t2m", frames: moving.frames, fps: moving.fps, seconds: moving.frames / moving.fps,
    prompt: null, seed: null, command: null, given: [], segments: [], expires_in: 0,
  };
  const viewer = new Viewer([{ clip: moving, info, pose: "examples/hello.pose" }], null, true);
  welcome.querySelector(".hero")!.append(viewer.element);
}

/** Looks whether the server is there and its model loaded, until both are so; and from time to time later. */
async function watch(): Promise<void> {
  let wait = 15_000;
  try {
    const found = await serverInfo();
    const first = !server?.ready && found.ready;
    server = found;
    settings.describe(found);
    gradio.hidden = !found.gradio;
    conversation.formats = found.formats.map((format) => format.name);
    picker.accept = found.uploads.join(",");
    notice(found.ready ? "ready" : found.failure ? "failed" : "loading", found.failure ?? found.stage);
    if (first) begin();
    if (!found.ready) wait = RETRY;
  } catch (error) {
    if (server) server.ready = false;
    const locked = error instanceof Problem && error.status === 401;
    notice(locked ? "locked" : "offline", error instanceof Problem ? error.message : "");
    wait = RETRY;
  }
  refresh();
  setTimeout(() => void watch(), wait);
}

function notice(state: "ready" | "loading" | "failed" | "offline" | "locked", detail: string): void {
  const words = {
    ready: "",
    loading: `The model is loading: ${detail}. You can type already.`,
    failed: detail,
    offline: "The server cannot be reached. Trying again …",
    locked: detail,
  }[state];
  status.textContent = state === "ready" ? "ready" : state;
  status.dataset["state"] = state;
  banner.hidden = !words;
  banner.dataset["state"] = state;
  banner.textContent = words;
}

let begun = false;

/** Does what a shared address asks for, once the model is there. */
function begin(): void {
  if (begun) return;
  begun = true;
  const address = new URLSearchParams(location.search);
  settings.take(address);
  const lines = address.getAll("then").map((line) => {
    const [, seconds, prompt] = /^(\d+(?:\.\d+)?)s (.*)$/s.exec(line) ?? [null, null, line];
    return { prompt: (prompt ?? line).slice(0, 1000), seconds: seconds ? Number(seconds) : null };
  });
  const prompt = address.get("prompt");
  if (lines.length) {
    timeline.set(lines);
    setMode("timeline");
    submit();
  } else if (prompt) {
    settings.task.value = "t2m";
    ask(prompt.slice(0, 1000));
    settings.task.value = "";
  }
}

document.addEventListener("keydown", (event) => {
  const target = event.target as HTMLElement;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (target.closest("input, textarea, select") && !(event.key === "Escape")) return;
  if (target.closest("button, a, summary") && (event.key === " " || event.key === "Enter")) return;
  if (activeViewer()?.key(event)) event.preventDefault();
});

let dragging = 0;
const carries = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
document.addEventListener("dragenter", (event) => {
  if (carries(event)) drop.hidden = ++dragging === 0;
});
document.addEventListener("dragleave", (event) => {
  if (carries(event)) drop.hidden = --dragging <= 0;
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  dragging = 0;
  drop.hidden = true;
  void attach(event.dataTransfer?.files[0]);
});

setTheme(preferredTheme(), false);
setMode("chat");
void watch();
greet().catch((error: unknown) => {
  console.warn("no greeting", error);
  welcome.querySelector(".hero")!.remove();
});
