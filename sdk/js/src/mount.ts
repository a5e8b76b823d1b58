// Mounts of a command.

import type { Mount as WitMount } from "pintle:frontend/llb@0.1.0";
import { attrs } from "./attrs.ts";
import { text } from "./check.ts";
import type { State } from "./state.ts";

/** A mount of any kind; made by the functions here. */
export interface Mount {
  readonly wit: WitMount;
  /** The tree behind it, when the command cannot write: it is then what the mount holds afterwards. */
  readonly unchanged?: State;
}

/** Options of {@link bind}. */
export interface BindOptions {
  /** A path inside the source. */
  selector?: string;
  /** Not writable. */
  readonly?: boolean;
  /** `false` drops what the command writes. */
  output?: boolean;
  /** Whether the contents are part of the cache key. */
  contentCache?: "default" | "on" | "off";
}

/** `source` at `target`. */
export function bind(target: string, source: State, options: BindOptions = {}): Mount {
  const wit = { kind: "bind", target, input: source.edge, attrs: attrs(options) };
  return options.readonly ? { wit, unchanged: source } : { wit };
}

/** Options of {@link cache}. */
export interface CacheOptions {
  /** Who may use it at once: all, each writer his own, one after the other. */
  sharing?: "shared" | "private" | "locked";
  /** What it holds at first; an empty directory when not given. */
  from?: State;
  /** A path inside the cache. */
  selector?: string;
  /** Not writable. */
  readonly?: boolean;
}

/** The cache `id` at `target`: kept between builds, never part of a result. */
export function cache(target: string, id: string, options: CacheOptions = {}): Mount {
  return { wit: { kind: "cache", target, input: options.from?.edge ?? null, attrs: [["id", text(id, "id of a cache")], ...attrs(options, ["from"])] } };
}

/** Options of {@link tmpfs}. */
export interface TmpfsOptions {
  /** In bytes; not given: no limit. */
  size?: number;
}

/** A directory in memory. */
export function tmpfs(target: string, options: TmpfsOptions = {}): Mount {
  return { wit: { kind: "tmpfs", target, input: null, attrs: attrs(options) } };
}

/** Options of {@link secret}. */
export interface SecretOptions {
  /** Its name; the target when not given. */
  id?: string;
  /** Give it as this environment variable, not as a file. */
  env?: string;
  /** May be missing. */
  optional?: boolean;
  /** Of the file; not given: 0. */
  uid?: number;
  /** Of the file; not given: 0. */
  gid?: number;
  /** Of the file. */
  mode?: number;
}

/** A secret as a file at `target`, or, with `env`, as an environment variable. */
export function secret(target: string, options: SecretOptions = {}): Mount {
  const { id = target, ...rest } = options;
  return { wit: { kind: "secret", target: rest.env ? "" : target, input: null, attrs: [["id", text(id, "id of a secret")], ...attrs(rest)] } };
}

/** Options of {@link ssh}. */
export interface SshOptions {
  /** Name of the agent. */
  id?: string;
  /** May be missing. */
  optional?: boolean;
  /** Of the socket; not given: 0. */
  uid?: number;
  /** Of the socket; not given: 0. */
  gid?: number;
  /** Of the socket. */
  mode?: number;
}

/** An SSH agent's socket at `target`. */
export function ssh(target: string, options: SshOptions = {}): Mount {
  return { wit: { kind: "ssh", target, input: null, attrs: attrs(options) } };
}

/** As BuildKit's client orders mounts: trees, caches and tmpfs by target, then secrets, then agents. */
export function ordered(mounts: readonly Mount[]): Mount[] {
  for (const { wit } of mounts) text(wit.target, `target of a ${wit.kind} mount`);
  const rank = ({ wit }: Mount) => (wit.kind === "secret" ? 1 : wit.kind === "ssh" ? 2 : 0);
  const byTarget = (a: Mount, b: Mount) => (a.wit.target < b.wit.target ? -1 : a.wit.target > b.wit.target ? 1 : 0);
  return [...mounts].sort((a, b) => rank(a) - rank(b) || (rank(a) === 0 ? byTarget(a, b) : 0));
}
