// What a frontend may ask of the engine.

import calls, { type FileInfo, type SourceMeta, type WitRef } from "pintle:frontend/host@0.1.0";
import llb from "pintle:frontend/llb@0.1.0";
import type { Attr, Content, Location } from "pintle:frontend/types@0.1.0";
import { attrs, places, type VertexOptions } from "./attrs.ts";
import { list, text as string, texts } from "./check.ts";
import { add, call, fromHost } from "./error.ts";
import { State } from "./state.ts";

/** Options of {@link Host.image}. */
export interface ImageOptions extends VertexOptions {
  resolveMode?: "default" | "pull" | "local";
  /** Digest that the image must have. */
  checksum?: string;
  /** Only so many layers, from the lowest. */
  layerLimit?: number;
}

/** Options of {@link Host.local}. */
export interface LocalOptions extends VertexOptions {
  include?: readonly string[];
  exclude?: readonly string[];
  /** Also what these paths lead to through symlinks. */
  follow?: readonly string[];
  /** Names the mirror that transfers share. */
  sharedKey?: string;
}

/** Options of {@link Host.git}. */
export interface GitOptions extends VertexOptions {
  keepGitDir?: boolean;
  checksum?: string;
  skipSubmodules?: boolean;
  authTokenSecret?: string;
  authHeaderSecret?: string;
  knownSshHosts?: string;
  mountSshSock?: string;
}

/** Options of {@link Host.http}. */
export interface HttpOptions extends VertexOptions {
  checksum?: string;
  filename?: string;
  mode?: number;
  uid?: number;
  gid?: number;
  authHeaderSecret?: string;
  /** Headers of the request. */
  header?: Record<string, string>;
}

/** Options of {@link Host.resolveImages}. */
export interface ResolveOptions {
  platform?: string;
  resolveMode?: "default" | "pull" | "local";
}

/** An image that was resolved. */
export interface ResolvedImage {
  /** For {@link Host.image}: with its digest where that is known. */
  reference: string;
  digest: string;
  /** The image config. */
  config: ImageConfig;
}

/** An image config as far as frontends change it; what else it has is kept. */
export interface ImageConfig {
  architecture?: string;
  os?: string;
  variant?: string;
  config?: {
    Env?: string[];
    Cmd?: string[] | null;
    Entrypoint?: string[] | null;
    WorkingDir?: string;
    User?: string;
    Labels?: Record<string, string>;
    ExposedPorts?: Record<string, object>;
    Volumes?: Record<string, object>;
    StopSignal?: string;
    [key: string]: unknown;
  };
  [key: string]: unknown;
}

/** A warning for the user. */
export interface Warning {
  message: string;
  /** Longer texts, a line each. */
  detail?: readonly string[];
  url?: string;
  at?: Location | readonly Location[];
}

/** What a frontend may ask of the engine. */
export class Host {
  /** Whether this host knows a word of `attributes.md`, or a kind: `source.git`, `exec.hostname`. */
  supports(feature: string): boolean {
    return llb.supports(feature);
  }

  /** An empty tree. */
  scratch(): State {
    return new State(null);
  }

  /** The files of an image. */
  image(reference: string, options: ImageOptions = {}): State {
    return this.source(`docker-image://${reference}`, options);
  }

  /** A directory of the user's by its name: `context`, `dockerfile`. */
  local(name: string, options: LocalOptions = {}): State {
    return this.source(`local://${name}`, options);
  }

  /** A git repository: `https://host/repository.git#ref:subdir`. */
  git(remote: string, options: GitOptions = {}): State {
    const bare = remote.replace(/^[a-z+]+:\/\//, "");
    return this.source(`git://${bare}`, { fullUrl: remote.split("#")[0], ...options } as VertexOptions);
  }

  /** A file of a web server. */
  http(url: string, options: HttpOptions = {}): State {
    return this.source(url, options);
  }

  /** A source by its URL. */
  source(identifier: string, options: VertexOptions = {}): State {
    const where = places(options);
    const edge = add(where, () => llb.addSource(identifier, attrs(options)));
    if (where.length > 0) call(() => llb.locate(edge.vertex, where));
    return new State(edge);
  }

  /** Takes in a ready-made graph, BuildKit's `pb.Definition`. */
  definition(bytes: Uint8Array): State {
    return new State(call(() => llb.addDefinition(bytes)));
  }

  /** Tells the host about a source text, so that errors can show its lines. */
  sourceFile(name: string, language: string, text: string, definition?: State): SourceFile {
    string(name, "name of a source file");
    string(text, "text of a source file");
    const file = call(() => llb.addSourceFile(name, language, { tag: "text", val: text }, definition?.edge ?? null));
    return new SourceFile(file, text);
  }

  /** The result of a tree, built when it is first read. */
  solve(state: State): Ref {
    return new Ref(call(() => calls.solve(state.edge, [])));
  }

  /** Builds another frontend inside this one; `source` names it as a `# syntax=` line does. */
  solveFrontend(source: string, opts: Record<string, string> = {}, inputs: Record<string, State> = {}): Solved {
    const edges = Object.entries(inputs).map(([name, state]): [string, State["edge"]] => [name, state.edge]);
    const solved = call(() => calls.solveFrontend(source, texts(opts, "option"), edges));
    return {
      refs: new Map(solved.refs.map(([platform, ref]) => [platform, new Ref(ref)])),
      metadata: new Map(solved.metadata),
    };
  }

  /** Looks images up, all at once. */
  resolveImages(references: readonly string[], options: ResolveOptions = {}): ResolvedImage[] {
    const words = attrs(options, ["platform"]);
    const queries = list(references, "references").map((reference) => ({
      identifier: `docker-image://${reference}`,
      platform: options.platform ?? null,
      attrs: words,
    }));
    return calls.resolveSources(queries).map((answer) => {
      if (answer.tag === "err") throw fromHost(answer.val);
      return resolved(answer.val);
    });
  }

  /** A line for the build's log. */
  log(level: "debug" | "info" | "warn" | "error", message: string): void {
    calls.log(level, string(message, "message"));
  }

  /** A warning for the user. */
  warn(warning: Warning): void {
    const words: Attr[] = [];
    for (const line of warning.detail ?? []) words.push(["detail", string(line, "detail")]);
    if (warning.url !== undefined) words.push(["url", warning.url]);
    call(() => calls.warn(null, string(warning.message, "message"), places(warning as VertexOptions), words));
  }
}

function resolved(meta: SourceMeta): ResolvedImage {
  const reference = meta.identifier.replace(/^docker-image:\/\//, "");
  return { reference, digest: meta.digest, config: JSON.parse(meta.config ?? "{}") as ImageConfig };
}

/** A source text that the host knows. */
export class SourceFile {
  private readonly file: number;
  private readonly text: string;

  constructor(file: number, text: string) {
    this.file = file;
    this.text = text;
  }

  /** The place of the characters from `start` up to and without `end`, counted in UTF-16 code units as strings are. */
  at(start: number, end: number = start + 1): Location {
    const first = this.position(start);
    const last = this.position(Math.max(start, end - 1));
    return { file: this.file, startLine: first.line, startColumn: first.column, endLine: last.line, endColumn: last.column };
  }

  private position(offset: number): { line: number; column: number } {
    const before = this.text.slice(0, offset);
    const begin = before.lastIndexOf("\n") + 1;
    return { line: before.split("\n").length, column: utf8Length(before.slice(begin)) };
  }
}

/** How many bytes a text has in UTF-8. */
function utf8Length(text: string): number {
  let length = 0;
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    length += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  }
  return length;
}

/** A lazy result. */
export class Ref {
  private readonly ref: WitRef;

  constructor(ref: WitRef) {
    this.ref = ref;
  }

  /** Begins in the background. Start several, then read: that is how a frontend builds in parallel. */
  start(): void {
    this.ref.start();
  }

  /** Waits until it is built. */
  wait(): void {
    call(() => this.ref.wait());
  }

  /** A file's bytes. */
  readFile(path: string): Uint8Array {
    return call(() => this.ref.readFile(string(path, "path")));
  }

  /** A file's text. */
  readText(path: string): string {
    return call(() => this.ref.readText(string(path, "path")));
  }

  /** The entries of a directory; `include` is a pattern for their names. */
  readDir(path: string, options: { include?: string } = {}): FileInfo[] {
    return call(() => this.ref.readDir(string(path, "path"), attrs(options)));
  }

  /** What is at `path`. */
  stat(path: string): FileInfo {
    return call(() => this.ref.stat(string(path, "path")));
  }

  /** What it was made from, to build on. */
  state(): State {
    return new State(call(() => this.ref.target()));
  }
}

/** What another frontend made. */
export interface Solved {
  /** By platform, "" when there is one only. */
  refs: Map<string, Ref>;
  metadata: Map<string, Content>;
}
