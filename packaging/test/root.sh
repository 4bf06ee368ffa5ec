#!/usr/bin/env bash
# A Debian root to install packages in, with everything in it that a test of the package or the service needs, so that
# nothing is fetched after it was made:
#
#   packaging/test/root.sh DIR
#
# DIR must not exist, or be empty; it becomes a fresh root, that can be entered with chroot or booted with
# systemd-nspawn. It comes from a tar file in build/roots, made by mmdebstrap on the first call (about a minute) and
# again when the list of packages changes. Needs root, and the Debian packages mmdebstrap and debian-archive-keyring.
#
#   CODEQ_TEST_SUITE   the Debian release; this machine's, where it is not set: a package fits the release it is built on
#   CODEQ_TEST_CACHE   where the tar file is kept; build/roots where it is not set
set -euo pipefail
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# A booted system, what the package depends on, and the tools of the tests.
packages=(systemd-sysv dbus python3 adduser ca-certificates curl openssl iproute2 procps man-db bash-completion)

fail() {
    echo "root.sh: $*" >&2
    exit 1
}

make() {
    local tar=$1 started=$SECONDS
    command -v mmdebstrap >/dev/null || fail "mmdebstrap is needed: apt install mmdebstrap debian-archive-keyring"
    echo "root.sh: making $tar" >&2
    mmdebstrap --quiet --format=tar --variant=apt --components=main --include="$(IFS=,; echo "${packages[*]}")" \
        --aptopt='Apt::Install-Recommends "false"' "$suite" "$tar.new" >&2
    mv "$tar.new" "$tar"
    echo "root.sh: made in $((SECONDS - started)) s, $(du -h "$tar" | cut -f1)" >&2
}

[[ $# == 1 ]] || fail "the one argument is the directory to make"
[[ $EUID == 0 ]] || fail "must be run as root"
[[ ! -e $1 || -z "$(ls -A "$1")" ]] || fail "$1 is not empty"
suite=${CODEQ_TEST_SUITE:-$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)}
cache=${CODEQ_TEST_CACHE:-$source/build/roots}
mkdir -p "$cache" "$1"
tar=$cache/$suite-$(cksum <<<"${packages[*]}" | cut -d' ' -f1).tar

# Two tests that start together make it once.
exec {lock}>"$cache/lock"
flock "$lock"
[[ -f $tar ]] || make "$tar"
flock --unlock "$lock"

# Device nodes are made by whoever enters or boots the root; a container may not be allowed to.
tar --extract --file "$tar" --directory "$1" --numeric-owner --xattrs --xattrs-include='*' --exclude='./dev/*'
