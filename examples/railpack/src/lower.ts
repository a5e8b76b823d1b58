// A plan as a graph.

import { bind, cache, copy, FrontendError, type Host, type ImageConfig, type Location, mkdir, mkfile, type Mount, secret, type State } from "@pintle/sdk";
import { together, WORKDIR } from "./layers.ts";
import type { Command, ExecCommand, FileCommand, Layer, Plan, Step, Use } from "./plan.ts";
import { split } from "./words.ts";

const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** How a plan is built. */
export interface Options {
  platform: string;
  /** Goes before the ids of caches, so that projects do not share them. */
  cacheKey: string;
  /** Changes when secrets do, so that steps that use them run again. */
  secretsHash: string;
}

/** What a step hands on to those that build on it. */
interface Environment {
  paths: string[];
  variables: Record<string, string>;
}

/** A step that is lowered, and one that is being lowered, to find circles. */
type Done = { state: State; environment: Environment } | "begun";

function listed(names: readonly string[]): string {
  return names.length === 0 ? "none" : names.join(", ");
}

/** Lowers plans. */
export class Lowering {
  private readonly done = new Map<string, Done>();
  private readonly context: State;
  private readonly cx: Host;
  private readonly plan: Plan;
  private readonly options: Options;

  constructor(cx: Host, plan: Plan, options: Options) {
    this.cx = cx;
    this.plan = plan;
    this.options = options;
    this.context = cx.local("context", { exclude: plan.exclude, sharedKey: "local", name: "loading ." });
  }

  /** The image. */
  image(): { state: State; config: ImageConfig } {
    const { deploy } = this.plan;
    const state = together([deploy.base, ...deploy.inputs], (layer) => this.tree(layer), this.cx.scratch());
    const { paths, variables } = this.inherited(deploy.inputs);
    const path = [...deploy.paths, ...paths, DEFAULT_PATH].join(":");
    const env = Object.entries({ ...variables, ...deploy.variables, PATH: path }).sort(([a], [b]) => (a < b ? -1 : 1));
    const [os, architecture, variant] = this.options.platform.split("/");
    const config = {
      Env: env.map(([name, value]) => `${name}=${value}`),
      WorkingDir: WORKDIR,
      Entrypoint: ["/bin/bash", "-c"],
      Cmd: [deploy.startCommand || "/bin/bash"],
    };
    return { state, config: { os, architecture, ...(variant ? { variant } : {}), config } as ImageConfig };
  }

  private tree(layer: Layer): State {
    if (layer.image !== undefined) return this.cx.image(layer.image, { platform: this.options.platform, at: layer.at });
    if (layer.step !== undefined) return this.step(layer.step, layer.at).state;
    return this.context;
  }

  private inherited(layers: readonly Layer[]): Environment {
    const environment: Environment = { paths: [], variables: {} };
    for (const { step, at } of layers) {
      if (step === undefined) continue;
      const { paths, variables } = this.step(step, at).environment;
      environment.paths.push(...paths.filter((path) => !environment.paths.includes(path)));
      Object.assign(environment.variables, variables);
    }
    return environment;
  }

  /** The step of a name that stands `at` some place. */
  private step(name: string, at: Location): { state: State; environment: Environment } {
    const known = this.done.get(name);
    if (known === "begun") throw new FrontendError(`step ${JSON.stringify(name)} builds on itself`, { at });
    if (known !== undefined) return known;
    const step = this.plan.steps.get(name);
    if (step === undefined) throw new FrontendError(`no step ${JSON.stringify(name)}; there are ${listed([...this.plan.steps.keys()])}`, { at });
    this.done.set(name, "begun");
    const environment = this.inherited(step.inputs);
    Object.assign(environment.variables, step.variables);
    const start = together(step.inputs, (layer) => this.tree(layer), this.cx.scratch());
    const state = step.commands.reduce((state, command) => this.command(state, command, step, environment), start);
    const done = { state, environment };
    this.done.set(name, done);
    return done;
  }

  private command(state: State, command: Command, step: Step, environment: Environment): State {
    const { at } = command;
    if ("cmd" in command) return this.run(state, command, step, environment);
    if ("src" in command) {
      const from = command.image === undefined ? this.context : this.cx.image(command.image, { platform: this.options.platform, at });
      const dest = command.dest.startsWith("/") ? command.dest : `${WORKDIR}/${command.dest.replace(/^\.(\/|$)/, "")}`;
      const options = { createParents: true, followLinks: true, wildcard: true, emptyWildcard: true };
      return state.file([copy(from, command.src, dest, options)], { name: `copy ${command.src}`, at });
    }
    if ("name" in command) return this.write(state, command, step);
    if (!environment.paths.includes(command.path)) environment.paths.unshift(command.path);
    return state;
  }

  private run(state: State, command: ExecCommand, step: Step, { paths, variables }: Environment): State {
    const env = { ...variables, PATH: [...paths, DEFAULT_PATH].join(":") };
    const mounts = [...this.secrets(step), ...step.caches.map((used) => this.cache(used))];
    const name = command.customName ? { name: command.customName } : {};
    return state.run(split(command.cmd, command.at), { cwd: WORKDIR, env, mounts, ...name, at: command.at }).root();
  }

  /** The secrets that a step names, and something that changes when they do: secrets are not part of a cache key. */
  private secrets(step: Step): Mount[] {
    const names = step.secrets.includes("*") ? this.plan.secrets : step.secrets;
    const mounts = names.map((name) => secret(name, { env: name }));
    if (names.length === 0 || this.options.secretsHash === "") return mounts;
    const hash = this.cx.scratch().file([mkfile("/secrets-hash", this.options.secretsHash)], { name: "secrets hash" });
    return [...mounts, bind("/run/secrets-hash", hash, { readonly: true })];
  }

  private cache({ name: key, at }: Use): Mount {
    const found = this.plan.caches[key];
    if (found === undefined) throw new FrontendError(`no cache ${JSON.stringify(key)}; there are ${listed(Object.keys(this.plan.caches))}`, { at });
    const id = this.options.cacheKey === "" ? key : `${this.options.cacheKey}-${key}`;
    return cache(found.directory, id, { sharing: found.type });
  }

  private write(state: State, command: FileCommand, step: Step): State {
    const text = step.assets[command.name];
    if (text === undefined) throw new FrontendError(`step ${JSON.stringify(step.name)}: no asset ${JSON.stringify(command.name)}`, { at: command.at });
    const path = command.path.startsWith("/") ? command.path : `${WORKDIR}/${command.path}`;
    const parent = path.slice(0, path.lastIndexOf("/"));
    const made = parent === "" ? [] : [mkdir(parent, { parents: true })];
    const name = command.customName ? { name: command.customName } : {};
    return state.file([...made, mkfile(path, text, { mode: command.mode ?? 0o644 })], { ...name, at: command.at });
  }
}
