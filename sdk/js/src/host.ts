// What a frontend may ask of the engine.

import calls, { type FileInfo, type SourceMeta, type WitRef } from "pintle:frontend/host@0.1.0";
import llb from "pintle:frontend/llb@0.1.0";
import type { Content, Location } from "pintle:frontend/types@0.1.0";
import { attrs, places, type VertexOptions } from "./attrs.ts";
import { list, text as string, texts } from "./check.ts";
import { add, call, FrontendError, fromHost } from "./error.ts";
import { State } from "./state.ts";

/** Options of {@link Host.image}. */
export interface ImageOptions extends VertexOptions {
  /** Whether the registry is asked. */
  resolveMode?: "default" | "pull" | "local";
  /** Digest that the image must have. */
  checksum?: string;
  /** Only so many layers, from the lowest. */
  layerLimit?: number;
  /** Kind of cache record. */
  recordType?: "internal" | "frontend";
}

/** Options of {@link Host.imageBlob}. */
export interface BlobOptions extends VertexOptions {
  /** Name of the file. */
  filename?: string;
  /** Of the file. */
  mode?: number;
  /** Of the file; not given: 0. */
  uid?: number;
  /** Of the file; not given: 0. */
  gid?: number;
}

/** Options of {@link Host.ociLayout}. */
export interface OciLayoutOptions extends VertexOptions {
  /** Session that holds the layout. */
  session?: string;
  /** Name of the layout in the session. */
  store?: string;
  /** Only so many layers, from the lowest. */
  layerLimit?: number;
}

/** Options of {@link Host.ociLayoutBlob}. */
export interface OciLayoutBlobOptions extends BlobOptions {
  /** Session that holds the layout. */
  session?: string;
  /** Name of the layout in the session. */
  store?: string;
}

/** Options of {@link Host.local}. */
export interface LocalOptions extends VertexOptions {
  /** Only what matches one of these patterns. */
  include?: readonly string[];
  /** Not what matches one of these patterns. */
  exclude?: readonly string[];
  /** Also what these paths lead to through symlinks. */
  follow?: readonly string[];
  /** Names the mirror that transfers share. */
  sharedKey?: string;
  /** How changed files are told: by their metadata, or all are sent. */
  differ?: "none" | "metadata";
  /** Session to read from. */
  session?: string;
  /** Makes the vertex differ from its like. */
  unique?: string;
  /** Send names and metadata, no contents. */
  metadataOnly?: boolean;
  /** Send contents of what matches all the same. */
  metadataOnlyExcept?: readonly string[];
}

/** Options of {@link Host.git}. */
export interface GitOptions extends VertexOptions {
  /** The URL as the user wrote it, with its transport. */
  fullUrl?: string;
  /** Leave .git in the tree. */
  keepGitDir?: boolean;
  /** Commit, or a prefix of it, that the ref must have. */
  checksum?: string;
  /** Leave submodules out. */
  skipSubmodules?: boolean;
  /** Which time files get. */
  mtime?: "checkout" | "commit";
  /** Ask the server for the checksum, not for the ref. */
  fetchByCommit?: boolean;
  /** Read from this bundle instead of the server. */
  bundle?: string;
  /** Give a bundle instead of a tree. */
  checkoutBundle?: boolean;
  /** Id of the secret with a token. */
  authTokenSecret?: string;
  /** Id of the secret with a whole header. */
  authHeaderSecret?: string;
  /** Lines of a known_hosts file. */
  knownSshHosts?: string;
  /** Id of the agent to forward. */
  mountSshSock?: string;
  /** PGP or SSH key that must have signed the commit or tag. */
  signatureKey?: string;
  /** An expired key is no key. */
  signatureRejectExpired?: boolean;
  /** The tag must be signed. */
  signatureRequireTag?: boolean;
  /** Only the commit's signature counts. */
  signatureIgnoreTag?: boolean;
}

/** Options of {@link Host.http}. */
export interface HttpOptions extends VertexOptions {
  /** Digest that the file must have. */
  checksum?: string;
  /** Name of the file. */
  filename?: string;
  /** Of the file. */
  mode?: number;
  /** Of the file; not given: 0. */
  uid?: number;
  /** Of the file; not given: 0. */
  gid?: number;
  /** Id of the secret with the Authorization header. */
  authHeaderSecret?: string;
  /** PGP key that must have signed the file. */
  signatureKey?: string;
  /** The detached signature. */
  signature?: string;
  /** Headers of the request. */
  header?: Record<string, string>;
}

/** Options of {@link Host.resolve} and {@link Host.resolveImages}. */
export interface ResolveOptions {
  /** os/arch[/variant] that is wanted. */
  platform?: string;
  /** Whether the registry is asked. */
  resolveMode?: "default" | "pull" | "local";
  /** Do not fetch the image's config. */
  noConfig?: boolean;
  /** Shown in the progress. */
  logName?: string;
  /** Of a git source: answer the commit, and an annotated tag, as git stores them. */
  objects?: boolean;
  /** Options of the source by their words. */
  attrs?: Readonly<Record<string, string>>;
}

/** A source to pin down. */
export interface SourceQuery extends ResolveOptions {
  /** As {@link Host.source} takes it. */
  identifier: string;
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
  /** Larger is louder; not given: 1. */
  level?: number;
  /** Longer texts, a line each. */
  detail?: readonly string[];
  /** Where more is to be read. */
  url?: string;
  /** The tree that it is about. */
  about?: State;
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

  /** A blob of an image's repository as a file: `registry.example/name@sha256:...`. */
  imageBlob(reference: string, options: BlobOptions = {}): State {
    return this.source(`docker-image+blob://${reference}`, options);
  }

  /** The files of an image in a layout of the user's. */
  ociLayout(reference: string, options: OciLayoutOptions = {}): State {
    return this.source(`oci-layout://${reference}`, options);
  }

  /** A blob of a layout of the user's, as a file. */
  ociLayoutBlob(reference: string, options: OciLayoutBlobOptions = {}): State {
    return this.source(`oci-layout+blob://${reference}`, options);
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

  /** Pins sources down, all at once. Answers stand in the order of the questions; what could not be pinned is an error there. */
  resolve(queries: readonly SourceQuery[]): (SourceMeta | FrontendError)[] {
    const wit = list(queries, "queries").map(({ identifier, platform, ...options }) => ({
      identifier: string(identifier, "identifier of a query"),
      platform: platform ?? null,
      attrs: attrs(options),
    }));
    return calls.resolveSources(wit).map((answer) => (answer.tag === "err" ? (fromHost(answer.val) as FrontendError) : answer.val));
  }

  /** Looks images up, all at once. */
  resolveImages(references: readonly string[], options: ResolveOptions = {}): ResolvedImage[] {
    const queries = list(references, "references").map((reference) => ({ identifier: `docker-image://${reference}`, ...options }));
    return this.resolve(queries).map((answer) => {
      if (answer instanceof FrontendError) throw answer;
      return resolved(answer);
    });
  }

  /** A line for the build's log. */
  log(level: "debug" | "info" | "warn" | "error", message: string): void {
    calls.log(level, string(message, "message"));
  }

  /** A warning for the user. */
  warn(warning: Warning): void {
    const { message, level, url, about, detail = [] } = warning;
    const lines = list(detail, "detail").map((line) => string(line, "detail"));
    const words = attrs({ level, detail: lines, url });
    call(() => calls.warn(about?.edge?.vertex ?? null, string(message, "message"), places(warning), words));
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

  /** The place of what lies from `start` to `end`, both included: `[line, column]`, lines from 1, columns from 0 in bytes of UTF-8. */
  location(start: readonly [number, number], end: readonly [number, number]): Location {
    return { file: this.file, startLine: start[0], startColumn: start[1], endLine: end[0], endColumn: end[1] };
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

  /** At most `length` bytes from `offset`. */
  readRange(path: string, offset: number, length: number): Uint8Array {
    return call(() => this.ref.readRange(string(path, "path"), offset, length));
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
