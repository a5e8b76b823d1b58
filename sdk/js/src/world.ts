// What a frontend's code takes for granted and its engine does not have: a console, a clock and random numbers. The console is the build's
// log; clock and numbers are the same in every run, as they are for frontends in other languages.

import calls from "pintle:frontend/host@0.1.0";

/** The only time there is: the first day of 1980, in milliseconds. */
const NOW = 315_532_800_000;

const parts = (values: unknown[]) => values.map(shown).join(" ");

function shown(value: unknown): string {
  if (typeof value === "string") return value;
  if (value instanceof Error) return `${value.name}: ${value.message}`;
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}

const console = {
  debug: (...values: unknown[]) => calls.log("debug", parts(values)),
  info: (...values: unknown[]) => calls.log("info", parts(values)),
  log: (...values: unknown[]) => calls.log("info", parts(values)),
  warn: (...values: unknown[]) => calls.log("warn", parts(values)),
  error: (...values: unknown[]) => calls.log("error", parts(values)),
};

const Clock = new Proxy(Date, {
  apply: (date) => new date(NOW).toISOString(),
  construct: (date, given, self) => Reflect.construct(date, given.length > 0 ? given : [NOW], self) as Date,
});
Date.now = () => NOW;
Date.prototype.constructor = Clock;

let seed = 1;

/** Mulberry32. */
function random(): number {
  seed = (seed + 0x6d2b79f5) | 0;
  let mixed = Math.imul(seed ^ (seed >>> 15), seed | 1);
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
}

Math.random = random;
Object.assign(globalThis, { console, Date: Clock });
