#!/usr/bin/env bash
# Builds the Debian packages regroup-cli, regroup-coordinator and regroup-worker in build/release/packages.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: deploy/package.sh [--no-install] [--no-build]

  --no-install   run neither apt nor pip; all build dependencies must be installed
  --no-build     neither install nor build; pack the existing programs in build/release/bin

The packages are for this Debian release and CPU architecture: install them with apt-get install ./regroup-*.deb
TEXT
}

install=yes build=yes
for argument in "$@"; do
  case $argument in
    --no-install) install=no ;;
    --no-build) install=no build=no ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; echo "package: unknown option $argument" >&2; exit 2 ;;
  esac
done

cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ $install = yes ]; then deploy/install.sh; fi
if [ $build = yes ]; then deploy/build.sh; fi
rm -rf build/release/packages
if ! (cd build/release && cpack -G DEB) > build/package.log 2>&1; then
  tail -n 20 build/package.log >&2
  echo "package: failed; the full output is in build/package.log" >&2
  exit 1
fi
rm -rf build/release/packages/_CPack_Packages
du -h build/release/packages/*.deb
