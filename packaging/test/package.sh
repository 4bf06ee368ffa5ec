#!/usr/bin/env bash
# Shows that the package installs, upgrades, downgrades and goes away as it should:
#
#   packaging/test/package.sh [PACKAGE [OLDER]]
#
# PACKAGE is made by `./dev deb` where none is named; OLDER is the same package under a lower version, or a release to
# upgrade from. Everything happens in a fresh Debian root (root.sh) without a network, in which nothing but the package
# is installed; the node runs there as the package's user, in place of systemd's service (packaging/README.md names the
# test that boots a root). Prints each step; ends with 0 when all are well. Needs root and mmdebstrap; with lintian
# installed, its errors and warnings fail the test.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source=$(cd "$here/../.." && pwd)
started=$SECONDS

package=${1:-}
if [[ -z $package ]]; then
    echo "building the package"
    package=$("$source/dev" deb)
fi
scratch=$(mktemp -d)
trap 'rm -rf --one-file-system "$scratch"' EXIT

# The same package with a lower version, so that there is something to upgrade from before the first release.
older() {
    dpkg-deb --raw-extract "$package" "$scratch/older"
    sed -i 's/^Version: .*/Version: 0.0.1-1/' "$scratch/older/DEBIAN/control"
    dpkg-deb --root-owner-group -Znone --build "$scratch/older" "$scratch/codeq_0.0.1-1.deb" >/dev/null
    echo "$scratch/codeq_0.0.1-1.deb"
}

if command -v lintian >/dev/null; then
    echo "lintian"
    lintian --allow-root --fail-on error,warning "$package"
else
    echo "lintian is not installed: not checked"
fi
old=${2:-$(older)}
"$here/root.sh" "$scratch/root"
cp "$package" "$scratch/root/tmp/new.deb"
cp "$old" "$scratch/root/tmp/old.deb"
cp "$here/in_root.sh" "$scratch/root/tmp/"

# Mounts, processes and network of its own: whatever happens in there, nothing is left when it ends.
# shellcheck disable=SC2016 # the inner shell expands these
unshare --net --pid --mount --uts --ipc --fork --kill-child bash -euc '
    hostname codeq-test
    ip link set lo up
    mount -t proc proc "$1/proc"
    mount -t tmpfs tmpfs "$1/dev"
    for node in null zero random urandom; do
        touch "$1/dev/$node"
        mount --bind "/dev/$node" "$1/dev/$node"
    done
    exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        chroot "$1" bash /tmp/in_root.sh
' bash "$scratch/root" || {
    echo "FAILED; again with: packaging/test/package.sh $package ${2:-}" >&2
    exit 1
}
echo "the package is well: $((SECONDS - started)) s"
