// What authors give is looked at before it crosses to the host: what has another type there ends the component without a word.

/** A value that has to be a string. */
export function text(value: unknown, what: string): string {
  if (typeof value !== "string") throw new TypeError(`${what}: want a string, not ${kind(value)}`);
  return value;
}

/** Strings by name, in order. */
export function texts(values: Readonly<Record<string, string>>, what: string): [string, string][] {
  return Object.entries(values).map(([name, value]) => [name, text(value, `${what} ${name}`)]);
}

/** A list, where a string would be taken for a list of its letters. */
export function list<T>(values: readonly T[], what: string, hint = ""): readonly T[] {
  if (!Array.isArray(values)) throw new TypeError(`${what}: want a list, not ${kind(values)}${hint}`);
  return values;
}

/** What a value is, for messages. */
export function kind(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (value instanceof Promise) return "a promise: nothing here is asynchronous, calls of the host wait by themselves";
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}
