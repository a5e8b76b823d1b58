// The build language {{name}}: a file of steps, a line each.
//
//     from docker.io/library/alpine:3
//     copy app /opt/app
//     run /opt/app/configure
//     write /etc/motd hello

import { copy, type Frontend, frontend, FrontendError, type Host, mkfile, type SourceFile, type State } from "@pintle/sdk";

/** The file that is read unless option `filename` names another. */
const FILENAME = "Buildfile";

export const language: Frontend = {
  build(cx, request) {
    const filename = request.opt("filename") ?? FILENAME;
    const local = cx.local("dockerfile", { follow: [filename], sharedKey: "dockerfile", name: "load build file" });
    const text = cx.solve(local).readText(filename);
    const source = cx.sourceFile(filename, "{{name}}", text, local);
    let state = cx.scratch();
    let offset = 0;
    for (const line of text.split("\n")) {
      if (line.trim() !== "" && !line.startsWith("#")) state = step(cx, state, line, source, offset);
      offset += line.length + 1;
    }
    return { state, config: { os: "linux", architecture: "amd64", config: {} } };
  },
};

/** Does what a line says, on what was made before it. */
function step(cx: Host, state: State, line: string, source: SourceFile, offset: number): State {
  const at = source.at(offset, offset + line.length);
  const [word, ...rest] = line.trim().split(/\s+/);
  const [first, second] = rest;
  if (word === "from" && first !== undefined && rest.length === 1) {
    return first === "scratch" ? cx.scratch() : cx.image(first, { name: line, at });
  }
  if (word === "copy" && first !== undefined && second !== undefined && rest.length === 2) {
    const context = cx.local("context", { sharedKey: "context", name: "load build context" });
    return state.file([copy(context, first, second, { createParents: true })], { name: line, at });
  }
  if (word === "run" && rest.length > 0) {
    return state.run(["/bin/sh", "-c", rest.join(" ")], { name: line, at }).root();
  }
  if (word === "write" && first !== undefined) {
    return state.file([mkfile(first, `${rest.slice(1).join(" ")}\n`)], { name: line, at });
  }
  throw new FrontendError("want from IMAGE, copy FROM TO, run COMMAND or write PATH TEXT", { at });
}

export const { build, request } = frontend(language);
