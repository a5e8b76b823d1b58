// Checks the types of an author's files, which a bundler only strips.

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative, resolve } from "node:path";

/** How files are checked in a project that does not say it: as the bundler reads them. */
const OPTIONS = [
  "--strict",
  "--target",
  "es2022",
  "--module",
  "esnext",
  "--moduleResolution",
  "bundler",
  "--allowImportingTsExtensions",
  "--lib",
  "es2022",
  "--skipLibCheck",
];

/** Answers whether the types fit, in the project of `entry`, or in it and what it imports. Mistakes are shown. `sdk` is the SDK's directory. */
export function check(entry, sdk) {
  const directory = project(resolve(entry));
  const compiler = find(directory ?? dirname(resolve(entry))) ?? find(sdk);
  if (compiler === undefined) {
    console.error("types are not checked: npm install --save-dev typescript");
    return true;
  }
  const files = directory === undefined ? [...OPTIONS, relative("", resolve(entry)), join(sdk, "src/wit.d.ts")] : ["--project", directory];
  const colours = process.stderr.isTTY ? ["--pretty"] : [];
  const ran = spawnSync(process.execPath, [compiler, "--noEmit", ...colours, ...files], { encoding: "utf8" });
  process.stderr.write(ran.stdout + ran.stderr);
  return ran.status === 0;
}

/** The directory with the project's tsconfig.json, at or above a file. */
function project(file) {
  for (let at = dirname(file); ; at = dirname(at)) {
    if (existsSync(join(at, "tsconfig.json"))) return at;
    if (existsSync(join(at, "package.json")) || at === dirname(at)) return undefined;
  }
}

function find(directory) {
  try {
    return createRequire(join(directory, "package.json")).resolve("typescript/bin/tsc");
  } catch {
    return undefined;
  }
}
