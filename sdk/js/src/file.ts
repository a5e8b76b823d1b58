// Changes of files.

import type { FileAction as WitAction } from "pintle:frontend/llb@0.1.0";
import type { Content } from "pintle:frontend/types@0.1.0";
import { attrs } from "./attrs.ts";
import { kind as kindOf, text } from "./check.ts";
import type { State } from "./state.ts";

/** One change; made by the functions here. */
export interface FileAction {
  readonly wit: WitAction;
}

function action(kind: string, path: string, options: object, more: Partial<WitAction> = {}, words: [string, string][] = []): FileAction {
  text(path, `path of ${kind}`);
  return { wit: { kind, path, input: null, content: null, attrs: [...words, ...attrs(options)], ...more } };
}

/** Options of {@link copy}. */
export interface CopyOptions {
  /** Octal digits or symbolic (`u+x,go-w`); a number is taken as a mode. */
  mode?: number | string;
  /** user[:group], names or numbers. */
  owner?: string;
  /** Resolve symlinks in the source path. */
  followLinks?: boolean;
  /** Of a directory, what is in it. */
  contentsOnly?: boolean;
  /** Make the directories above the destination. */
  createParents?: boolean;
  /** The source path is a pattern, such as `*.txt`; without this, `*`, `?` and `[` are taken as they are. */
  wildcard?: boolean;
  /** A pattern that matches nothing is no error. */
  emptyWildcard?: boolean;
  /** If the source is an archive, what is in it. */
  unpack?: boolean;
  /** Only what matches one of these patterns. */
  include?: readonly string[];
  /** Not what matches one of these patterns. */
  exclude?: readonly string[];
  /** With `include`: paths that must be among what is copied. */
  required?: readonly string[];
  /** What is in the way and of another kind is replaced. */
  replace?: boolean;
  /** Modification time in nanoseconds since 1970. */
  created?: string;
}

/** Copies `src` of `from` to `dest`. A `dest` that ends in `/` is a directory to copy into. */
export function copy(from: State, src: string, dest: string, options: CopyOptions = {}): FileAction {
  return action("copy", dest, options, { input: from.edge }, [["src", text(src, "source of copy")]]);
}

/** Text or bytes, as the interface has them. */
export function contentOf(content: string | Uint8Array): Content {
  if (typeof content === "string") return { tag: "text", val: content };
  if (content instanceof Uint8Array) return { tag: "bytes", val: content };
  throw new TypeError(`content: want a string or a Uint8Array, not ${kindOf(content)}`);
}

/** Options of {@link mkfile}. */
export interface MkfileOptions {
  /** Not given: 644. */
  mode?: number | string;
  /** user[:group], names or numbers. */
  owner?: string;
  /** Modification time in nanoseconds since 1970; not given: now. */
  created?: string;
}

/** Makes a file. */
export function mkfile(path: string, content: string | Uint8Array, options: MkfileOptions = {}): FileAction {
  return action("mkfile", path, options, { content: contentOf(content) });
}

/** Options of {@link mkdir}. */
export interface MkdirOptions {
  /** Not given: 755. */
  mode?: number | string;
  /** Make the directories above; an existing one is no error. */
  parents?: boolean;
  /** user[:group], names or numbers. */
  owner?: string;
  /** Modification time in nanoseconds since 1970; not given: now. */
  created?: string;
}

/** Makes a directory. */
export function mkdir(path: string, options: MkdirOptions = {}): FileAction {
  return action("mkdir", path, options);
}

/** Options of {@link rm}. */
export interface RmOptions {
  /** Nothing there is no error. */
  allowNotFound?: boolean;
  /** The path is a pattern, such as `*.txt`; without this, `*`, `?` and `[` are taken as they are. */
  wildcard?: boolean;
}

/** Removes a file or a directory. */
export function rm(path: string, options: RmOptions = {}): FileAction {
  return action("rm", path, options);
}

/** Options of {@link symlink}. */
export interface SymlinkOptions {
  /** user[:group], names or numbers. */
  owner?: string;
  /** Modification time in nanoseconds since 1970; not given: now. */
  created?: string;
}

/** Makes a symbolic link. */
export function symlink(path: string, to: string, options: SymlinkOptions = {}): FileAction {
  return action("symlink", path, options, {}, [["to", text(to, "target of symlink")]]);
}
