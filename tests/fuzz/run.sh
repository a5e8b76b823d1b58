#!/usr/bin/env bash
# Runs the fuzz targets with libFuzzer, each for some seconds, as many at once as there are processors. They begin with the
# Dockerfiles of the case files. What is found new stays in target/fuzz/corpus/TARGET; an input that fails is written to
# target/fuzz/found.
# Usage: run.sh SECONDS [TARGET...]
set -euo pipefail
cd "$(dirname "$0")"
seconds=$1
shift
[ $# -gt 0 ] || set -- lower parse expand lex
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
for file in ../cases/{dockerfile,corpus}/*.txt; do
  awk -v name="$seeds/$(basename "$(dirname "$file")")-$(basename "$file" .txt)" '
    /^=== / { case_number++; inside = 0 }
    /^-- .* --$/ { inside = ($2 == "Dockerfile" && NF == 3); next }
    inside { print > (name "-" case_number) }' "$file"
done

# Runs one target; says how much it tried, or, where it fails, all that libFuzzer said.
run() {
  local name=$1 log=$target/$1.log
  mkdir -p "$target/corpus/$name"
  # What hangs is found, what has to wait for a processor is not: a minute is long enough for that.
  if "$target/$host/release/$name" -max_total_time="$seconds" -timeout=60 -rss_limit_mb=2048 -max_len=4096 \
    -dict=dockerfile.dict -print_final_stats=1 -verbosity=0 -artifact_prefix="$target/found/$name-" \
    "$target/corpus/$name" "$seeds" >"$log" 2>&1; then
    echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs in $seconds s"
  else
    cat "$log" >&2
    echo "$name failed: the input is in target/fuzz/found" >&2
    return 1
  fi
}
export -f run
export host target seconds seeds
echo "fuzzing $* for $seconds s each"
printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} bash -c 'run {}'
