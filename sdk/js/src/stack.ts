// Where in the author's files something was thrown. `pintle-js build` lays a table beside the bundle, for a bundle's own lines say nothing.

/** Names of files, and for lines of the bundle, in order, where they begin to be from: `[line, file, line there]`; no file for the SDK's. */
interface Lines {
  files: readonly string[];
  starts: readonly [number, number | null, number][];
}

/** Frames that are shown of a stack: who recursed too deeply has thousands. */
const SHOWN = 20;

/** The frames of a stack, a line each. */
export function frames(stack: string): string[] {
  const found = table() === undefined ? stack.trimEnd().split("\n") : authors(stack).map((frame) => `  ${frame}`);
  return found.length > SHOWN ? [...found.slice(0, SHOWN), `  ... and ${found.length - SHOWN} more`] : found;
}

/** The frames of the author's functions, as far as it is known which those are. */
export function authors(stack: string): string[] {
  const lines = table();
  return lines === undefined ? [] : stack.trimEnd().split("\n").flatMap((line) => frame(line, lines) ?? []);
}

function table(): Lines | undefined {
  return (globalThis as { pintleLines?: Lines }).pintleLines;
}

/** `    at NAME (FILE:LINE:COLUMN)` as a place of the author's; `undefined` for what is not the author's. */
function frame(line: string, { files, starts }: Lines): string | undefined {
  const [, name, number] = /^\s*at (.*?) ?\(.*?:(\d+)(?::\d+)?\)$/.exec(line) ?? [];
  const at = Number(number);
  const start = starts.filter(([first]) => first <= at).at(-1);
  if (start === undefined || start[1] === null) return undefined;
  const place = `${files[start[1]]}:${start[2] + at - start[0]}`;
  return name && name !== "<anonymous>" ? `${place}, in ${name}` : place;
}
