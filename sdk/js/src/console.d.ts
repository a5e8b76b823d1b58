// The console that a frontend has (see world.ts); types of the web or of Node.js, where they are taken in, add theirs to it.

interface Console {
  debug(...values: unknown[]): void;
  info(...values: unknown[]): void;
  log(...values: unknown[]): void;
  warn(...values: unknown[]): void;
  error(...values: unknown[]): void;
}

declare var console: Console;
