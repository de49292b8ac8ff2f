#!/usr/bin/env bash
# Runs the tests that need a GPU and, with --bench, the GPU benchmarks; on this machine or in the unpacked archive of
# deploy/carry.sh.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: tests/gpu/run.sh [--bench]

REGROUP_PYTHON names a Python that has torch (default: build/venv/bin/python, or python3); --bench also needs transformers.
TEXT
}

case "${1:-}" in
  "" | --bench) ;;
  -h | --help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=${REGROUP_PYTHON:-$([ -x build/venv/bin/python ] && echo build/venv/bin/python || echo python3)}
packages=$("$python" -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parent.parent)')
libraries=$packages/torch/lib
for folder in "$packages"/nvidia/*/lib; do libraries+=:$folder; done
export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export PYTHONPATH=tests/integration PYTHONDONTWRITEBYTECODE=1
export REGROUP_BIN=$PWD/build/release/bin REGROUP_TEST_PROGRAMS=$PWD/build/release/tests
failed=()
for test in gpu_communicator_test gpu_conversion_test gpu_training_test; do
  status=0
  "$python" "tests/gpu/$test.py" || status=$?
  case $status in
    0) ;;
    77) exit 77 ;;
    *) failed+=("$test") ;;
  esac
done
if [ "${1:-}" = --bench ]; then "$python" tests/bench/gpu_bench.py || failed+=(gpu_bench); fi
if [ ${#failed[@]} -gt 0 ]; then
  echo "gpu: failed: ${failed[*]}" >&2
  exit 1
fi
