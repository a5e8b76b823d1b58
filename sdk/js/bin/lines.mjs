// Which lines of an author's files the lines of a bundle are: the part of a source map that a stack needs.

import { relative, resolve, sep } from "node:path";

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** The table that src/stack.ts reads, of a source map (ECMA-426) and the SDK's directory, whose files are left without a name. */
export function lines({ sources, mappings }, sdk) {
  const paths = sources.map((source) => resolve(source));
  const files = paths.map((path) => (path.startsWith(sdk + sep) ? "" : relative("", path)));
  const starts = [];
  let [source, line] = [0, 0];
  mappings.split(";").forEach((segments, at) => {
    const fields = segments === "" ? [] : segments.split(",").map(decoded);
    const places = [];
    for (const [, sourceStep, lineStep] of fields) {
      if (sourceStep === undefined) continue;
      [source, line] = [source + sourceStep, line + lineStep];
      places.push([source, line]);
    }
    if (places.length === 0) return;
    const [file, there] = places[0];
    const last = starts.at(-1);
    const shown = files[file] === "" ? null : file;
    const goesOn = last !== undefined && last[1] === shown && (shown === null || last[2] + at + 1 - last[0] === there + 1);
    if (!goesOn) starts.push([at + 1, shown, there + 1]);
  });
  return { files, starts };
}

/** The numbers of a segment: six bits a digit, the least significant first, the lowest bit of all a sign. */
function decoded(segment) {
  const numbers = [];
  let [value, shift] = [0, 0];
  for (const letter of segment) {
    const digit = DIGITS.indexOf(letter);
    value |= (digit & 31) << shift;
    shift += 5;
    if (digit & 32) continue;
    numbers.push(value & 1 ? -(value >> 1) : value >> 1);
    [value, shift] = [0, 0];
  }
  return numbers;
}
