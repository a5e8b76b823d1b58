// The words that hosts know, from the table that hosts and SDKs share.

import { readFileSync } from "node:fs";
import { join } from "node:path";

/** Words by where they stand: `exec`, `mount.bind`, `source.git`; a word that ends in `.*` is a family. */
function table(): Map<string, Set<string>> {
  const directory = process.env.PINTLE_WIT;
  if (directory === undefined) throw new Error("run the tests with pintle-js test, which knows where the interface is");
  const words = new Map<string, Set<string>>();
  for (const line of readFileSync(join(directory, "attributes.md"), "utf8").split("\n")) {
    const [, on, word] = line.split("|").map((cell) => cell.trim());
    if (!on || !word || on === "On" || /^-+$/.test(on)) continue;
    words.set(on, (words.get(on) ?? new Set()).add(word));
  }
  return words;
}

let known: Map<string, Set<string>> | undefined;

/** Whether `word` may stand on one of `places`. */
export function isKnown(places: readonly string[], word: string): boolean {
  known ??= table();
  const family = word.replace(/\..*$/, ".*");
  return places.some((place) => known?.get(place)?.has(word) || known?.get(place)?.has(family));
}

/** Whether a host knows a feature: a word after its place, or a place alone. */
export function supports(feature: string): boolean {
  known ??= table();
  if (known.has(feature)) return true;
  const at = feature.lastIndexOf(".");
  return at > 0 && isKnown([feature.slice(0, at)], feature.slice(at + 1));
}
