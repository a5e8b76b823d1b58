#!/usr/bin/env bash
# Builds the shipped frontends: for each a component (NAME.wasm) and what the engine's compiler makes of it (NAME.cwasm).
# Under OUTPUT_DIR/examples come the components that are not shipped: the examples', and one that misbehaves for the tests.
# Usage: build.sh OUTPUT_DIR [CARGO_FLAGS...]
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(mkdir -p "$1" && realpath "$1")
shift
target=wasm32-unknown-unknown
# The whole workspace chooses the features of dependencies, so that they are compiled once for this and for the binary.
cargo build --workspace --bin pintle-componentize "$@"
profile=debug
for flag in "$@"; do [ "$flag" = --release ] && profile=release; done
tool=${CARGO_TARGET_DIR:-target}/$profile/pintle-componentize

# Writes only what changed, so that nothing is built again for nothing.
update() { if cmp -s "$1" "$2"; then rm "$1"; else mv "$1" "$2"; fi; }

for name in dockerfile; do
  cargo build --profile component --target $target -p $name
  "$tool" "${CARGO_TARGET_DIR:-target}/$target/component/$name.wasm" "$out/$name.part"
  if ! cmp -s "$out/$name.part" "$out/$name.wasm" || [ "$tool" -nt "$out/$name.cwasm" ]; then
    update "$out/$name.part" "$out/$name.wasm"
    "$tool" --precompile "$out/$name.wasm" "$out/$name.part2"
    update "$out/$name.part2" "$out/$name.cwasm"
    touch "$out/$name.cwasm"
  fi
  rm -f "$out/$name.part"
done

mkdir -p "$out/examples"
for name in imagefile hostile-guest; do
  cargo build --profile component --target $target -p $name
  "$tool" "${CARGO_TARGET_DIR:-target}/$target/component/${name//-/_}.wasm" "$out/examples/$name.part"
  update "$out/examples/$name.part" "$out/examples/$name.wasm"
done
ls -l "$out" "$out/examples"
