#!/usr/bin/env bash
# Runs the fuzz targets with libFuzzer, each for some seconds, beginning with the Dockerfiles of the case files.
# What is found new stays in target/fuzz/corpus/TARGET; an input that fails is written to target/fuzz/found.
# Usage: run.sh SECONDS [TARGET...]
set -euo pipefail
cd "$(dirname "$0")"
seconds=$1
shift
[ $# -gt 0 ] || set -- lex parse expand lower
host=$(rustc -vV | sed -n 's/^host: //p')
target=$(realpath -m ../../target/fuzz)

# The passes of a sanitizer's coverage come with every LLVM, so that a stable compiler will do.
passes="-Cpasses=sancov-module"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
  passes+=" -Cllvm-args=-sanitizer-coverage-$option"
done
# --target keeps the flags from build scripts and macros.
RUSTFLAGS="$passes" CARGO_TARGET_DIR=$target cargo build --quiet --release --locked --target "$host"

seeds=$target/seeds
rm -rf "$seeds" && mkdir -p "$seeds" "$target/found"
for file in ../cases/dockerfile/*.txt; do
  awk -v name="$seeds/$(basename "$file" .txt)" '
    /^=== / { case_number++; inside = 0 }
    /^-- .* --$/ { inside = ($2 == "Dockerfile" && NF == 3); next }
    inside { print > (name "-" case_number) }' "$file"
done

for name in "$@"; do
  mkdir -p "$target/corpus/$name"
  echo "fuzzing $name for $seconds s"
  "$target/$host/release/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=4096 \
    -dict=dockerfile.dict -print_final_stats=1 -verbosity=0 -artifact_prefix="$target/found/$name-" \
    "$target/corpus/$name" "$seeds"
done
