#!/usr/bin/env bash
# Installs a build of Regroup into a root file system that has the packages of packages-runtime.txt. The Containerfile
# and tests/deploy/container_root_test.py use it.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: deploy/container/install_root.sh [--with-cuda] BUILD ROOT

  BUILD        folder with bin/ and lib/, for example build/release
  ROOT         the root file system; / inside a container
  --with-cuda  also installs the CUDA libraries of the Python environment that BUILD was built with

Installs programs into /opt/regroup/bin with links in /usr/local/bin, libraries into /opt/regroup/lib, and the
demonstration into /opt/regroup/share/demo; the account regroup (10001) owns only /work.
TEXT
}

cuda=no
if [ "${1:-}" = --with-cuda ]; then
  cuda=yes
  shift
fi
if [ $# -ne 2 ]; then
  usage >&2
  exit 2
fi
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$(realpath "$1")
root=${2%/}
programs=(regroup regroup-coordinator regroup-worker regroup-rsh regroup-trainer)

install_programs() {
  install -d "$root/opt/regroup/bin" "$root/opt/regroup/lib" "$root/usr/local/bin"
  local program
  for program in "${programs[@]}"; do
    install -m 0755 -s "$build/bin/$program" "$root/opt/regroup/bin/$program"
    ln -sfn "/opt/regroup/bin/$program" "$root/usr/local/bin/$program"
  done
  install -m 0644 "$build"/lib/*.so "$root/opt/regroup/lib/"
  if [ $cuda = no ]; then rm -f "$root/opt/regroup/lib/libregroup_cuda.so"; fi
}

# Lists the shared libraries of the trainer and its modules that come from Python wheels and not from Debian.
wheel_libraries() {
  find "$build/lib" -name libregroup_parquet.so -exec ldd "$build/bin/regroup-trainer" {} + | awk '$3 ~ /\/site-packages\// {print $3}'
  if [ $cuda = yes ]; then
    local wheels
    wheels=$(ldd "$build/bin/regroup-trainer" | sed -n 's|.* => \(.*/site-packages\)/torch/lib/libc10.so .*|\1|p')
    find "$wheels/torch/lib" "$wheels/nvidia" -name '*.so*' -type f
  fi
}

# Installs them into one folder, because each library searches its own folder for the others.
install_libraries() {
  wheel_libraries | sort -u | while read -r library; do
    install -m 0644 "$(realpath "$library")" "$root/opt/regroup/lib/$(basename "$library")"
  done
}

install_demo() {
  install -d "$root/opt/regroup/share/demo/model"
  install -m 0644 "$repository"/deploy/demo/{job.yaml,train.jsonl,valid.jsonl} "$root/opt/regroup/share/demo/"
  install -m 0644 "$repository"/deploy/demo/model/* "$root/opt/regroup/share/demo/model/"
  install -D -m 0644 "$repository/LICENSE" "$root/opt/regroup/share/LICENSE"
}

# Open MPI requires that every user has a name. A root without /etc/passwd gets its accounts elsewhere.
add_account() {
  if [ ! -e "$root/etc/passwd" ]; then return; fi
  grep -q '^regroup:' "$root/etc/group" || echo 'regroup:x:10001:' >> "$root/etc/group"
  grep -q '^regroup:' "$root/etc/passwd" ||
    echo 'regroup:x:10001:10001:Regroup:/tmp:/usr/sbin/nologin' >> "$root/etc/passwd"
  install -d -o 10001 -g 10001 "$root/work"
}

install_programs
install_libraries
install_demo
add_account
