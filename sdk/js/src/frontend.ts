// A frontend as the engine calls it.

import type { Attr, Content, Edge } from "pintle:frontend/types@0.1.0";
import { kind, text as string } from "./check.ts";
import { FrontendError, toWit } from "./error.ts";
import { Host, type ImageConfig } from "./host.ts";
import { State } from "./state.ts";

/** What the user asked for. */
export class Request {
  /** target, platform, filename, build-arg:NAME, label:NAME, context:NAME ... */
  readonly opts: ReadonlyMap<string, string>;
  /** Trees that are there already, by name. */
  readonly inputs: ReadonlyMap<string, State>;

  constructor(opts: Iterable<Attr>, inputs: Iterable<[string, Edge | null]>) {
    this.opts = new Map(opts);
    this.inputs = new Map([...inputs].map(([name, edge]) => [name, new State(edge)]));
  }

  /** An option, unless it is missing or empty. */
  opt(name: string): string | undefined {
    return this.opts.get(name) || undefined;
  }

  /** Options whose names begin with `prefix`, by what follows it: `build-arg:`, `label:`, `context:`. */
  optsWith(prefix: string): Record<string, string> {
    const found = [...this.opts].filter(([name]) => name.startsWith(prefix));
    return Object.fromEntries(found.map(([name, value]) => [name.slice(prefix.length), value]));
  }

  /** The platforms asked for; the builder's own when there is none. */
  platforms(): string[] {
    const asked = this.opt("platform") ?? this.opt("build-platform") ?? "linux/amd64";
    return asked.split(",").map((platform) => platform.trim());
  }
}

/** A result for one platform. */
export interface Result {
  state: State;
  /** The image config. */
  config?: ImageConfig;
}

/** What a build answers: one result, or one for each platform. */
export type Output = State | Result | { platforms: Record<string, Result>; metadata?: Record<string, string> };

/**
 * Metadata of an {@link Output}: trees that a bill of materials is made of beside the result for `platform`, by names of letters, digits,
 * `.`, `_` and `-`. The host looks at them when it makes one.
 */
export function scanned(trees: Readonly<Record<string, State>>, platform = ""): Record<string, string> {
  const edges = Object.entries(trees).map(([name, { edge }]) => [name, edge && [edge.vertex, edge.output]]);
  return { [platform === "" ? "sbom.extras" : `sbom.extras/${platform}`]: JSON.stringify(Object.fromEntries(edges)) };
}

/** What a request answers. */
export interface Answer {
  /** For machines. */
  json: unknown;
  /** For readers. */
  text: string;
}

/** A build language. */
export interface Frontend {
  /** Turns what the user asked for into a graph. */
  build(cx: Host, request: Request): Output;
  /** Answers `describe`, `outline`, `targets` or `lint` without building; `undefined` leaves the answer to the host. */
  request?(cx: Host, kind: string, request: Request): Answer | undefined;
}

interface WitOutput {
  results: [string, Edge | null][];
  metadata: [string, Content][];
}

/** The functions that a component's module has to export: `export const { build, request } = frontend({ ... })`. */
export function frontend(language: Frontend): {
  build(opts: Attr[], inputs: [string, Edge | null][]): WitOutput;
  request(kind: string, opts: Attr[], inputs: [string, Edge | null][]): [string, Content][];
} {
  return {
    build: (opts, inputs) => guarded(() => toOutput(language.build(new Host(), new Request(opts, inputs)))),
    request: (kind, opts, inputs) =>
      guarded(() => {
        const answer = language.request?.(new Host(), kind, new Request(opts, inputs));
        if (answer === undefined) throw new FrontendError(`no answer to request ${JSON.stringify(kind)}`, { code: "unsupported" });
        return [
          ["result.json", text(JSON.stringify(answer.json))],
          ["result.txt", text(string(answer.text, "text"))],
        ];
      }),
  };
}

function guarded<T>(work: () => T): T {
  try {
    return work();
  } catch (thrown) {
    throw toWit(thrown);
  }
}

function text(val: string): Content {
  return { tag: "text", val };
}

function toOutput(output: Output): WitOutput {
  if (output instanceof State) return toOutput({ state: output });
  if (typeof output !== "object" || output === null || !("state" in output || "platforms" in output)) {
    throw new TypeError(`build has to answer a State, { state, config } or { platforms }, not ${kind(output)}`);
  }
  if ("state" in output) return one("", output);
  const entries = Object.entries(output.metadata ?? {});
  const metadata = entries.map(([key, value]): [string, Content] => [key, text(string(value, `metadata ${key}`))]);
  const each = Object.entries(output.platforms).map(([platform, result]) => one(platform, result));
  return { results: each.flatMap(({ results }) => results), metadata: [...each.flatMap((part) => part.metadata), ...metadata] };
}

function one(platform: string, { state, config }: Result): WitOutput {
  if (!(state instanceof State)) {
    const which = platform === "" ? "the answer of build" : `the answer of build for ${platform}`;
    throw new TypeError(`${which}: state has to be a State, not ${kind(state)}`);
  }
  const key = platform === "" ? "containerimage.config" : `containerimage.config/${platform}`;
  return {
    results: [[platform, state.edge]],
    metadata: config === undefined ? [] : [[key, text(JSON.stringify(config))]],
  };
}
