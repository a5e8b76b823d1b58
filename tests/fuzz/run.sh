#!/usr/bin/env bash
# Runs the fuzz targets with libFuzzer, each for some seconds, as many at once as there are processors. Those of Dockerfiles begin with
# the Dockerfiles of the case files, the others with what is made of seeds/. What is found new stays in target/fuzz/corpus/TARGET; an
# input that fails is written to target/fuzz/found.
# Usage: run.sh SECONDS [TARGET...]
set -euo pipefail
cd "$(dirname "$0")"
seconds=$1
shift
[ $# -gt 0 ] || set -- lower loader guest caches parse settings expand lex
target=$(realpath -m ../../target/fuzz)
bin=$(realpath -m ../../target/debug)

bins=()
for name in targets/*; do bins+=(--bin "$(basename "$name" .rs)"); done
# The whole workspace is selected, as everywhere, so that what our crates depend on is compiled once for all.
RUSTC_WORKSPACE_WRAPPER=$PWD/rustc.sh CARGO_INCREMENTAL=0 CARGO_TARGET_DIR=${bin%/debug} \
  cargo build --quiet --locked --workspace --features fuzz/libfuzzer "${bins[@]}"

seeds=$target/seeds
rm -rf "$seeds" && mkdir -p "$seeds"/{dockerfile,guest} "$target/found"
for file in ../cases/{dockerfile,corpus}/*.txt; do
  awk -v name="$seeds/dockerfile/$(basename "$(dirname "$file")")-$(basename "$file" .txt)" '
    /^=== / { case_number++; inside = 0 }
    /^-- .* --$/ { inside = ($2 == "Dockerfile" && NF == 3); next }
    inside { print > (name "-" case_number) }' "$file"
done
for name in loader caches; do
  mkdir "$seeds/$name"
  FUZZ_SEEDS=$seeds/$name "$bin/$name" >"$target/$name.log" 2>&1 || { cat "$target/$name.log" >&2; exit 1; }
done
cp -r seeds/settings "$seeds"

# Runs one target; says how much it tried, or, where it fails, all that libFuzzer said.
run() {
  local name=$1 log=$target/$1.log from=$seeds/$1 dictionary=$1.dict length=4096
  case $name in
    lower | parse | expand | lex) from=$seeds/dockerfile dictionary=dockerfile.dict ;;
    loader | caches) length=16384 ;;
  esac
  mkdir -p "$target/corpus/$name"
  local words=()
  [ ! -e "$dictionary" ] || words=(-dict="$dictionary")
  # What hangs is found, what has to wait for a processor is not: a minute is long enough for that.
  if "$bin/$name" -max_total_time="$seconds" -timeout=60 -rss_limit_mb=2048 -max_len=$length \
    "${words[@]}" -print_final_stats=1 -verbosity=0 -artifact_prefix="$target/found/$name-" \
    "$target/corpus/$name" "$from" >"$log" 2>&1; then
    echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs in $seconds s"
  else
    cat "$log" >&2
    echo "$name failed: the input is in target/fuzz/found" >&2
    return 1
  fi
}
export -f run
export bin target seconds seeds
echo "fuzzing $* for $seconds s each"
printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} bash -c 'run {}'
