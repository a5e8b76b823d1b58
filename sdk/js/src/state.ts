// Trees of files, not built yet.

import llb from "pintle:frontend/llb@0.1.0";
import type { Attr, Edge } from "pintle:frontend/types@0.1.0";
import { attrs, places, type VertexOptions } from "./attrs.ts";
import { list, text, texts } from "./check.ts";
import { add, call } from "./error.ts";
import { contentOf, type FileAction } from "./file.ts";
import { type Mount, ordered } from "./mount.ts";

/** Options of a command. */
export interface RunOptions extends VertexOptions {
  /** Environment variables, in order. */
  env?: Record<string, string>;
  /** Mounts of the command: of `bind`, `cache`, `tmpfs`, `secret` and `ssh`. */
  mounts?: readonly Mount[];
  /** Working directory, absolute. */
  cwd?: string;
  /** user[:group], names or numbers. */
  user?: string;
  /** Which network it has; not given: sandbox. */
  network?: "sandbox" | "host" | "none";
  /** What it may do; insecure needs the entitlement security.insecure. Not given: sandbox. */
  security?: "sandbox" | "insecure";
  /** Host name inside. */
  hostname?: string;
  /** The root filesystem is not writable. */
  readonlyRoot?: boolean;
  /** What the command wrote to the root filesystem is dropped. */
  noRootOutput?: boolean;
  /** Codes that count as success; 0 does not, unless given too. */
  validExitCode?: readonly number[];
  /** Lines of /etc/hosts: NAME=IP. */
  extraHost?: readonly string[];
  /** NAME=SOFT[:HARD]. */
  ulimit?: readonly string[];
  /** Cgroup that its own is made below. */
  cgroupParent?: string;
  /** CDI names of devices. */
  device?: readonly string[];
  /** CDI names of devices that may be missing. */
  optionalDevice?: readonly string[];
  /** http_proxy of the process; not part of the cache key. */
  proxyHttp?: string;
  /** https_proxy, likewise. */
  proxyHttps?: string;
  /** ftp_proxy, likewise. */
  proxyFtp?: string;
  /** no_proxy, likewise. */
  proxyNo?: string;
  /** all_proxy, likewise. */
  proxyAll?: string;
  /** Leave parents of mount points that had to be made. */
  keepMountStubs?: boolean;
}

/** Adds the places to a new vertex. */
function located(edge: Edge, options: VertexOptions | undefined): Edge {
  const where = places(options);
  if (where.length > 0) call(() => llb.locate(edge.vertex, where));
  return edge;
}

/** A tree of files, not built yet: an output of a vertex, or nothing at all. */
export class State {
  /** The edge in the host's graph; `null` is an empty tree. */
  readonly edge: Edge | null;

  constructor(edge: Edge | null) {
    this.edge = edge;
  }

  /** Runs a command with this as its root filesystem. */
  run(args: readonly string[], options: RunOptions = {}): Ran {
    const words = list(args, "args of run", '; for a shell\'s command give ["sh", "-c", command]');
    const command = words.map((word) => text(word, "args of run"));
    const mounts = ordered(list(options.mounts ?? [], "mounts"));
    const env: Attr[] = texts(options.env ?? {}, "env");
    const wit = mounts.map((mount) => mount.wit);
    const edge = add(places(options), () => llb.addExec(this.edge, command, env, wit, attrs(options, ["env", "mounts"])));
    return new Ran(located(edge, options).vertex, this, mounts, options.readonlyRoot === true);
  }

  /** Changes files, in order, as one vertex. */
  file(actions: readonly FileAction[], options: VertexOptions = {}): State {
    const wit = list(actions, "actions of file").map((action) => action.wit);
    return new State(located(add(places(options), () => llb.addFile(this.edge, wit, attrs(options))), options));
  }
}

/** A command that is in the graph. */
export class Ran {
  private readonly vertex: number;
  private readonly before: State;
  private readonly mounts: readonly Mount[];
  private readonly readonlyRoot: boolean;

  constructor(vertex: number, before: State, mounts: readonly Mount[], readonlyRoot: boolean) {
    this.vertex = vertex;
    this.before = before;
    this.mounts = mounts;
    this.readonlyRoot = readonlyRoot;
  }

  /** The root filesystem as the command left it. */
  root(): State {
    return this.readonlyRoot ? this.before : new State({ vertex: this.vertex, output: 0 });
  }

  /** The tree mounted at `target` as the command left it; `undefined` where there is none, or none whose contents are kept. */
  mount(target: string): State | undefined {
    const files = this.mounts.filter(({ wit }) => !(wit.kind === "secret" && wit.target === ""));
    const at = files.findIndex(({ wit }) => wit.target === target && wit.kind === "bind");
    const mount = files[at];
    if (mount === undefined) return undefined;
    if (mount.unchanged) return mount.unchanged;
    if (mount.wit.attrs.some(([word, value]) => word === "output" && value === "false")) return undefined;
    return new State({ vertex: this.vertex, output: at + 1 });
  }
}

/** Lays trees over each other, the last on top. */
export function merge(inputs: readonly State[], options: VertexOptions = {}): State {
  const edges = list(inputs, "inputs of merge").flatMap(({ edge }) => (edge ? [edge] : []));
  if (edges.length < 2) return new State(edges[0] ?? null);
  return new State(located(add(places(options), () => llb.addMerge(edges, attrs(options))), options));
}

/** What `upper` has and `lower` has not. */
export function diff(lower: State, upper: State, options: VertexOptions = {}): State {
  return new State(located(add(places(options), () => llb.addDiff(lower.edge, upper.edge, attrs(options))), options));
}

/** What {@link op} takes beside its inputs. */
export interface OpOptions extends VertexOptions {
  /** Words of the kind. */
  params?: Readonly<Record<string, string>>;
  /** The definition of a `build`. */
  content?: string | Uint8Array;
}

/** An operation that has no function here: `op("passthrough", [first, second])` hands its first input on once all are built. */
export function op(kind: string, inputs: readonly State[] = [], options: OpOptions = {}): State {
  const { params = {}, content, ...vertex } = options;
  const wit = content === undefined ? null : contentOf(content);
  const edges = inputs.map(({ edge }) => edge);
  return new State(located(add(places(vertex), () => llb.addOp(kind, edges, texts(params, "params"), wit, attrs(vertex))), vertex));
}
