#!/usr/bin/env bash
# Builds the programs into build/release/bin, or everything with --all. Used by deploy/demo.sh and tests/run.sh.
# REGROUP_CUDA=ON makes it an error if what the GPU plug-in needs is not there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# A file that includes libtorch takes up to 2 GB of memory to compile. REGROUP_BUILD_JOBS sets another number.
jobs() {
  if [ -n "${REGROUP_BUILD_JOBS:-}" ]; then
    echo "$REGROUP_BUILD_JOBS"
    return
  fi
  local cores memory_gb
  cores=$(nproc)
  memory_gb=$(awk '/MemAvailable/ {print int($2 / 1048576)}' /proc/meminfo)
  local by_memory=$((memory_gb / 2))
  if [ "$by_memory" -lt 1 ]; then by_memory=1; fi
  echo $((cores < by_memory ? cores : by_memory))
}

configure() {
  mkdir -p build
  cmake --preset release ${REGROUP_CUDA:+-DREGROUP_CUDA=$REGROUP_CUDA} > build/configure.log 2>&1 || { tail -n 30 build/configure.log >&2; exit 1; }
}

# Those of the programs that this checkout has.
programs() {
  ninja -C build/release -t targets all | sed -n 's|^bin/\(regroup[^:]*\): .*|bin/\1|p'
}

configure
if [ "${1:-}" = --all ]; then
  nice ninja -C build/release -j "$(jobs)"
else
  # shellcheck disable=SC2046
  nice ninja -C build/release -j "$(jobs)" $(programs)
fi
