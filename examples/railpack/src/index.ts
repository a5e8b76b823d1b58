// Railpack build plans as a build language.

import { type Frontend, frontend, FrontendError, type Result } from "@pintle/sdk";
import { Lowering } from "./lower.ts";
import { parse } from "./plan.ts";

/** The file that is read unless option `filename` names another. */
const FILENAME = "railpack-plan.json";

export const railpack: Frontend = {
  build(cx, request) {
    const filename = request.opt("filename") ?? FILENAME;
    const local = cx.local("dockerfile", { follow: [filename], sharedKey: "dockerfile", name: `load build plan ${filename}` });
    const text = read(() => cx.solve(local).readText(filename), filename);
    const plan = parse(text, filename, cx.sourceFile(filename, "json", text, local));
    const args = request.optsWith("build-arg:");
    const image = (platform: string) =>
      new Lowering(cx, plan, { platform, cacheKey: args["cache-key"] ?? "", secretsHash: args["secrets-hash"] ?? "" }).image();
    const platforms = request.platforms();
    if (platforms.length === 1) return image(platforms[0]!);
    return { platforms: Object.fromEntries(platforms.map((platform): [string, Result] => [platform, image(platform)])) };
  },
};

function read(text: () => string, filename: string): string {
  try {
    return text();
  } catch (error) {
    if (error instanceof FrontendError && error.code === "not-found") {
      throw new FrontendError(`no ${filename}: make one with railpack prepare --plan-out ${filename}`, { code: "not-found" });
    }
    throw error;
  }
}

export const { build, request } = frontend(railpack);
