import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeHost } from "@pintle/sdk/testing";
import { railpack } from "../src/index.ts";
import { JsonError, read } from "../src/json.ts";
import { split } from "../src/words.ts";

const lower = (plan: unknown, opts: Record<string, string> = {}) => {
  const text = typeof plan === "string" ? plan : JSON.stringify(plan);
  return new FakeHost().file("local://dockerfile", "railpack-plan.json", text).build(railpack, opts);
};
const message = (plan: unknown): string => {
  try {
    lower(plan);
  } catch (error) {
    return (error as { message: string }).message;
  }
  return assert.fail("an error");
};
const base = { image: "docker.io/library/base:1" };
const deploy = { base };

test("steps, commands and the image", () => {
  const built = lower({
    steps: [
      {
        name: "packages",
        inputs: [{ image: "docker.io/library/builder:1" }],
        commands: [
          { path: "/mise/shims" },
          { path: "/etc/mise/config.toml", name: "mise.toml", customName: "create mise config" },
          { cmd: "sh -c 'mise trust -a && mise install'", customName: "install" },
        ],
        assets: { "mise.toml": "[tools]\n" },
        variables: { MISE_DATA_DIR: "/mise" },
      },
      {
        name: "build",
        inputs: [{ step: "packages" }, { local: true, include: ["."] }],
        commands: [{ src: "package.json", dest: "." }, "npm ci", { cmd: "npm run build" }],
        caches: ["npm"],
        secrets: ["*"],
      },
    ],
    caches: { npm: { directory: "/root/.npm", type: "locked" } },
    secrets: ["TOKEN"],
    deploy: {
      base,
      inputs: [
        { step: "packages", include: ["/mise/shims"] },
        { step: "build", include: [".", "/root/.cache"], exclude: ["node_modules"] },
      ],
      startCommand: "node server.js",
      variables: { NODE_ENV: "production" },
    },
  }, { "build-arg:cache-key": "mine", "build-arg:secrets-hash": "abc" });
  assert.equal(
    built.graph,
    `0: source local://dockerfile follow=railpack-plan.json shared-key=dockerfile name="load build plan railpack-plan.json"
1: source local://context shared-key=local name="loading ."
2: source docker-image://docker.io/library/builder:1 platform=linux/amd64
3: file on 2 name="create mise config"
    mkdir /etc/mise parents=true
    mkfile /etc/mise/config.toml "[tools]\\n" mode=644
4: exec ["sh","-c","mise trust -a && mise install"] on 3 cwd=/app name=install
    env MISE_DATA_DIR=/mise
    env PATH=/mise/shims:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
5: file on scratch name="copy /mise/shims"
    copy /mise/shims from 4 src=/mise/shims contents-only=true create-parents=true follow-links=true wildcard=true empty-wildcard=true
6: file on 4
    copy /app from 1 src=. contents-only=true create-parents=true follow-links=true wildcard=true empty-wildcard=true
7: file on 6 name="copy package.json"
    copy /app/ from 1 src=package.json create-parents=true follow-links=true wildcard=true empty-wildcard=true
8: file on scratch name="secrets hash"
    mkfile /secrets-hash "abc"
9: exec ["sh","-c","npm ci"] on 7 cwd=/app name="npm ci"
    env MISE_DATA_DIR=/mise
    env PATH=/mise/shims:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    cache /root/.npm scratch id=mine-npm sharing=locked
    bind /run/secrets-hash 8 readonly=true
    secret  scratch id=TOKEN env=TOKEN
10: exec ["npm","run","build"] on 9 cwd=/app
    env MISE_DATA_DIR=/mise
    env PATH=/mise/shims:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    cache /root/.npm scratch id=mine-npm sharing=locked
    bind /run/secrets-hash 8 readonly=true
    secret  scratch id=TOKEN env=TOKEN
11: file on scratch name="copy /app"
    copy /app from 10 src=/app contents-only=true create-parents=true follow-links=true wildcard=true empty-wildcard=true exclude=node_modules
12: file on 11 name="copy /root/.cache"
    copy /root/.cache from 10 src=/root/.cache contents-only=true create-parents=true follow-links=true wildcard=true empty-wildcard=true exclude=node_modules
13: source docker-image://docker.io/library/base:1 platform=linux/amd64
14: merge 13 5 12 name="merge docker.io/library/base:1, packages, build"
`,
  );
  assert.deepEqual(built.config, {
    os: "linux",
    architecture: "amd64",
    config: {
      Env: [
        "MISE_DATA_DIR=/mise",
        "NODE_ENV=production",
        "PATH=/mise/shims:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      ],
      WorkingDir: "/app",
      Entrypoint: ["/bin/bash", "-c"],
      Cmd: ["node server.js"],
    },
  });
});

test("trees that write the same place are copied, not merged", () => {
  const step = (name: string) => ({ name, inputs: [base], commands: ["true"] });
  const inputs = [{ step: "a", include: ["dist"] }, { step: "b", include: ["dist/b"] }];
  const graph = lower({ steps: [step("a"), step("b")], deploy: { base, inputs } }).graph;
  assert.doesNotMatch(graph, /merge/);
  const apart = [{ step: "a", include: ["dist"], exclude: ["b"] }, { step: "b", include: ["dist/b"] }];
  assert.match(lower({ steps: [step("a"), step("b")], deploy: { base, inputs: apart } }).graph, /merge/);
});

test("several platforms", () => {
  const built = lower({ deploy }, { platform: "linux/amd64,linux/arm64/v8" });
  assert.deepEqual([...built.results.keys()], ["linux/amd64", "linux/arm64/v8"]);
  assert.match(built.metadata.get("containerimage.config/linux/arm64/v8") ?? "", /"variant":"v8"/);
});

test("mistakes are named with their place", () => {
  const step = { name: "a", inputs: [base] };
  for (const [plan, want] of [
    ["{", /railpack-plan.json: no JSON: /],
    [{ steps: {}, deploy }, /steps: want a list/],
    [{ steps: [{}], deploy }, /steps\[0\].name: want a string/],
    [{ steps: [step, step], deploy }, /steps\[1\]: the second step named "a"/],
    [{ steps: [{ ...step, commands: [{ go: 1 }] }], deploy }, /steps\[0\].commands\[0\]: want a command/],
    [{ steps: [{ ...step, commands: ["COPY:a"] }], deploy }, /steps\[0\].commands\[0\]: want COPY:SRC DEST/],
    [{ deploy: {} }, /deploy.base: is missing: want an object/],
    [{ deploy: { base: {} } }, /deploy.base: want one of image, step and local/],
    [{ deploy: { base: { step: "b" } }, steps: [step] }, /no step "b"; there are a/],
    [{ deploy: { base: { step: "a" } }, steps: [{ name: "a", inputs: [{ step: "a" }] }] }, /step "a" builds on itself/],
    [{ deploy: { base: { step: "a" } }, steps: [{ ...step, caches: ["c"], commands: ["true"] }] }, /no cache "c"; there are none/],
    [{ deploy: { base: { step: "a" } }, steps: [{ ...step, commands: ["FILE:/a b"] }] }, /step "a": no asset "b"/],
    [{ deploy: { base: { step: "a" } }, steps: [{ ...step, commands: [{ cmd: "echo 'a" }] }] }, /a ' is not closed/],
    [{ caches: { c: { directory: "/c", type: "mine" } }, deploy }, /caches.c.type: want shared or locked/],
  ] as const) {
    assert.match(message(plan), want);
  }
  assert.throws(() => new FakeHost().build(railpack), (error: unknown) => /railpack prepare/.test((error as Error).message));
});

test("mistakes are shown where they are", () => {
  const places = (text: string) => {
    try {
      lower(text);
    } catch (error) {
      return (error as { places: { startLine: number; startColumn: number; endLine: number; endColumn: number }[] }).places.map(
        ({ startLine, startColumn, endLine, endColumn }) => [startLine, startColumn, endLine, endColumn],
      );
    }
    return assert.fail("an error");
  };
  assert.deepEqual(places('{\n "steps": {}}'), [[2, 10, 2, 11]]);
  assert.deepEqual(places('{\n "steps": [\n  {"name": 5}]}'), [[3, 11, 3, 11]]);
  assert.deepEqual(places('{\n "steps": [\n  {"inputs": []}]}'), [[3, 2, 3, 15]], "what a key is missing in");
  assert.deepEqual(places('{\n "steps": [1,]}'), [[2, 13, 2, 13]]);
  assert.deepEqual(places('{\n "steps": [\n'), [[2, 10, 2, 10]], "the text ends");
  assert.deepEqual(places("{}"), [[1, 0, 1, 1]]);
  // What is found out when the whole plan is known.
  const late = (step: string, deploy = '{"base": {"step": "a"}}') => places(`{"steps": [\n{"name": "a", ${step}}],\n"deploy": ${deploy}}`);
  assert.deepEqual(late('"inputs": []', '{"base":\n{"step": "b"}}'), [[4, 9, 4, 11]], "a step that is not there");
  assert.deepEqual(late('"inputs": [\n{"step": "a"}]'), [[3, 9, 3, 11]], "a step that builds on itself");
  assert.deepEqual(late('"caches": ["c"], "commands": ["true"]'), [[2, 25, 2, 27]], "a cache that is not there");
  assert.deepEqual(late('"commands": ["true",\n "FILE:/a b"]'), [[3, 1, 3, 11]], "an asset that is not there");
  assert.deepEqual(late('"commands": [\n{"cmd": "echo \'a"}]'), [[3, 0, 3, 17]], "a command that is not closed");
});

test("JSON is read as JSON.parse reads it", () => {
  for (const text of ['{"a": [1, -2.5e3, true, null, "\\u00e4\\n", {}], "": [[], ""]}', " 5 ", '"a"', "{}", '{"a": 1, "a": 2}']) {
    assert.deepEqual(read(text).value, JSON.parse(text), text);
  }
  for (const text of ["", "{", "[1,]", "[1 2]", "{a: 1}", '{"a" 1}', '{"a": 1,}', '"a', '"\n"', '"\\x"', "01", "1.", "tru", "{} {}", "'a'", "["]) {
    assert.throws(() => JSON.parse(text), text);
    assert.throws(() => read(text), JsonError, text);
  }
  assert.throws(() => read("[".repeat(100_000)), /more than 100 levels deep/);
});

test("words of a command line", () => {
  for (const [line, words] of [
    ["", []],
    ["  a  b ", ["a", "b"]],
    [`sh -c 'a "b" \\c'`, ["sh", "-c", `a "b" \\c`]],
    [`a"b c"'d e' ""`, ["ab cd e", ""]],
    ["a\\ b", ["a b"]],
  ] as [string, string[]][]) {
    assert.deepEqual(split(line), words, line);
  }
});
