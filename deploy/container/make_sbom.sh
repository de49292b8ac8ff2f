#!/usr/bin/env bash
# Lists what a root file system with Regroup consists of, as CycloneDX 1.5 in JSON. The Containerfile runs it in the image, as
# its last step.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: deploy/container/make_sbom.sh VERSION [ROOT]

  VERSION  of Regroup, as regroup --version prints it
  ROOT     the root file system; default: /

Prints the Debian packages that dpkg knows, and each library in /opt/regroup/lib with its SHA-256: those come from Python wheels
(libtorch, Apache Arrow, CUDA) and from Regroup itself. The same root gives the same text.
TEXT
}

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
  usage >&2
  exit 2
fi
version=$1
root=${2:-/}
root=${root%/}

debian_packages() {
  dpkg-query --admindir="$root/var/lib/dpkg" --show \
    --showformat='${db:Status-Status} ${Package} ${Version} ${Architecture}\n' | LC_ALL=C sort -u |
    while read -r status name package_version architecture; do
      if [ "$status" != installed ]; then continue; fi
      # The characters of a version that have a meaning in a package URL.
      local quoted=${package_version//:/%3A}
      quoted=${quoted//+/%2B}
      local url="pkg:deb/debian/${name//+/%2B}@$quoted?arch=$architecture"
      printf '{"type":"library","bom-ref":"%s","name":"%s","version":"%s","purl":"%s"}\n' \
        "$url" "$name" "$package_version" "$url"
    done
}

private_libraries() {
  if [ ! -d "$root/opt/regroup/lib" ]; then return; fi
  (cd "$root/opt/regroup/lib" && find . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 --no-run-if-empty sha256sum) |
    while read -r digest name; do
      printf '{"type":"file","bom-ref":"file:%s","name":"/opt/regroup/lib/%s","hashes":[{"alg":"SHA-256","content":"%s"}]}\n' \
        "$name" "$name" "$digest"
    done
}

components=$({ debian_packages; private_libraries; } | paste --serial --delimiters=',')
printf '{"bomFormat":"CycloneDX","specVersion":"1.5","version":1,'
printf '"metadata":{"component":{"type":"application","bom-ref":"regroup","name":"regroup","version":"%s"}},' "$version"
printf '"components":[%s]}\n' "$components"
