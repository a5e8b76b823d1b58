// Options of builders as attribute lists: `readonlyRoot: true` becomes `["readonly-root", "true"]`.

import type { Attr, Location } from "pintle:frontend/types@0.1.0";
import { list, texts } from "./check.ts";

/** A value that an option may have. `undefined`, and `false` but for {@link SAID}, leave it out; a list gives the word once for each. */
export type Value = string | number | boolean | readonly (string | number)[] | undefined;

/** What every vertex takes. */
export interface VertexOptions {
  /** Shown in the progress instead of a generated text. */
  name?: string;
  /** Free text about the vertex, by key. */
  description?: Record<string, string>;
  /** os/arch[/variant]. */
  platform?: string;
  /** Of the platform; Windows only. */
  osVersion?: string;
  /** Of the platform; Windows only. */
  osFeature?: readonly string[];
  /** Filters that the worker must match. */
  constraint?: readonly string[];
  /** Run even where the cache has a result. */
  ignoreCache?: boolean;
  /** Whether the result is exported to caches; not given: the exporter decides. */
  exportCache?: boolean;
  /** Capabilities that the vertex needs, by BuildKit's names. */
  cap?: readonly string[];
  /** Id of the progress group that it is shown in. */
  group?: string;
  /** The group's text. */
  groupName?: string;
  /** The group gives way to a group of the parent. */
  groupWeak?: boolean;
  /** Memory limit in bytes. */
  memory?: number;
  /** Limit of memory and swap in bytes; -1: none. */
  memorySwap?: number;
  /** Relative weight. */
  cpuShares?: number;
  /** Microseconds. */
  cpuPeriod?: number;
  /** Microseconds for each period. */
  cpuQuota?: number;
  /** For instance 0-3. */
  cpusetCpus?: string;
  /** For instance 0,1. */
  cpusetMems?: string;
  /** Options by their words: for those that have no name here. */
  attrs?: Readonly<Record<string, string>>;
  /** Where it comes from in source texts. */
  at?: Location | readonly Location[];
}

/** Options whose values are file modes: a number is written in octal digits. */
const MODES = new Set(["mode"]);

/** Options whose `false` says something else than that they are not given. */
const SAID = new Set(["exportCache", "output"]);

/** Options that hold words, or families of words, by what stands before each. */
const FAMILIES = new Map([["description", "description."], ["header", "header."], ["attrs", ""]]);

/** The attributes that options mean; `places` and what the builder takes itself are in `skip`. */
export function attrs(options: object | undefined, skip: readonly string[] = []): Attr[] {
  const out: Attr[] = [];
  for (const [key, value] of Object.entries(options ?? {})) {
    if (key === "at" || skip.includes(key)) continue;
    const family = FAMILIES.get(key);
    if (family !== undefined) {
      for (const [name, text] of texts((value ?? {}) as Record<string, string>, key)) out.push([`${family}${name}`, text]);
    } else if (key === "cap") {
      for (const name of list((value ?? []) as readonly string[], "cap")) out.push([`cap.${name}`, "true"]);
    } else if (value === false && SAID.has(key)) {
      out.push([word(key), "false"]);
    } else {
      push(out, word(key), value as Value, MODES.has(key));
    }
  }
  return out;
}

function push(out: Attr[], name: string, value: Value, isMode: boolean): void {
  if (value === undefined || value === false) return;
  if (Array.isArray(value)) {
    for (const item of value) push(out, name, item, isMode);
  } else if (typeof value === "number" && isMode) {
    out.push([name, value.toString(8)]);
  } else {
    out.push([name, String(value)]);
  }
}

function word(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** The places of a vertex as a list. */
export function places(options: Pick<VertexOptions, "at"> | undefined): Location[] {
  const at = options?.at;
  if (at === undefined) return [];
  return Array.isArray(at) ? [...at] : [at as Location];
}
