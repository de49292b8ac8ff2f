#!/usr/bin/env bash
# Goes from a clean checkout to a converted model: installs, builds, and converts the small model of deploy/demo from 8
# KV heads to 2 on two workers, with a gang of two ranks.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: deploy/demo.sh [--build-only] [--no-install]

  --build-only   only install and build; the programs are in build/release/bin
  --no-install   run neither apt nor pip; all dependencies must be installed
TEXT
}

build_only=no install=yes
for argument in "$@"; do
  case $argument in
    --build-only) build_only=yes ;;
    --no-install) install=no ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; echo "demo: unknown option $argument" >&2; exit 2 ;;
  esac
done

cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ $install = yes ]; then deploy/install.sh; fi
echo "demo: building into build/release/bin"
deploy/build.sh
if [ $build_only = yes ]; then exit 0; fi

work=build/demo/work
if [ -e $work/run.lock ] && ! flock --nonblock $work/run.lock true; then
  echo "demo: another demo is still running in $work; wait for it or stop it" >&2
  exit 3
fi
rm -rf build/demo
mkdir -p build/demo
echo "demo: regroup run deploy/demo/job.yaml --work-dir $work --workers 2 --slots 2"
build/release/bin/regroup run deploy/demo/job.yaml --work-dir $work --workers 2 --slots 2
