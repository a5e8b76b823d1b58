#!/usr/bin/env bash
# The compiler of what is fuzzed: cargo calls it for the crates of this workspace, and the compiler itself for what they depend on, which
# so is what other builds of the workspace have compiled. Fuzzing learns from the branches that our own code takes, and a sanitizer's
# coverage comes with every LLVM, so that a stable compiler will do.
set -euo pipefail
flags=(-Cpasses=sancov-module)
for option in level=4 inline-8bit-counters pc-table trace-compares; do
  flags+=("-Cllvm-args=-sanitizer-coverage-$option")
done
# What runs while others compile cannot count, for libFuzzer is not there.
case " $* " in
  *" --crate-name build_script_"* | *" --crate-type proc-macro "* | *" --crate-name ___ "*) exec "$@" ;;
  # Where the time goes.
  *" --crate-name dockerfile "* | *" --crate-name frontend "* | *" --crate-name pintle_sdk "*) flags+=(-Copt-level=3) ;;
  *) flags+=(-Copt-level=1) ;;
esac
exec "$@" "${flags[@]}"
