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
  followLinks?: boolean;
  /** Of a directory, what is in it. */
  contentsOnly?: boolean;
  createParents?: boolean;
  /** The source path is a pattern. */
  wildcard?: boolean;
  /** A pattern that matches nothing is no error. */
  emptyWildcard?: boolean;
  /** If the source is an archive, what is in it. */
  unpack?: boolean;
  include?: readonly string[];
  exclude?: readonly string[];
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

/** Makes a file. */
export function mkfile(
  path: string,
  content: string | Uint8Array,
  options: { mode?: number | string; owner?: string; created?: string } = {},
): FileAction {
  return action("mkfile", path, options, { content: contentOf(content) });
}

/** Makes a directory. */
export function mkdir(
  path: string,
  options: { mode?: number | string; parents?: boolean; owner?: string; created?: string } = {},
): FileAction {
  return action("mkdir", path, options);
}

/** Removes a file or a directory. */
export function rm(path: string, options: { allowNotFound?: boolean; wildcard?: boolean } = {}): FileAction {
  return action("rm", path, options);
}

/** Makes a symbolic link. */
export function symlink(path: string, to: string, options: { owner?: string; created?: string } = {}): FileAction {
  return action("symlink", path, options, {}, [["to", text(to, "target of symlink")]]);
}
