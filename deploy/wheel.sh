#!/usr/bin/env bash
# Builds the wheel regroup-cli in build/release/wheel: the command line with its libraries, without libtorch.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: deploy/wheel.sh [--no-install] [--no-build]

  --no-install   run neither apt nor pip; all dependencies must be installed
  --no-build     neither install nor build; pack the existing program in build/release/bin

The name of the wheel tells the oldest glibc that it runs with. The libraries come from this system's Debian packages.
TEXT
}

fail() { printf 'wheel: %s\n' "$*" >&2; exit 1; }

install=yes build=yes
for argument in "$@"; do
  case $argument in
    --no-install) install=no ;;
    --no-build) install=no build=no ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; echo "wheel: unknown option $argument" >&2; exit 2 ;;
  esac
done

cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ $install = yes ]; then deploy/install.sh --with-wheel; fi
if [ $build = yes ]; then deploy/build.sh; fi
tools=$PWD/build/python-client/bin
target=build/release/wheel
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Lists the libraries that go into the wheel. Those that are left out are the ones that every manylinux system has (PEP 600).
libraries() {
  ldd "$1" | awk '$2 == "=>" && $1 !~ /^(linux-vdso|lib(c|m|gcc_s|stdc[+][+]|z))[.]so/ {print $3}'
}

# Prints the Debian package of a file. dpkg may know a file of /usr/lib as one of /lib.
package_of() {
  local file
  file=$(realpath "$1")
  { dpkg-query --search "$file" || dpkg-query --search "${file#/usr}"; } 2> /dev/null | sed 's/:.*//' ||
    fail "no Debian package has $1, so its licence is unknown"
}

# Copies the licences of the program and of its libraries, and the texts in common-licenses that they refer to.
copy_licences() {
  local library packages text
  packages=$(for library in $(libraries "$1"); do package_of "$library" || exit 1; done) || exit 1
  mkdir "$2"
  cp LICENSE "$2/LICENSE"
  cp deploy/debian/copyright "$2/regroup"
  # A name of a licence file may not have a plus sign (PEP 639).
  for package in $(sort -u <<< "$packages"); do cp "/usr/share/doc/$package/copyright" "$2/${package//+/p}"; done
  for text in $(grep -Eoh '/usr/share/common-licenses/[A-Z][A-Za-z0-9]*(-[0-9]+([.][0-9]+)*)?' "$2"/* | sort -u); do
    cp "$text" "$2/common-$(basename "$text")"
  done
}

# The installed program, unlike the one in bin, searches no folder of its own for libraries.
cmake --install build/release --prefix "$folder/installed" --component cli --strip > build/wheel.log
program=$folder/installed/bin/regroup
source=$folder/source
cp -r deploy/wheel "$source"
cp "$program" "$source/regroup_cli/regroup"
mkdir "$source/share"
cp "$folder/installed/share/man/man1/regroup.1.gz" "$folder/installed/share/bash-completion/completions/regroup" "$source/share/"
"$program" --version > "$source/VERSION"
copy_licences "$program" "$source/licenses"

# auditwheel adds the libraries, lets the program find them, and names the oldest glibc in the tag.
rm -rf "$target"
{
  "$tools/python" -m build --wheel --no-isolation --outdir "$folder/plain" "$source" &&
    PATH=$tools:$PATH "$tools/python" -m auditwheel repair --wheel-dir "$target" "$folder"/plain/*.whl
} >> build/wheel.log 2>&1 || {
  tail -n 20 build/wheel.log >&2
  fail "failed; the full output is in build/wheel.log"
}
du -h "$target"/*.whl
