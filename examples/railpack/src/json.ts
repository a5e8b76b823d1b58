// JSON with the places of its values.

/** Something that is no JSON, and where it stopped to be. */
export class JsonError extends Error {
  readonly offset: number;

  constructor(offset: number, message: string) {
    super(message);
    this.offset = offset;
  }
}

/** A text that is read: its value, and where each value in it lies, by its path (`steps[2].name`). */
export interface Read {
  value: unknown;
  places: Map<string, [start: number, end: number]>;
}

/** How deep lists and objects may lie in one another. */
const DEPTH_MAX = 100;

/** Reads a text. */
export function read(text: string): Read {
  const scanner = new Scanner(text);
  const value = scanner.value("", 0);
  scanner.end();
  return { value, places: scanner.places };
}

class Scanner {
  readonly places: Read["places"] = new Map();
  private readonly text: string;
  private offset = 0;

  constructor(text: string) {
    this.text = text;
  }

  value(path: string, depth: number): unknown {
    if (depth > DEPTH_MAX) throw new JsonError(this.offset, `more than ${DEPTH_MAX} levels deep`);
    this.skip(/[ \t\r\n]*/y);
    const start = this.offset;
    const value = this.inner(path, depth);
    this.places.set(path, [start, this.offset]);
    return value;
  }

  end(): void {
    this.skip(/[ \t\r\n]*/y);
    if (this.offset < this.text.length) this.fail("want nothing after the value");
  }

  private inner(path: string, depth: number): unknown {
    switch (this.text[this.offset]) {
      case "{":
        return this.object(path, depth);
      case "[":
        return this.list(path, depth);
      case '"':
        return this.string();
      default:
        return this.word();
    }
  }

  private object(path: string, depth: number): unknown {
    const entries: [string, unknown][] = [];
    this.items("}", () => {
      if (this.text[this.offset] !== '"') this.fail("want a key in double quotes, or }");
      const key = this.string();
      if (!this.takes(":")) this.fail(`want a colon after the key ${JSON.stringify(key)}`);
      entries.push([key, this.value(path === "" ? key : `${path}.${key}`, depth + 1)]);
    });
    return Object.fromEntries(entries);
  }

  private list(path: string, depth: number): unknown {
    const values: unknown[] = [];
    this.items("]", () => values.push(this.value(`${path}[${values.length}]`, depth + 1)));
    return values;
  }

  /** What lies between brackets, with commas between. */
  private items(close: string, item: () => void): void {
    this.offset += 1;
    if (this.takes(close)) return;
    do {
      this.skip(/[ \t\r\n]*/y);
      item();
    } while (this.takes(","));
    if (!this.takes(close)) this.fail(`want a comma or ${close}`);
  }

  private string(): string {
    const found = this.skip(/"(?:[^"\\\x00-\x1f]|\\.)*"/y);
    if (found === "") this.fail("a string that is not closed in its line");
    return this.plain(found) as string;
  }

  private word(): unknown {
    const found = this.skip(/-?\d[\d.eE+-]*|true|false|null/y);
    if (found === "") this.fail(this.offset < this.text.length ? "want a value" : "want a value, and the text ends");
    return this.plain(found);
  }

  private plain(found: string): unknown {
    try {
      return JSON.parse(found);
    } catch {
      throw new JsonError(this.offset - found.length, `${found} is no value`);
    }
  }

  private takes(mark: string): boolean {
    this.skip(/[ \t\r\n]*/y);
    const is = this.text.startsWith(mark, this.offset);
    if (is) this.offset += mark.length;
    return is;
  }

  /** Goes on over what a sticky pattern finds here; answers that. */
  private skip(pattern: RegExp): string {
    pattern.lastIndex = this.offset;
    const found = pattern.exec(this.text)?.[0] ?? "";
    this.offset += found.length;
    return found;
  }

  private fail(why: string): never {
    throw new JsonError(this.offset, why);
  }
}
