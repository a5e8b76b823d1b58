import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { bind, cache, copy, diff, type Frontend, FrontendError, merge, mkdir, mkfile, op, rm, scanned, secret, ssh, symlink, tmpfs } from "@pintle/sdk";
import { FakeHost } from "@pintle/sdk/testing";

test("every builder, and every option by its word", () => {
  const language: Frontend = {
    build(cx) {
      const context = cx.local("context", { exclude: [".git", "*.log"], sharedKey: "context", name: "load context" });
      const base = cx.image("docker.io/library/gcc:14", { platform: "linux/arm64", resolveMode: "local" });
      const ran = base.run(["make", "-j2"], {
        env: { B: "2", A: "1" },
        cwd: "/src",
        readonlyRoot: true,
        validExitCode: [0, 3],
        extraHost: ["a=1.2.3.4"],
        mounts: [
          ssh("/agent", { optional: true }),
          secret("/run/secrets/token", { id: "token", mode: 0o440 }),
          secret("TOKEN", { env: "TOKEN" }),
          tmpfs("/tmp", { size: 1 << 20 }),
          bind("/src", context, { selector: "sub" }),
          cache("/root/.cache", "cc", { sharing: "locked" }),
          bind("/ro", context, { readonly: true }),
        ],
        name: "make it",
        description: { "com.example.step": "1" },
        ignoreCache: true,
      });
      const made = ran.mount("/src");
      assert.ok(made);
      assert.equal(ran.mount("/ro")?.edge, context.edge, "what cannot be written is what it was");
      assert.equal(ran.mount("/nowhere"), undefined);
      assert.equal(ran.root(), base, "a root that cannot be written is what it was");
      const files = cx.scratch().file([
        mkdir("/app", { parents: true, mode: 0o700 }),
        mkfile("/app/hello", "hello\n", { owner: "1:1" }),
        copy(made, "/out", "/app/", { contentsOnly: true, createParents: true, exclude: ["*.o"] }),
        symlink("/app/link", "hello"),
        rm("/app/tmp*", { wildcard: true, allowNotFound: true }),
      ]);
      return merge([files, diff(base, cx.git("https://example.com/r.git#main"))], { name: "together" });
    },
  };
  const built = new FakeHost().build(language);
  assert.equal(
    built.graph,
    `0: source local://context exclude=.git exclude=*.log shared-key=context name="load context"
1: source docker-image://docker.io/library/gcc:14 platform=linux/arm64 resolve-mode=local
2: exec ["make","-j2"] on 1 cwd=/src readonly-root=true valid-exit-code=0 valid-exit-code=3 extra-host=a=1.2.3.4 name="make it" description.com.example.step=1 ignore-cache=true
    env B=2
    env A=1
    bind /ro 0 readonly=true
    cache /root/.cache scratch id=cc sharing=locked
    bind /src 0 selector=sub
    tmpfs /tmp scratch size=1048576
    secret /run/secrets/token scratch id=token mode=440
    secret  scratch id=TOKEN env=TOKEN
    ssh /agent scratch optional=true
3: file on scratch
    mkdir /app parents=true mode=700
    mkfile /app/hello "hello\\n" owner=1:1
    copy /app/ from 2:3 src=/out contents-only=true create-parents=true exclude=*.o
    symlink /app/link to=hello
    rm /app/tmp* wildcard=true allow-not-found=true
4: source git://example.com/r.git#main full-url=https://example.com/r.git
5: diff 1 4
6: merge 3 5 name=together
`,
  );
  assert.deepEqual([...built.results], [["", "6"]]);
});

test("words that are lists, families, or say something when they are false", () => {
  const language: Frontend = {
    build(cx) {
      const blob = cx.imageBlob("a@sha256:00", { filename: "f", mode: 0o600, exportCache: false, cap: ["file.base"] });
      const layout = cx.ociLayout("a@sha256:00", { session: "s", store: "x", layerLimit: 2, constraint: ["a", "b"] });
      const part = cx.ociLayoutBlob("a@sha256:00", { store: "x", uid: 1 });
      const context = cx.local("context", { metadataOnly: true, metadataOnlyExcept: ["*.go"], attrs: { "shared-key": "k" } });
      const ran = layout.run(["true"], {
        mounts: [bind("/in", context, { output: false, contentCache: "off" })],
        optionalDevice: ["vendor.com/gpu=0"],
        proxyHttp: "http://proxy",
        keepMountStubs: true,
        memorySwap: -1,
        cpusetCpus: "0",
      });
      assert.equal(ran.mount("/in"), undefined);
      const all = merge([ran.root(), part.file([copy(blob, "f", "/f", { include: ["*"], required: ["f"], replace: true })])]);
      return { platforms: { "": { state: all } }, metadata: scanned({ in: part, none: cx.scratch() }) };
    },
  };
  const built = new FakeHost().build(language);
  assert.equal(built.metadata.get("sbom.extras"), '{"in":[2,0],"none":null}');
  assert.equal(
    built.graph,
    `0: source docker-image+blob://a@sha256:00 filename=f mode=600 export-cache=false cap.file.base=true
1: source oci-layout://a@sha256:00 session=s store=x layer-limit=2 constraint=a constraint=b
2: source oci-layout+blob://a@sha256:00 store=x uid=1
3: source local://context metadata-only=true metadata-only-except=*.go shared-key=k
4: exec ["true"] on 1 optional-device=vendor.com/gpu=0 proxy-http=http://proxy keep-mount-stubs=true memory-swap=-1 cpuset-cpus=0
    bind /in 3 output=false content-cache=off
5: file on 2
    copy /f from 0 src=f include=* required=f replace=true
6: merge 4 5
`,
  );
});

test("sources are pinned down, each with its own answer", () => {
  const language: Frontend = {
    build(cx) {
      const [there, gone] = cx.resolve([{ identifier: "docker-image://a", noConfig: true }, { identifier: "git://b", objects: true }]);
      assert.equal(there instanceof FrontendError ? undefined : there?.digest, "sha256:00");
      assert.ok(gone instanceof FrontendError && gone.code === "not-found");
      const text = cx.solve(cx.local("context")).readRange("file", 2, 3);
      assert.equal(new TextDecoder().decode(text), "345");
      const place = cx.sourceFile("file", "text", "one\ntwo").location([2, 0], [2, 2]);
      assert.deepEqual(place, { file: 0, startLine: 2, startColumn: 0, endLine: 2, endColumn: 2 });
      cx.warn({ message: "loud", level: 2, detail: ["more"], url: "https://example.com", about: cx.image("a"), at: place });
      return cx.scratch();
    },
  };
  const fake = new FakeHost().image("a", "sha256:00", {}).file("local://context", "file", "1234567");
  fake.build(language);
  assert.deepEqual(fake.warnings, ["loud"]);
});

test("errors carry code and place", () => {
  const text = "one\n\u00fctwo three\n";
  const language: Frontend = {
    build(cx) {
      const source = cx.sourceFile("Buildfile", "text", text);
      const at = text.indexOf("three");
      throw new FrontendError("no such word: three", { at: source.at(at, at + 5) });
    },
  };
  const fake = new FakeHost();
  assert.throws(
    () => fake.build(language),
    (error: unknown) => {
      const { code, message, places } = error as FrontendError;
      assert.equal(code, "invalid-argument");
      assert.equal(message, "no such word: three");
      assert.deepEqual(places, [{ file: 0, startLine: 2, startColumn: 6, endLine: 2, endColumn: 10 }]);
      assert.equal(fake.excerpt(places[0]!), "\u00fctwo three");
      return true;
    },
  );
});

test("the host's errors are FrontendErrors, and others keep their trace", () => {
  const language: Frontend = {
    build(cx) {
      assert.throws(() => cx.solve(cx.local("context")).readText("gone"), (error: unknown) => error instanceof FrontendError && error.code === "not-found");
      assert.throws(() => cx.resolveImages(["docker.io/library/gone:1"]), (error: unknown) => error instanceof FrontendError && error.code === "not-found");
      assert.throws(() => cx.source("local://x", { made: "up" } as object), /"made".*not known/);
      return (undefined as unknown as { nothing(): never }).nothing();
    },
  };
  assert.throws(
    () => new FakeHost().build(language),
    (error: unknown) => {
      const { code, message } = error as FrontendError;
      assert.equal(code, "internal");
      assert.match(message, /Cannot read properties of undefined[^]*sdk\.test/);
      return true;
    },
  );
});

test("what the host refuses has the places of its options", () => {
  const language: Frontend = {
    build(cx) {
      const at = cx.sourceFile("Buildfile", "text", "image a").at(0, 5);
      const refused: (() => unknown)[] = [
        () => cx.image("a", { made: "up", at } as object),
        () => cx.scratch().run([], { at }),
        () => cx.scratch().file([mkfile("/a", "")], { made: "up", at } as object),
        () => op("passthrough", [], { params: { made: "up" }, at }),
      ];
      for (const work of refused) {
        assert.throws(work, (error: FrontendError) => {
          assert.deepEqual([error.places, error.detail], [[at], []]);
          return true;
        });
      }
      return cx.scratch();
    },
  };
  new FakeHost().build(language);
});

test("operations of every kind", () => {
  const language: Frontend = {
    build(cx) {
      const [first, second] = [cx.image("a"), cx.image("b")];
      assert.throws(() => op("passthrough", [first], { params: { made: "up" } }), /"made".*not known/);
      const definition = op("build", [], { content: "LLB", params: { filename: "/llb" } });
      return op("passthrough", [first, second, definition], { params: { id: "both" }, name: "after all" });
    },
  };
  const { graph } = new FakeHost().build(language);
  assert.equal(graph.trim().split("\n").slice(2).join("\n"), '2: build "LLB" filename=/llb\n3: passthrough 0 1 2 id=both name="after all"');
});

test("images, platforms and configs", () => {
  const language: Frontend = {
    build(cx, request) {
      const [image] = cx.resolveImages(["docker.io/library/a:1"], { platform: "linux/amd64" });
      assert.ok(image);
      assert.equal(image.reference, "docker.io/library/a:1@sha256:00");
      const platforms = request.platforms().map((platform) => [platform, { state: cx.image(image.reference, { platform }), config: image.config }]);
      return { platforms: Object.fromEntries(platforms) };
    },
  };
  const fake = new FakeHost().image("docker.io/library/a:1", "sha256:00", { config: { Env: ["A=1"] } });
  const built = fake.build(language, { platform: "linux/amd64,linux/arm64" });
  assert.deepEqual([...built.results], [["linux/amd64", "0"], ["linux/arm64", "1"]]);
  assert.equal(built.metadata.get("containerimage.config/linux/arm64"), '{"config":{"Env":["A=1"]}}');
});

test("what has another type is refused with its name, before it gets to the host", () => {
  const cases: [unknown, string][] = [
    [() => undefined, "TypeError: build has to answer a State, { state, config } or { platforms }, not undefined"],
    [async () => undefined, "TypeError: build has to answer a State, { state, config } or { platforms }, not a promise"],
    [() => ({ platforms: { "linux/amd64": {} } }), "TypeError: the answer of build for linux/amd64: state has to be a State, not undefined"],
    [(cx: any) => cx.scratch().run("make"), "TypeError: args of run: want a list, not a string; for a shell's command give"],
    [(cx: any) => cx.scratch().run(["make", 1]), "TypeError: args of run: want a string, not a number"],
    [(cx: any) => cx.scratch().run(["make"], { env: { A: 1 } }), "TypeError: env A: want a string, not a number"],
    [() => mkfile("/a", 5 as any), "TypeError: content: want a string or a Uint8Array, not a number"],
    [() => mkdir(null as any), "TypeError: path of mkdir: want a string, not null"],
    [(cx: any) => cx.scratch().run(["make"], { mounts: [tmpfs(undefined as any)] }), "TypeError: target of a tmpfs mount: want a string"],
    [() => { throw { a: 1 }; }, '{"a":1} was thrown, which is no Error'],
  ];
  for (const [build, message] of cases) {
    const language = { build } as Frontend;
    assert.throws(() => new FakeHost().build(language), (error: Error) => {
      assert.ok(error.message.startsWith(message), `${error.message} is not ${message}`);
      return true;
    });
  }
});

/** What building a file says that holds `text`. */
function build(text: string): { status: number | null; stderr: string } {
  const directory = mkdtempSync(join(tmpdir(), "pintle-js-"));
  try {
    const entry = join(directory, "broken.ts");
    writeFileSync(entry, text);
    return spawnSync(process.execPath, ["bin/pintle-js.mjs", "build", entry], { encoding: "utf8" });
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test("a file that is no TypeScript is shown with its line, and not where the bundler was called from", () => {
  const built = build("export const a = 1;\nconst b };\n");
  assert.equal(built.status, 1);
  assert.match(built.stderr, /broken\.ts:2:/);
  assert.doesNotMatch(built.stderr, /\n {4}at /);
});

test("types that do not fit are shown, and make no component", () => {
  const built = build('console.log("a");\nexport const a: number = "one";\n');
  assert.equal(built.status, 1);
  assert.match(built.stderr, /broken\.ts\(2,14\): error TS2322/);
});
