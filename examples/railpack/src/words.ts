// A command line as words, as a shell splits it.

import { FrontendError, type Location } from "@pintle/sdk";

/** Splits at blanks, outside of quotes; a backslash takes the next character as it is. Nothing is expanded. `place` is where the line stands. */
export function split(line: string, place?: Location): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = "";
  for (let at = 0; at < line.length; at++) {
    const character = line[at]!;
    if (quote !== "" && character === quote) {
      quote = "";
    } else if (quote === "" && (character === "'" || character === '"')) {
      quote = character;
      word ??= "";
    } else if (character === "\\" && quote !== "'" && at + 1 < line.length) {
      word = (word ?? "") + line[++at]!;
    } else if (quote === "" && /\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else {
      word = (word ?? "") + character;
    }
  }
  if (quote !== "") throw new FrontendError(`command ${JSON.stringify(line)}: a ${quote} is not closed`, place && { at: place });
  if (word !== undefined) words.push(word);
  return words;
}
