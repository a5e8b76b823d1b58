// What steps and the image start from: trees laid over each other.

import { copy, merge, type State } from "@pintle/sdk";
import type { Layer } from "./plan.ts";

/** Where everything happens. */
export const WORKDIR = "/app";

/** A path of a layer, and where it goes. Of the context only the last part of a path is kept. */
function paths(include: string, isLocal: boolean): [from: string, to: string] {
  const clean = include.length > 1 ? include.replace(/\/+$/, "") : include;
  if (isLocal) return [clean, clean === "." ? WORKDIR : `${WORKDIR}/${clean.split("/").pop()}`];
  if (clean === ".") return [WORKDIR, WORKDIR];
  const path = clean.startsWith("/") ? clean : `${WORKDIR}/${clean.replace(/^\.\//, "")}`;
  return [path, path];
}

function copied(onto: State, from: State, layer: Layer, isLocal: boolean): State {
  return (layer.include ?? []).reduce((state, include) => {
    const [src, dest] = paths(include, isLocal);
    const options = { contentsOnly: true, createParents: true, followLinks: true, wildcard: true, emptyWildcard: true };
    const name = src === dest ? { name: `copy ${src}` } : {};
    return state.file([copy(from, src, dest, { ...options, exclude: layer.exclude ?? [] })], { ...name, at: layer.at });
  }, onto);
}

/** The layers as one tree: merged where no two write the same place, copied onto the first one otherwise. */
export function together(layers: readonly Layer[], tree: (layer: Layer) => State, scratch: State): State {
  const [base, ...rest] = layers;
  if (base === undefined) return scratch;
  if (rest.length === 0) return tree(base);
  if (!canMerge(layers)) {
    return rest.reduce((state, layer) => copied(state, tree(layer), layer, layer.local === true), tree(base));
  }
  const parts = rest.map((layer) => copied(scratch, tree(layer), layer, false));
  return merge([tree(base), ...parts], { name: `merge ${layers.map(shown).join(", ")}`, at: layers.map(({ at }) => at) });
}

function shown(layer: Layer): string {
  return `${layer.image ?? layer.step ?? "local"}`;
}

function canMerge(layers: readonly Layer[]): boolean {
  if (layers.some((layer, at) => layer.local || layer.include?.includes("/") || (at > 0 && !layer.include?.length))) return false;
  return !layers.some((layer, at) => layers.slice(at + 1).some((other) => overlap(layer, other)));
}

function overlap(a: Layer, b: Layer): boolean {
  const places = (layer: Layer) => (layer.include ?? []).map((include) => paths(include, false)[1]);
  const inside = (inner: string, outer: string) => inner === outer || inner.startsWith(`${outer}/`);
  const kept = (inner: string, outer: string, layer: Layer) =>
    !inner.slice(outer.length + 1).split("/").some((part) => layer.exclude?.includes(part));
  return places(a).some((one) =>
    places(b).some((two) => (inside(one, two) && kept(one, two, b)) || (inside(two, one) && kept(two, one, a))),
  );
}
