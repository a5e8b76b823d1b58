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
  cargo build --profile component --target $target -p $name-component
  "$tool" "${CARGO_TARGET_DIR:-target}/$target/component/${name}_component.wasm" "$out/$name.part"
  if ! cmp -s "$out/$name.part" "$out/$name.wasm" || [ "$tool" -nt "$out/$name.cwasm" ]; then
    update "$out/$name.part" "$out/$name.wasm"
    "$tool" --precompile "$out/$name.wasm" "$out/$name.part2"
    update "$out/$name.part2" "$out/$name.cwasm"
    touch "$out/$name.cwasm"
  fi
  rm -f "$out/$name.part"
done

mkdir -p "$out/examples"
for name in imagefile include hardened hostile-guest; do
  cargo build --profile component --target $target -p $name
  "$tool" "${CARGO_TARGET_DIR:-target}/$target/component/${name//-/_}.wasm" "$out/examples/$name.part"
  update "$out/examples/$name.part" "$out/examples/$name.wasm"
done
# Components in JavaScript, where npm is there. They are built again when a source is newer.
js() {
  local directory=$1 name=$2
  if [ -n "$(find sdk/js/{src,bin,package.json} wit "$directory"/{src,package.json} -newer "$out/examples/$name.wasm" 2>/dev/null | head -1)" ] ||
    [ ! -e "$out/examples/$name.wasm" ]; then
    # Not `npm ci`: it refuses an optional package for another platform that was never published.
    for package in sdk/js "$directory"; do npm install --prefix "$package" --no-audit --no-fund --loglevel=error; done
    npm run build --prefix "$directory" --loglevel=error
    mv "$directory/$name.wasm" "$out/examples/$name.wasm"
  fi
}
if command -v npm >/dev/null; then js examples/railpack railpack; fi
# Components in Python, where it is there; likewise. All packages are in one environment, which the tests use too.
python() {
  local directory=$1 name=$2 environment=${CARGO_TARGET_DIR:-target}/python
  if [ -n "$(find sdk/python/{src,pyproject.toml} wit "$directory"/{"$name",pyproject.toml} -newer "$out/examples/$name.wasm" \
    -not -name '*.pyc' -type f 2>/dev/null | head -1)" ] || [ ! -e "$out/examples/$name.wasm" ] || [ ! -e "$environment/bin/pintle-py" ]; then
    # One whose checkout was moved does not run.
    "$environment/bin/pip" --version >/dev/null 2>&1 || python3 -m venv --clear "$environment"
    "$environment/bin/pip" install --quiet --disable-pip-version-check -e "sdk/python[dev]" -e "$directory[dev]"
    "$environment/bin/pintle-py" build "$name" -p "$directory" -o "$out/examples/$name.wasm"
  fi
}
if command -v python3 >/dev/null; then python examples/mopy mopy; fi
# Components in Go, where it is there. Go itself knows what is to be built again.
golang() {
  local directory=$1 name=$2
  (cd "$directory" && GOOS=wasip1 GOARCH=wasm CGO_ENABLED=0 go build -trimpath -ldflags=-w -buildmode=c-shared -o "$out/examples/$name.module" .)
  "$tool" "$out/examples/$name.module" "$out/examples/$name.part"
  rm "$out/examples/$name.module"
  update "$out/examples/$name.part" "$out/examples/$name.wasm"
}
if command -v go >/dev/null; then golang examples/earthfile earthfile; fi
ls -l "$out" "$out/examples"
