// Errors: of the user's file, and of the host.

import type { Attr, Location, WitError } from "pintle:frontend/types@0.1.0";
import { authors, frames } from "./stack.ts";

/** An error for the user: a fragment that names what, where and what to do. */
export class FrontendError extends Error {
  /** A word to program against: not-found, invalid-argument, unsupported, denied ... */
  readonly code: string;
  /** More to program against. */
  readonly detail: Attr[];
  /** Where in the source texts. */
  readonly places: Location[];

  constructor(message: string, options: { code?: string; detail?: Attr[]; at?: Location | Location[] } = {}) {
    super(message);
    this.name = "FrontendError";
    this.code = options.code ?? "invalid-argument";
    this.detail = options.detail ?? [];
    const at = options.at ?? [];
    this.places = Array.isArray(at) ? at : [at];
  }
}

/** What a call of the host threw, as an error. */
export function fromHost(thrown: unknown): unknown {
  const payload = isWitError(thrown) ? thrown : (thrown as { payload?: unknown } | null)?.payload;
  if (!isWitError(payload)) return thrown;
  const { code, message, detail, places } = payload;
  return new FrontendError(message, { code, detail, at: places });
}

/** An error as the world of the frontend has it. */
export function toWit(thrown: unknown): WitError {
  if (thrown instanceof FrontendError) {
    const { code, message, detail, places } = thrown;
    return { code, message, detail, places };
  }
  if (isWitError(thrown)) return thrown;
  return { code: "internal", message: mistake(thrown), detail: [], places: [] };
}

/** A mistake of the author's: what was thrown, and where. */
function mistake(thrown: unknown): string {
  if (!(thrown instanceof Error)) return `${typeof thrown === "string" ? thrown : JSON.stringify(thrown)} was thrown, which is no Error`;
  const message = `${thrown.name}: ${thrown.message}`;
  return [message, ...frames(thrown.stack ?? "")].join("\n");
}

function isWitError(value: unknown): value is WitError {
  const record = value as Partial<WitError> | null;
  return typeof record === "object" && record !== null && typeof record.code === "string" && Array.isArray(record.places);
}

/** Calls the host, so that what it throws is a `FrontendError`. */
export function call<T>(work: () => T): T {
  try {
    return work();
  } catch (thrown) {
    throw fromHost(thrown);
  }
}

/** As {@link call}, for what adds a vertex with these places: an error has them too. Without a place it is the author's to understand. */
export function add<T>(where: readonly Location[], work: () => T): T {
  try {
    return work();
  } catch (thrown) {
    const error = fromHost(thrown);
    if (!(error instanceof FrontendError) || error.places.length > 0) throw error;
    const { code, message, detail } = error;
    const [caller] = where.length === 0 ? authors(new Error().stack ?? "") : [];
    const called = caller === undefined ? [] : [["called at", caller] as Attr];
    throw new FrontendError(message, { code, detail: [...detail, ...called], at: [...where] });
  }
}
