#!/usr/bin/env bash
# Runs everything without libtorch under the address and undefined-behaviour sanitizers, then coordinator and worker
# under the thread sanitizer.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: tests/sanitizers.sh [asan|tsan] [arguments for ctest]

Without a name, both. Builds in build/asan and build/tsan; half an hour on two cores the first time.
TEXT
}

# These presets build nothing that needs the trainer or a browser; scripts start programs of build/release/bin.
run() {
  local preset=$1
  shift
  cmake --preset "$preset" > "build/configure-$preset.log" 2>&1 || { tail -n 30 "build/configure-$preset.log" >&2; exit 1; }
  nice ninja -C "build/$preset"
  ctest --test-dir "build/$preset" --output-on-failure --no-tests=error "$@"
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p build
# Every sanitizer report fails the test, also one of undefined behaviour, which by default is only printed.
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 ASAN_OPTIONS=detect_stack_use_after_return=1
export LSAN_OPTIONS=suppressions=$PWD/tests/lsan_suppressions.txt
# gRPC, protobuf and libpq come from Debian without instrumentation, so their synchronisation is invisible.
export TSAN_OPTIONS=suppressions=$PWD/tests/tsan_suppressions.txt
tsan_only='^(coordinator_(core|job|schedule|access)_test|worker_(parts_)?test|process_group_test|base_test|rpc_server_test|(authorization|owners|worker_identity)_test)$'
case ${1:-both} in
  -h | --help) usage ;;
  asan) shift; run asan "$@" ;;
  tsan) shift; run tsan -R "$tsan_only" "$@" ;;
  both) run asan; run tsan -R "$tsan_only" ;;
  *) usage >&2; exit 2 ;;
esac
