// The interfaces of `wit/v0.1`, as the component's JavaScript sees them.

/// <reference path="./console.d.ts" />

declare module "pintle:frontend/types@0.1.0" {
  /** A word of `attributes.md` and its value. */
  export type Attr = [string, string];
  /** One output of a vertex. */
  export interface Edge {
    vertex: number;
    output: number;
  }
  /** Text or bytes. */
  export type Content = { tag: "text"; val: string } | { tag: "bytes"; val: Uint8Array };
  /** A place in a source text: lines from 1, columns from 0 in bytes of UTF-8; both ends are included. */
  export interface Location {
    file: number;
    startLine: number;
    startColumn: number;
    endLine: number;
    endColumn: number;
  }
  /** Why something did not work. */
  export interface WitError {
    code: string;
    message: string;
    detail: Attr[];
    places: Location[];
  }
}

declare module "pintle:frontend/llb@0.1.0" {
  import type { Attr, Content, Edge, Location } from "pintle:frontend/types@0.1.0";
  export interface Mount {
    kind: string;
    target: string;
    input: Edge | null;
    attrs: Attr[];
  }
  export interface FileAction {
    kind: string;
    path: string;
    input: Edge | null;
    content: Content | null;
    attrs: Attr[];
  }
  export interface Llb {
    supports(feature: string): boolean;
    addSource(identifier: string, attrs: Attr[]): Edge;
    addExec(root: Edge | null, args: string[], env: Attr[], mounts: Mount[], attrs: Attr[]): Edge;
    addFile(base: Edge | null, actions: FileAction[], attrs: Attr[]): Edge;
    addMerge(inputs: Edge[], attrs: Attr[]): Edge;
    addDiff(lower: Edge | null, upper: Edge | null, attrs: Attr[]): Edge;
    addOp(kind: string, inputs: (Edge | null)[], params: Attr[], content: Content | null, attrs: Attr[]): Edge;
    addDefinition(definition: Uint8Array): Edge | null;
    addSourceFile(name: string, language: string, text: Content, definition: Edge | null): number;
    locate(vertex: number, places: Location[]): void;
  }
  const llb: Llb;
  export default llb;
}

declare module "pintle:frontend/host@0.1.0" {
  import type { Attr, Content, Edge, Location, WitError } from "pintle:frontend/types@0.1.0";
  /** What is known of a file. */
  export interface FileInfo {
    path: string;
    /** file, directory, symlink, block-device, char-device, fifo or socket. */
    kind: string;
    mode: number;
    size: number;
    /** Nanoseconds since 1970. */
    mtime: number;
    uid: number;
    gid: number;
    link: string;
  }
  export interface SourceQuery {
    identifier: string;
    platform: string | null;
    attrs: Attr[];
  }
  /** A source pinned down. */
  export interface SourceMeta {
    identifier: string;
    attrs: Attr[];
    digest: string;
    config: string | null;
    facts: [string, Content][];
  }
  export interface WitRef {
    start(): void;
    wait(): void;
    readFile(path: string): Uint8Array;
    readRange(path: string, offset: number, length: number): Uint8Array;
    readText(path: string): string;
    readDir(path: string, attrs: Attr[]): FileInfo[];
    stat(path: string): FileInfo;
    target(): Edge | null;
  }
  export interface WitSolved {
    refs: [string, WitRef][];
    metadata: [string, Content][];
  }
  export type Nested<T> = { tag: "ok"; val: T } | { tag: "err"; val: WitError };
  export interface HostCalls {
    solve(target: Edge | null, attrs: Attr[]): WitRef;
    solveFrontend(source: string, opts: Attr[], inputs: [string, Edge | null][]): WitSolved;
    resolveSources(queries: SourceQuery[]): Nested<SourceMeta>[];
    log(level: string, message: string): void;
    warn(vertex: number | null, message: string, places: Location[], attrs: Attr[]): void;
  }
  const host: HostCalls;
  export default host;
}
