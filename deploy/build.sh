#!/usr/bin/env bash
# Builds the programs into build/release/bin, or everything with --all. Used by deploy/demo.sh and tests/run.sh.
# With REGROUP_CUDA=ON the build fails if a dependency of the GPU plug-in is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Prints the number of parallel compilations: compiling a file that includes libtorch takes up to 2 GB of memory.
# REGROUP_BUILD_JOBS overrides it.
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

# Prints the programs that this checkout has.
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
