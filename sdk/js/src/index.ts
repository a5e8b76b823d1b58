/**
 * What an author of a build language writes against, in TypeScript or JavaScript. See README.md.
 * @module
 */

export type { FileInfo } from "pintle:frontend/host@0.1.0";
export type { Content, Edge, Location } from "pintle:frontend/types@0.1.0";
export type { VertexOptions } from "./attrs.ts";
export { FrontendError } from "./error.ts";
export { copy, type CopyOptions, type FileAction, mkdir, mkfile, rm, symlink } from "./file.ts";
export { type Answer, type Frontend, frontend, type Output, Request, type Result } from "./frontend.ts";
export {
  type GitOptions,
  Host,
  type HttpOptions,
  type ImageConfig,
  type ImageOptions,
  type LocalOptions,
  Ref,
  type ResolvedImage,
  type ResolveOptions,
  type Solved,
  SourceFile,
  type Warning,
} from "./host.ts";
export { bind, type BindOptions, cache, type CacheOptions, type Mount, secret, type SecretOptions, ssh, tmpfs } from "./mount.ts";
export { diff, merge, op, type OpOptions, Ran, type RunOptions, State } from "./state.ts";
