#!/usr/bin/env bash
# Installs, builds and runs every test; those that need a GPU (tests/gpu) where there is one. Arguments go to ctest:
# tests/run.sh -L fast, tests/run.sh -R job_file
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${1:-}" = --no-install ]; then
  shift
else
  deploy/install.sh --with-oracles
fi
echo "tests: building"
deploy/build.sh --all
without_gpu=()
[ -e /dev/nvidiactl ] || without_gpu=(-LE gpu)
# Two at a time, whatever the number of cores: most tests wait for timers, and those that compute on both cores run alone.
exec ctest --test-dir build/release -j 2 --output-on-failure --no-tests=error "${without_gpu[@]}" "$@"
