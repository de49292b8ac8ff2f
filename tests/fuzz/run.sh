#!/usr/bin/env bash
# Runs every libFuzzer target on its seeds and on the corpus that earlier runs collected.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: tests/fuzz/run.sh [EXECUTIONS [SEED [TARGET...]]]

  EXECUTIONS  of each target; default 1,000,000
  SEED        of libFuzzer's random numbers; default: random, and printed
  TARGET      for example tokenizer; default: all

Builds with clang in build/fuzz (deploy/install.sh --with-fuzzers installs it). Inputs worth keeping are in
build/fuzz/corpus/TARGET; one that crashed, leaked, took over a second or 2 GB is in build/fuzz/found.
TEXT
}

case ${1:-} in -h | --help) usage; exit 0 ;; esac
executions=${1:-1000000} seed=${2:-$((RANDOM + 1))}
if ! [[ $executions$seed =~ ^[0-9]+$ ]]; then usage >&2; exit 2; fi

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
targets=("${@:3}")
if [ ${#targets[@]} -eq 0 ]; then
  for folder in tests/fuzz/seeds/*/; do targets+=("$(basename "$folder")"); done
fi
mkdir -p build/fuzz/found
cmake --preset fuzz > build/fuzz/configure.log 2>&1 || { tail -n 30 build/fuzz/configure.log >&2; exit 1; }
nice ninja -C build/fuzz "${targets[@]/%/_fuzz}"

status=0
for target in "${targets[@]}"; do
  corpus=build/fuzz/corpus/$target
  mkdir -p "$corpus"
  echo "fuzz: $target, $executions executions, seed $seed"
  started=$SECONDS
  if nice "build/fuzz/tests/${target}_fuzz" -runs="$executions" -seed="$seed" -max_len=16384 -timeout=1 -rss_limit_mb=2048 \
    -print_final_stats=1 -verbosity=0 -artifact_prefix="build/fuzz/found/$target-" "$corpus" "tests/fuzz/seeds/$target" \
    > "build/fuzz/$target.log" 2>&1; then
    grep -E 'number_of_executed_units|peak_rss' "build/fuzz/$target.log" || true
    echo "fuzz: $target passed in $((SECONDS - started)) s"
  else
    tail -n 60 "build/fuzz/$target.log" >&2
    echo "fuzz: $target failed; repeat it with: build/fuzz/tests/${target}_fuzz build/fuzz/found/$target-..." >&2
    status=1
  fi
done
exit $status
