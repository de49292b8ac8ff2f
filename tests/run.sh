#!/usr/bin/env bash
# Installs, builds and runs every test, and on a machine with a GPU also tests/gpu. Passes its arguments to ctest:
# tests/run.sh -L fast, tests/run.sh -R job_file
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${1:-}" = --no-install ]; then
  shift
else
  # With NCCL the plug-in for GPUs is built, which tests/fake_gpu runs on pretended libraries.
  deploy/install.sh --with-oracles --with-nccl
fi
echo "tests: building"
deploy/build.sh --all
# The engines have environments of their own, and are asked for by name: -L engines.
labels=()
[ -e /dev/nvidiactl ] || labels+=(gpu)
[[ "$*" =~ engine|vllm|llama_cpp|ctranslate2 ]] || labels+=(engines)
excluded=()
if [ ${#labels[@]} -gt 0 ]; then excluded=(-LE "^($(IFS='|'; echo "${labels[*]}"))\$"); fi
# Four half cores, REGROUP_ALL_HALF_CORES in cmake/RegroupTargets.cmake: as many tests that wait for timers, two that
# compute, or one that takes the machine.
exec ctest --test-dir build/release -j 4 --output-on-failure --no-tests=error "${excluded[@]}" "$@"
