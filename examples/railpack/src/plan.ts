// Build plans as their files have them.

import { FrontendError, type Location, type SourceFile } from "@pintle/sdk";
import { JsonError, type Read, read } from "./json.ts";

/** Which files of a tree are taken. */
export interface Filter {
  include?: string[];
  exclude?: string[];
}

/** Something that stands in the plan, and where. */
export interface Placed {
  at: Location;
}

/** A name, where it is used. */
export interface Use extends Placed {
  name: string;
}

/** Something that a step or the image starts from. */
export interface Layer extends Filter, Placed {
  image?: string;
  step?: string;
  local?: boolean;
}

/** Runs a command. */
export interface ExecCommand extends Placed {
  cmd: string;
  customName?: string;
}

/** Puts a directory in front of PATH, also for what builds on the step. */
export interface PathCommand extends Placed {
  path: string;
}

/** Copies files of the context, or of an image. */
export interface CopyCommand extends Placed {
  src: string;
  dest: string;
  image?: string;
}

/** Writes an asset of the step to a file. */
export interface FileCommand extends Placed {
  path: string;
  name: string;
  mode?: number;
  customName?: string;
}

export type Command = ExecCommand | PathCommand | CopyCommand | FileCommand;

/** A step. */
export interface Step {
  name: string;
  inputs: Layer[];
  commands: Command[];
  secrets: string[];
  assets: Record<string, string>;
  variables: Record<string, string>;
  caches: Use[];
}

/** A directory that is kept between builds. */
export interface Cache {
  directory: string;
  type: "shared" | "locked";
}

/** A build plan. */
export interface Plan {
  steps: Map<string, Step>;
  caches: Record<string, Cache>;
  secrets: string[];
  exclude: string[];
  deploy: { base: Layer; inputs: Layer[]; startCommand: string; variables: Record<string, string>; paths: string[] };
}

type Json = Record<string, unknown>;

/** Reads a plan; an error names the path of what is wrong, `steps[2].commands[0]`, and shows it in `source`. */
export function parse(text: string, filename: string, source: SourceFile): Plan {
  const json = readJson(text, filename, source);
  const reader = new Reader(filename, source, json.places);
  const plan = reader.object(json.value, "");
  const steps = new Map<string, Step>();
  reader.list(plan.steps, "steps", (value, at) => {
    const step = readStep(reader, value, at);
    if (steps.has(step.name)) reader.fail(at, `the second step named ${JSON.stringify(step.name)}`);
    steps.set(step.name, step);
  });
  const deploy = reader.object(plan.deploy, "deploy");
  return {
    steps,
    caches: reader.map(plan.caches, "caches", (value, at) => readCache(reader, value, at)),
    secrets: reader.strings(plan.secrets, "secrets"),
    exclude: reader.strings(plan.exclude, "exclude"),
    deploy: {
      base: readLayer(reader, deploy.base, "deploy.base"),
      inputs: reader.list(deploy.inputs, "deploy.inputs", (value, at) => readLayer(reader, value, at)),
      startCommand: reader.text(deploy.startCommand ?? "", "deploy.startCommand"),
      variables: reader.texts(deploy.variables, "deploy.variables"),
      paths: reader.strings(deploy.paths, "deploy.paths"),
    },
  };
}

function readJson(text: string, filename: string, source: SourceFile): Read {
  try {
    return read(text);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    // Where the text ends there is nothing to show but what is last.
    const offset = Math.min(error.offset, Math.max(text.trimEnd().length - 1, 0));
    throw new FrontendError(`${filename}: no JSON: ${error.message}`, { at: source.at(offset) });
  }
}

function readStep(reader: Reader, value: unknown, at: string): Step {
  const step = reader.object(value, at);
  return {
    name: reader.text(step.name, `${at}.name`),
    inputs: reader.list(step.inputs, `${at}.inputs`, (input, at) => readLayer(reader, input, at)),
    commands: reader.list(step.commands, `${at}.commands`, (command, at) => readCommand(reader, command, at)),
    secrets: reader.strings(step.secrets, `${at}.secrets`),
    assets: reader.texts(step.assets, `${at}.assets`),
    variables: reader.texts(step.variables, `${at}.variables`),
    caches: reader.list(step.caches, `${at}.caches`, (name, at) => ({ name: reader.text(name, at), at: reader.location(at) })),
  };
}

function readLayer(reader: Reader, value: unknown, at: string): Layer {
  const layer = reader.object(value, at);
  const kinds = ["image", "step", "local"].filter((kind) => layer[kind]);
  if (kinds.length !== 1) reader.fail(at, "want one of image, step and local");
  const filter = { include: reader.strings(layer.include, `${at}.include`), exclude: reader.strings(layer.exclude, `${at}.exclude`) };
  const kind = kinds[0] as "image" | "step" | "local";
  const placed = { ...filter, at: reader.location(`${at}.${kind}`) };
  return kind === "local" ? { local: true, ...placed } : { [kind]: reader.text(layer[kind], `${at}.${kind}`), ...placed };
}

function readCache(reader: Reader, value: unknown, at: string): Cache {
  const cache = reader.object(value, at);
  const type = cache.type ?? "shared";
  if (type !== "shared" && type !== "locked") return reader.fail(`${at}.type`, "want shared or locked");
  return { directory: reader.text(cache.directory, `${at}.directory`), type };
}

function readCommand(reader: Reader, value: unknown, at: string): Command {
  if (typeof value === "string") return shortCommand(reader, value, at);
  const command = reader.object(value, at);
  const place = { at: reader.location(at) };
  const text = (key: string) => reader.text(command[key], `${at}.${key}`);
  const optional = (key: string) => (command[key] === undefined ? {} : { [key]: text(key) });
  if ("cmd" in command) return { cmd: text("cmd"), ...optional("customName"), ...place };
  if ("src" in command) return { src: text("src"), dest: text("dest"), ...optional("image"), ...place };
  if ("path" in command && "name" in command) {
    const mode = typeof command.mode === "number" && command.mode !== 0 ? { mode: command.mode } : {};
    return { path: text("path"), name: text("name"), ...mode, ...optional("customName"), ...place };
  }
  if ("path" in command) return { path: text("path"), ...place };
  return reader.fail(at, "want a command with cmd, src and dest, path and name, or path");
}

/** A command in a string: `RUN#name:...`, `PATH:...`, `COPY:SRC DEST`, `FILE:PATH NAME`, or just what is run. */
function shortCommand(reader: Reader, text: string, at: string): Command {
  const [, kind, name, rest] = /^(RUN|PATH|COPY|FILE)(?:#([^:]*))?:([^]*)$/.exec(text) ?? [undefined, "RUN", undefined, text];
  const words = rest!.trim().split(/\s+/);
  const shown = name ? { customName: name } : {};
  const place = { at: reader.location(at) };
  switch (kind) {
    case "PATH":
      return { path: rest!, ...place };
    case "COPY":
      if (words.length !== 2) return reader.fail(at, "want COPY:SRC DEST");
      return { src: words[0]!, dest: words[1]!, ...place };
    case "FILE":
      if (words.length !== 2) return reader.fail(at, "want FILE:PATH NAME");
      return { path: words[0]!, name: words[1]!, ...shown, ...place };
    default:
      return { cmd: `sh -c '${rest!.replaceAll("'", "'\\''")}'`, customName: name || rest!, ...place };
  }
}

/** Reads JSON values, and says where one is not what it is to be. */
class Reader {
  private readonly filename: string;
  private readonly source: SourceFile;
  private readonly places: Read["places"];

  constructor(filename: string, source: SourceFile, places: Read["places"]) {
    this.filename = filename;
    this.source = source;
    this.places = places;
  }

  fail(at: string, why: string): never {
    throw new FrontendError(`${this.filename}: ${at || "the plan"}: ${why}`, { at: this.location(at) });
  }

  /** Where a value lies, for errors and for what is made of it. */
  location(at: string): Location {
    return this.source.at(...this.place(at));
  }

  /** Where a value lies, or, of one that is missing, what it is missing in. */
  private place(path: string): [start: number, end: number] {
    const outer = path.replace(/(^|\.)[^.[]*$|\[\d+\]$/, "");
    return this.places.get(path) ?? (path === "" ? [0, 1] : this.place(outer === path ? "" : outer));
  }

  object(value: unknown, at: string): Json {
    if (value === undefined) this.fail(at, "is missing: want an object");
    if (typeof value !== "object" || value === null || Array.isArray(value)) this.fail(at, "want an object");
    return value as Json;
  }

  text(value: unknown, at: string): string {
    if (typeof value !== "string") this.fail(at, "want a string");
    return value as string;
  }

  list<T>(value: unknown, at: string, read: (value: unknown, at: string) => T): T[] {
    if (value === undefined || value === null) return [];
    if (!Array.isArray(value)) this.fail(at, "want a list");
    return (value as unknown[]).map((item, index) => read(item, `${at}[${index}]`));
  }

  strings(value: unknown, at: string): string[] {
    return this.list(value, at, (item, at) => this.text(item, at));
  }

  map<T>(value: unknown, at: string, read: (value: unknown, at: string) => T): Record<string, T> {
    if (value === undefined || value === null) return {};
    return Object.fromEntries(Object.entries(this.object(value, at)).map(([key, item]) => [key, read(item, `${at}.${key}`)]));
  }

  texts(value: unknown, at: string): Record<string, string> {
    return this.map(value, at, (item, at) => this.text(item, at));
  }
}
