#!/usr/bin/env node
// Builds frontends written in TypeScript or JavaScript as components, and runs their tests.

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { lines } from "./lines.mjs";
import { check } from "./types.mjs";

const USAGE = `usage: pintle-js build ENTRY [-o FILE.wasm] [--debug] [--quiet]
       pintle-js test FILE...`;
const sdk = resolve(dirname(fileURLToPath(import.meta.url)), "..");
/** What the SDK needs; in a checkout, where nobody may have installed it yet. */
const { build: bundle } = await import("esbuild").catch(() => {
  console.error(`pintle-js: the packages of ${sdk} are not installed: run npm install --prefix ${sdk}`);
  process.exit(1);
});
/** The interface: beside the package when it is published, at the top of the repository before. */
const wit = [join(sdk, "wit"), join(sdk, "../../wit/v0.1")].find((path) => existsSync(path));

/** What the guest's engine lacks and bundles may want; src/world.ts has the rest. */
const banner = { js: "globalThis.process ??= { env: {} };" };

async function build(entry, output, { debug, quiet }) {
  const { componentize } = await import("componentize-qjs");
  const bundled = await bundle({
    stdin: {
      contents: `import ${JSON.stringify(join(sdk, "src/world.ts"))};\nexport * from ${JSON.stringify(resolve(entry))};`,
      resolveDir: process.cwd(),
    },
    bundle: true,
    write: false,
    outfile: resolve("bundle.js"),
    sourcemap: "external",
    format: "esm",
    platform: "neutral",
    mainFields: ["module", "main"],
    external: ["pintle:*"],
    // A line of the bundle stays one of the source, so that a stack can say where.
    minifyIdentifiers: !debug,
    keepNames: true,
    banner,
    logLevel: "error",
  });
  if (/\.[mc]?tsx?$/.test(entry) && !check(entry, sdk)) {
    process.exitCode = 1;
    return;
  }
  const [map, { text }] = bundled.outputFiles;
  const jsSource = `${text}\nglobalThis.pintleLines = ${JSON.stringify(lines(JSON.parse(map.text), sdk))};\n`;
  const { component } = await componentize({ witPath: wit, world: "frontend", jsSource, stubWasi: true, sync: true });
  await mkdir(dirname(resolve(output)), { recursive: true });
  await writeFile(output, component);
  if (!quiet) console.log(`${output}: ${component.length} bytes`);
}

async function test(files) {
  const directory = mkdtempSync(join(tmpdir(), "pintle-js-"));
  try {
    await bundle({
      entryPoints: files,
      bundle: true,
      outdir: directory,
      outExtension: { ".js": ".mjs" },
      format: "esm",
      platform: "node",
      target: "node20",
      sourcemap: "inline",
      alias: {
        "pintle:frontend/llb@0.1.0": join(sdk, "src/testing/llb.ts"),
        "pintle:frontend/host@0.1.0": join(sdk, "src/testing/host.ts"),
        "@pintle/sdk/testing": join(sdk, "src/testing/index.ts"),
        "@pintle/sdk": join(sdk, "src/index.ts"),
      },
      logLevel: "error",
    });
    const environment = { ...process.env, PINTLE_WIT: wit, NODE_OPTIONS: "--enable-source-maps" };
    const ran = spawnSync(process.execPath, ["--test", directory], { stdio: "inherit", env: environment });
    process.exitCode = ran.status ?? 1;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function usage(problem) {
  console.error(`${problem}\n${USAGE}`);
  process.exitCode = 2;
}

/** What is wrong with the author's files the bundler has shown already; where it was called from says nothing to the author. */
function refused(error) {
  if (!Array.isArray(error?.errors)) throw error;
  process.exitCode = 1;
}

const [command, ...rest] = process.argv.slice(2);
if (command === "build") {
  const [debug, quiet] = ["--debug", "--quiet"].map((option) => rest.includes(option));
  const words = rest.filter((word) => word !== "--debug" && word !== "--quiet");
  const at = words.indexOf("-o");
  const [output] = at < 0 ? [] : words.splice(at, 2).slice(1);
  const [entry] = words;
  if (words.length !== 1 || (at >= 0 && output === undefined)) usage("build needs one entry file");
  else await build(entry, output ?? entry.replace(/\.[^./]+$/, "") + ".wasm", { debug, quiet }).catch(refused);
} else if (command === "test" && rest.length > 0) {
  await test(rest).catch(refused);
} else {
  usage(command === undefined ? "no command" : `cannot ${[command, ...rest].join(" ")}`);
}
