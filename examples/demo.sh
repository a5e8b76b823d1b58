#!/usr/bin/env bash
# Builds examples/hello with the embedded engine, twice, and runs what came out.
# Usage: demo.sh PINTLE
set -euo pipefail
pintle=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
work=${DEMO_DIR:-$here/../target/demo}
say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }

mkdir -p "$work"
"$here/toolchain.sh" "$work/toolchain.tar"
rm -rf "$work/context" "$work/out" && mkdir -p "$work/context"
cp -r "$here/hello/." "$work/context/"
cp "$work/toolchain.tar" "$work/context/"
cd "$work"
export PINTLE_ROOT=$work/root

say pintle build --build-arg WHO=Rust -o type=local,dest=out context
"$pintle" build --build-arg WHO=Rust -o type=local,dest=out context
say ./out/hello
./out/hello
say "pintle build ...   # again, with nothing changed"
"$pintle" build --build-arg WHO=Rust -o type=local,dest=out context
say "pintle build -t hello -o type=docker,dest=hello.tar context   # as an image"
"$pintle" build --build-arg WHO=Rust -t hello -o type=docker,dest=hello.tar context
tar -xOf hello.tar manifest.json; echo
