#!/usr/bin/env bash
# Packs this checkout with its build for another machine, a GPU machine above all.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: deploy/carry.sh FILE.tar.gz

Packs the files that git tracks, the programs of build/release and the libraries of this system that they need. The other
machine needs the same CPU architecture, a C library at least as new as this one's, Python with the packages of
deploy/requirements-libtorch.txt (for GPUs also those of deploy/requirements-nccl.txt and a driver), and Open MPI 4.
Run tests/gpu/run.sh there, in the unpacked folder.
TEXT
}

case "${1:-}" in
  "" | -h | --help) usage; [ -n "${1:-}" ] && exit 0 || exit 2 ;;
esac
archive=$(realpath -m "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
built=build/release
[ -x $built/bin/regroup-trainer ] || { echo "carry: there is no $built/bin/regroup-trainer; run deploy/build.sh --all" >&2; exit 1; }

# Libraries that are left out: the other machine has them from libtorch, NCCL, Open MPI or its own system.
left='^(ld-linux|linux-vdso|lib(c|m|dl|rt|util|pthread|resolv|gcc_s|stdc[+][+]|gomp|nccl|mpi|hwloc|udev)[.]so|lib(torch|c10|cu(blas|da|dnn|fft|file|pti|rand|solver|sparse)|nv|open-|event))'
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/regroup/$built"/{bin,lib,bench,tests}
git ls-files -z | tar --null -T - -cf - | tar -xf - -C "$folder/regroup"
cp $built/bin/regroup* "$folder/regroup/$built/bin/"
if [ -d $built/lib ]; then cp $built/lib/*.so "$folder/regroup/$built/lib/"; fi
[ -e $built/lib/libregroup_cuda.so ] || echo "carry: this build has no GPU plug-in" >&2
for program in bench/train_steps bench/decode_bench tests/communicator_test tests/fake_runtime_scenarios; do
  if [ -x "$built/$program" ]; then cp "$built/$program" "$folder/regroup/$built/$program"; fi
done
# Every program searches ../lib first.
ldd $built/bin/regroup* $built/lib/libregroup_parquet.so $built/bench/train_steps $built/tests/communicator_test 2>/dev/null |
  awk -v left="$left" '$2 == "=>" && $3 ~ /^\// && $1 !~ left {print $3}' | sort -u |
  xargs -I{} cp --dereference {} "$folder/regroup/$built/lib/"
tar -C "$folder" -czf "$archive" regroup
echo "carry: $archive, $(du -h "$archive" | cut -f1)"
