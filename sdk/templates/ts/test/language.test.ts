import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeHost } from "@pintle/sdk/testing";
import { language } from "../src/index.ts";

test("a file is written", () => {
  const built = new FakeHost().file("local://dockerfile", "Buildfile", "write /a b\n").build(language);
  assert.match(built.graph, /mkfile.*\/a/);
});
