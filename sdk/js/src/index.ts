/**
 * What an author of a build language writes against, in TypeScript or JavaScript. See README.md.
 * @module
 */

export type { FileInfo, SourceMeta } from "pintle:frontend/host@0.1.0";
export type { Content, Edge, Location } from "pintle:frontend/types@0.1.0";
export type { VertexOptions } from "./attrs.ts";
export { FrontendError } from "./error.ts";
export {
  copy,
  type CopyOptions,
  type FileAction,
  mkdir,
  type MkdirOptions,
  mkfile,
  type MkfileOptions,
  rm,
  type RmOptions,
  symlink,
  type SymlinkOptions,
} from "./file.ts";
export { type Answer, type Frontend, frontend, type Output, Request, type Result, scanned } from "./frontend.ts";
export {
  type BlobOptions,
  type GitOptions,
  Host,
  type HttpOptions,
  type ImageConfig,
  type ImageOptions,
  type LocalOptions,
  type OciLayoutBlobOptions,
  type OciLayoutOptions,
  Ref,
  type ResolvedImage,
  type ResolveOptions,
  type Solved,
  SourceFile,
  type SourceQuery,
  type Warning,
} from "./host.ts";
export {
  bind,
  type BindOptions,
  cache,
  type CacheOptions,
  type Mount,
  secret,
  type SecretOptions,
  ssh,
  type SshOptions,
  tmpfs,
  type TmpfsOptions,
} from "./mount.ts";
export { diff, merge, op, type OpOptions, Ran, type RunOptions, State } from "./state.ts";
