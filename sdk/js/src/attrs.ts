// Options of builders as attribute lists: `readonlyRoot: true` becomes `["readonly-root", "true"]`.

import type { Attr, Location } from "pintle:frontend/types@0.1.0";
import { texts } from "./check.ts";

/** A value that an option may have. `false` and `undefined` leave the option out; a list gives the word once for each. */
export type Value = string | number | boolean | readonly (string | number)[] | undefined;

/** What every vertex takes. */
export interface VertexOptions {
  /** Shown in the progress instead of a generated text. */
  name?: string;
  /** Free text about the vertex, by key. */
  description?: Record<string, string>;
  /** os/arch[/variant]. */
  platform?: string;
  /** Run even where the cache has a result. */
  ignoreCache?: boolean;
  /** Id of the progress group that it is shown in. */
  group?: string;
  /** The group's text. */
  groupName?: string;
  /** Memory limit in bytes. */
  memory?: number;
  /** Relative weight. */
  cpuShares?: number;
  /** Where it comes from in source texts. */
  at?: Location | readonly Location[];
}

/** Options whose values are file modes: a number is written in octal digits. */
const MODES = new Set(["mode"]);

/** The attributes that options mean; `places` and what the builder takes itself are in `skip`. */
export function attrs(options: object | undefined, skip: readonly string[] = []): Attr[] {
  const out: Attr[] = [];
  for (const [key, value] of Object.entries(options ?? {})) {
    if (key === "at" || skip.includes(key)) continue;
    if (key === "description" || key === "header") {
      const family = key === "header" ? "header" : "description";
      for (const [name, text] of texts(value as Record<string, string>, key)) out.push([`${family}.${name}`, text]);
      continue;
    }
    push(out, word(key), value as Value, MODES.has(key));
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
export function places(options: VertexOptions | undefined): Location[] {
  const at = options?.at;
  if (at === undefined) return [];
  return Array.isArray(at) ? [...at] : [at as Location];
}
