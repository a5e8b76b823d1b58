// The fake host: as strict as an engine, and a graph that reads as text.

import type { FileInfo, HostCalls, Nested, SourceMeta, WitRef } from "pintle:frontend/host@0.1.0";
import type { Llb } from "pintle:frontend/llb@0.1.0";
import type { Attr, Content, Edge, Location, WitError } from "pintle:frontend/types@0.1.0";
import { type Frontend, frontend } from "../frontend.ts";
import type { ImageConfig } from "../host.ts";
import { isKnown, supports } from "./words.ts";

let building: FakeHost | undefined;

/** The fake host whose frontend runs now. */
export function current(): FakeHost {
  if (building === undefined) throw new Error("a host is there only while FakeHost.build runs");
  return building;
}

/** A log line that the frontend sent. */
export interface Logged {
  level: string;
  message: string;
}

/** What a frontend answered. */
export interface Built {
  /** A line for each vertex, by number, in the order in which they were added. */
  graph: string;
  /** The vertex and output of each platform. */
  results: Map<string, string>;
  metadata: Map<string, string>;
  /** The image config of the one result. */
  config: ImageConfig | undefined;
}

/** A vertex's places in source texts. */
type Places = Location[];

/** A host of scripted images and files. */
export class FakeHost {
  private readonly vertices: string[] = [];
  private readonly places: Places[] = [];
  private readonly sources: { name: string; text: string }[] = [];
  private readonly images = new Map<string, SourceMeta>();
  private readonly files = new Map<string, Map<string, Uint8Array>>();
  /** Log lines that the frontend sent. */
  readonly logs: Logged[] = [];
  /** Texts of the warnings that the frontend sent. */
  readonly warnings: string[] = [];

  /** Scripts an image by its full reference. */
  image(reference: string, digest: string, config: ImageConfig): this {
    const identifier = `docker-image://${reference}`;
    const pinned = `${identifier}@${digest}`;
    this.images.set(identifier, { identifier: pinned, attrs: [], digest, config: JSON.stringify(config), facts: [] });
    return this;
  }

  /** Scripts a file of a source, by the source's identifier (`local://context`). */
  file(identifier: string, path: string, content: string | Uint8Array): this {
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    const files = this.files.get(identifier) ?? new Map<string, Uint8Array>();
    this.files.set(identifier, files.set(clean(path), bytes));
    return this;
  }

  /** Runs a frontend. An error of the frontend is thrown as the world has it: code, message, places. */
  build(language: Frontend, opts: Record<string, string> = {}): Built {
    building = this;
    try {
      const output = frontend(language).build(Object.entries(opts), []);
      const metadata = new Map(output.metadata.map(([key, value]) => [key, contentText(value)]));
      const config = metadata.get("containerimage.config");
      return {
        graph: this.vertices.map((vertex, number) => `${number}: ${vertex}\n`).join(""),
        results: new Map(output.results.map(([platform, edge]) => [platform, shown(edge)])),
        metadata,
        config: config === undefined ? undefined : (JSON.parse(config) as ImageConfig),
      };
    } finally {
      building = undefined;
    }
  }

  /** The lines of a source text that a place covers. */
  excerpt(place: Location): string {
    const source = this.sources[place.file];
    return source === undefined ? "" : source.text.split("\n").slice(place.startLine - 1, place.endLine).join("\n");
  }

  private add(text: string): Edge {
    const known = this.vertices.indexOf(text);
    if (known >= 0) return { vertex: known, output: 0 };
    this.places.push([]);
    return { vertex: this.vertices.push(text) - 1, output: 0 };
  }

  private check(edges: readonly (Edge | null)[]): void {
    for (const edge of edges) {
      if (edge !== null && this.vertices[edge.vertex] === undefined) {
        throw refused("invalid-argument", `vertex ${edge.vertex}: there is none of this number`);
      }
    }
  }

  /** The calls of `pintle:frontend/llb`. */
  readonly llb: Llb = {
    supports,
    addSource: (identifier, attrs) => {
      const scheme = identifier.split("://")[0] ?? "";
      checkWords(["vertex", `source.${scheme === "https" ? "http" : scheme}`], attrs);
      return this.add(`source ${identifier}${words(attrs)}`);
    },
    addExec: (root, args, env, mounts, attrs) => {
      checkWords(["vertex", "exec"], attrs);
      this.check([root, ...mounts.map((mount) => mount.input)]);
      if (args.length === 0) throw refused("invalid-argument", "a command has at least one argument");
      const lines = mounts.map(({ kind, target, input, attrs }) => {
        checkWords(["mount", `mount.${kind}`], attrs);
        return `\n    ${kind} ${target} ${shown(input)}${words(attrs)}`;
      });
      const variables = env.map(([name, value]) => `\n    env ${name}=${value}`);
      return this.add(`exec ${JSON.stringify(args)} on ${shown(root)}${words(attrs)}${variables.join("")}${lines.join("")}`);
    },
    addFile: (base, actions, attrs) => {
      checkWords(["vertex"], attrs);
      this.check([base, ...actions.map((action) => action.input)]);
      const lines = actions.map(({ kind, path, input, content, attrs }) => {
        checkWords([`file.${kind}`], attrs);
        const from = kind === "copy" ? ` from ${shown(input)}` : "";
        const text = content === null ? "" : ` ${JSON.stringify(contentText(content))}`;
        return `\n    ${kind} ${path}${from}${text}${words(attrs)}`;
      });
      return this.add(`file on ${shown(base)}${words(attrs)}${lines.join("")}`);
    },
    addMerge: (inputs, attrs) => {
      checkWords(["vertex"], attrs);
      this.check(inputs);
      return this.add(`merge ${inputs.map(shown).join(" ")}${words(attrs)}`);
    },
    addDiff: (lower, upper, attrs) => {
      checkWords(["vertex"], attrs);
      this.check([lower, upper]);
      return this.add(`diff ${shown(lower)} ${shown(upper)}${words(attrs)}`);
    },
    addOp: (kind, inputs, params, content, attrs) => {
      checkWords([`op.${kind}`], params);
      checkWords(["vertex"], attrs);
      this.check(inputs);
      const text = content === null ? "" : ` ${JSON.stringify(contentText(content))}`;
      return this.add(`${[kind, ...inputs.map(shown)].join(" ")}${text}${words(params)}${words(attrs)}`);
    },
    addDefinition: () => {
      throw refused("unsupported", "the fake host reads no definitions");
    },
    addSourceFile: (name, _language, text, definition) => {
      this.check([definition]);
      return this.sources.push({ name, text: contentText(text) }) - 1;
    },
    locate: (vertex, places) => {
      const known = this.places[vertex];
      if (known === undefined) throw refused("invalid-argument", `vertex ${vertex}: there is none of this number`);
      known.push(...places);
    },
  };

  /** The calls of `pintle:frontend/host`. */
  readonly calls: HostCalls = {
    solve: (target) => {
      this.check([target]);
      return new FakeRef(target, this.filesOf(target));
    },
    solveFrontend: (source) => {
      throw refused("unsupported", `the fake host has no frontend ${source}`);
    },
    resolveSources: (queries) =>
      queries.map(({ identifier }): Nested<SourceMeta> => {
        const found = this.images.get(identifier);
        return found ? { tag: "ok", val: found } : { tag: "err", val: refused("not-found", `${identifier}: not scripted`) };
      }),
    log: (level, message) => void this.logs.push({ level, message }),
    warn: (_vertex, message, _places, attrs) => {
      checkWords(["warn"], attrs);
      this.warnings.push(message);
    },
  };

  private filesOf(target: Edge | null): ReadonlyMap<string, Uint8Array> {
    const vertex = target === null ? undefined : this.vertices[target.vertex];
    const identifier = vertex?.match(/^source (\S+)/)?.[1] ?? "";
    return this.files.get(identifier) ?? new Map();
  }
}

class FakeRef implements WitRef {
  private readonly edge: Edge | null;
  private readonly files: ReadonlyMap<string, Uint8Array>;

  constructor(edge: Edge | null, files: ReadonlyMap<string, Uint8Array>) {
    this.edge = edge;
    this.files = files;
  }

  start(): void {}
  wait(): void {}

  readFile(path: string): Uint8Array {
    const bytes = this.files.get(clean(path));
    if (bytes === undefined) throw refused("not-found", `${path}: no such file`);
    return bytes;
  }

  readRange(path: string, offset: number, length: number): Uint8Array {
    return this.readFile(path).slice(offset, offset + length);
  }

  readText(path: string): string {
    return new TextDecoder("utf-8", { fatal: true }).decode(this.readFile(path));
  }

  readDir(path: string): FileInfo[] {
    const prefix = clean(path) === "" ? "" : `${clean(path)}/`;
    const names = [...this.files.keys()].filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
    return [...new Set(names.map((name) => name.split("/")[0] ?? name))].sort().map((name) => this.stat(prefix + name));
  }

  stat(path: string): FileInfo {
    const bytes = this.files.get(clean(path));
    const isDirectory = [...this.files.keys()].some((name) => name.startsWith(`${clean(path)}/`));
    if (bytes === undefined && !isDirectory) throw refused("not-found", `${path}: no such file or directory`);
    const name = clean(path).split("/").pop() ?? "";
    const common = { path: name, mtime: 0, uid: 0, gid: 0, link: "" };
    return bytes === undefined
      ? { ...common, kind: "directory", mode: 0o755, size: 0 }
      : { ...common, kind: "file", mode: 0o644, size: bytes.length };
  }

  target(): Edge | null {
    return this.edge;
  }
}

function refused(code: string, message: string): WitError {
  return { code, message, detail: [], places: [] };
}

function checkWords(places: readonly string[], attrs: readonly Attr[]): void {
  for (const [word] of attrs) {
    if (!word.startsWith("?") && !isKnown(places, word)) {
      throw refused("unknown-attr", `attribute ${JSON.stringify(word)} of ${places[places.length - 1]}: not known`);
    }
  }
}

function shown(edge: Edge | null): string {
  return edge === null ? "scratch" : edge.output === 0 ? `${edge.vertex}` : `${edge.vertex}:${edge.output}`;
}

function words(attrs: readonly Attr[]): string {
  return attrs.map(([word, value]) => ` ${word}=${/[\s"]/.test(value) ? JSON.stringify(value) : value}`).join("");
}

function contentText(content: Content): string {
  return content.tag === "text" ? content.val : new TextDecoder().decode(content.val);
}

function clean(path: string): string {
  return path.split("/").filter((part) => part !== "" && part !== ".").join("/");
}
