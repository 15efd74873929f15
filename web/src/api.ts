/** The server, from the page. */

import { type Clip, type MotionInfo, parseClip } from "./clip";

/** A model of the server, and what it can do. */
export interface ModelInfo {
  name: string;
  ready: boolean;
  stage: string;
  failure: string | null;
  about: Record<string, string>;
  tasks: string[];
  chooses_task: boolean;
  fps: number | null;
  shortest_seconds: number | null;
  longest_seconds: number | null;
  schedulers: string[];
  scheduler: string | null;
  steps: number | null;
  guidance: number | null;
}

export interface Info {
  ready: boolean;
  stage: string;
  failure: string | null;
  version: string;
  models: ModelInfo[];
  formats: { name: string; title: string; suffix: string }[];
  uploads: string[];
  upload_bytes: number;
  upload_seconds: number;
  kept_seconds: number;
  max_count: number;
  max_prompt: number;
  max_segments: number;
  gradio: boolean;
}

export interface State {
  ahead: number;
  seconds: number;
  started: boolean;
}

export interface Reply {
  conversation: string;
  task: string;
  text: string;
  motions: MotionInfo[];
  remembered: boolean;
}

/** What the server said was wrong, in words for people. */
export class Problem extends Error {
  constructor(message: string, readonly status: number) {
    super(message);
  }
}

/** Tells this page apart from others behind the same address. */
const client = (() => {
  const kept = sessionStorage.getItem("client") ?? Math.random().toString(36).slice(2, 12);
  sessionStorage.setItem("client", kept);
  return kept;
})();

async function request(path: string, options: RequestInit = {}): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(path, { ...options, headers: { "X-Client": client, ...options.headers } });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Problem("The server cannot be reached.", 0);
  }
  if (answer.ok) return answer;
  const body = (await answer.json().catch(() => ({}))) as { detail?: string };
  throw new Problem(body.detail ?? `The server answered with status ${answer.status}.`, answer.status);
}

export async function info(): Promise<Info> {
  return (await request("api/info")).json() as Promise<Info>;
}

export async function bytes(path: string): Promise<ArrayBuffer> {
  return (await request(path)).arrayBuffer();
}

export async function clip(id: string): Promise<Clip> {
  return parseClip(await bytes(`api/motions/${id}/frames`));
}

export async function upload(file: File): Promise<MotionInfo> {
  const path = `api/motions?name=${encodeURIComponent(file.name)}`;
  const type = { "Content-Type": "application/octet-stream" };
  return (await request(path, { method: "POST", body: file, headers: type })).json() as Promise<MotionInfo>;
}

/** The bytes of a motion's file, and what it is called. */
export async function file(id: string, format: string): Promise<{ data: Blob; name: string }> {
  const answer = await request(fileAddress(id, format));
  const [, name] = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") ?? "") ?? [];
  return { data: await answer.blob(), name: name ?? "motion" };
}

export const fileAddress = (id: string, format: string): string => `api/motions/${id}/files/${format}`;

/** Asks for something that takes a while; aborting the signal stops the work on the server. */
export async function ask<Answer>(
  path: string,
  body: object,
  signal: AbortSignal,
  hear: { state: (state: State) => void; text?: (piece: string) => void },
): Promise<Answer> {
  const answer = await request(path, {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
    signal,
  });
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch((error: unknown) => {
      if (signal.aborted) throw error;
      throw new Problem("The connection to the server was lost.", 0);
    });
    if (done) throw new Problem("The connection to the server was lost.", 0);
    rest += value;
    const events = rest.split("\n\n");
    rest = events.pop()!;
    for (const event of events) {
      const [, kind, data] = /^event: (\w+)\ndata: (.*)$/s.exec(event) ?? [];
      const content: unknown = data === undefined ? null : JSON.parse(data);
      if (kind === "state") hear.state(content as State);
      else if (kind === "text") hear.text?.(content as string);
      else if (kind === "done") return content as Answer;
      else if (kind === "problem") {
        const { detail, status } = content as { detail: string; status: number };
        throw new Problem(detail, status);
      }
    }
  }
}
