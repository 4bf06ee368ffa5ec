#!/usr/bin/env bash
# Makes the Debian package from the source, in dist/: `./dev deb` calls this with .venv ready.
#
#   packaging/deb/build.sh [--output DIR]
#
# The package holds a virtual environment of this machine's Debian Python, with every dependency at the version and hash
# of the lock, compiled to bytecode: nothing is fetched or compiled when it is installed. It fits the Debian release it
# was built on, and depends on that release's Python. The same source and the same commit time give the same bytes.
# Needs python3, dpkg-dev and binutils of Debian, and the network for the dependencies.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source=$(cd "$here/../.." && pwd)
output=$source/dist
pip=("$source/.venv/bin/python" -m pip --quiet --disable-pip-version-check)

fail() {
    echo "deb: $*" >&2
    exit 1
}

# lock_entries NAME…: these entries of the lock, with their hashes.
lock_entries() {
    awk -v names=" $* " '/^[a-z]/ { name = $1; sub(/==.*/, "", name); keep = index(names, " " name " ") } keep' \
        "$source/requirements-dev.lock"
}

# What a node runs on, without what only builds it; and what the client runs on, for `codeq worker run`.
lock_of_package() {
    local names
    mapfile -t names < <(sed -n 's/^\([a-z0-9-]*\)==.*/\1/p' "$source/requirements.lock" | grep -vx setuptools)
    lock_entries "${names[@]}" grpcio typing-extensions
}

# The virtual environment, in the place where it will be, with nothing in it that tells where it was made.
make_environment() {
    local home=$tree/usr/lib/codeq
    "/usr/bin/$python" -m venv --without-pip "$home"
    rm -rf "${home:?}"/{lib64,include} "${home:?}"/bin/*
    ln -s "../../../bin/$python" "$home/bin/python"
    printf 'home = /usr/bin\ninclude-system-site-packages = false\nversion = %s\n' \
        "$("/usr/bin/$python" -c 'import platform; print(platform.python_version())')" >"$home/pyvenv.cfg"
    lock_of_package >"$work/requirements.txt"
    cp -r "$source"/{appliance,codeq,pyproject.toml,README.md,LICENSE} "$work/"
    "${pip[@]}" wheel --no-deps --no-build-isolation --wheel-dir "$work/wheel" "$work"
    local install=("${pip[@]}" --python "/usr/bin/$python" install --root-user-action=ignore --no-compile --no-deps --no-warn-script-location
        --ignore-installed --target "$home/lib/$python/site-packages")
    "${install[@]}" --require-hashes -r "$work/requirements.txt"
    rm -rf "${home:?}/lib/$python/site-packages/bin"
    "${install[@]}" "$work"/wheel/*.whl
    rm -rf "${home:?}/lib/$python/site-packages/bin"
}

# Off with what only pip and compilers read, and with the scripts that pip made for other places.
clean_environment() {
    local packages=$tree/usr/lib/codeq/lib/$python/site-packages
    find "$packages" \( -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.c' -o -name '*.h' \
        -o -path '*.dist-info/RECORD' -o -path '*.dist-info/INSTALLER' -o -path '*.dist-info/REQUESTED' \
        -o -path '*.dist-info/direct_url.json' \) -delete
    find "$packages" -name '__pycache__' -prune -exec rm -rf {} +
    find "$packages" -type f -exec chmod 644 {} +
    find "$packages" -name '*.so*' -exec strip --strip-unneeded {} +
    "/usr/bin/$python" -m compileall -qq -f --invalidation-mode unchecked-hash -s "$tree" -p / "$packages"
    install -m 755 "$here/codeq" "$tree/usr/lib/codeq/bin/codeq"
    install -d "$tree/usr/bin"
    ln -s ../lib/codeq/bin/codeq "$tree/usr/bin/codeq"
}

# run ARGUMENTS: the command of the package, before it is installed.
run() {
    PYTHONPATH=$tree/usr/lib/codeq/lib/$python/site-packages "/usr/bin/$python" -B -m appliance.cli.main "$@"
}

make_files() {
    local share=$tree/usr/share doc=$tree/usr/share/doc/codeq
    local packages=$tree/usr/lib/codeq/lib/$python/site-packages
    install -d "$doc" "$share/codeq/proto" "$share/man/man1" "$share/man/man5" "$share/lintian/overrides"
    install -d "$share/bash-completion/completions" "$share/zsh/vendor-completions" "$share/fish/vendor_completions.d"
    install -d "$tree/etc/codeq" "$tree/usr/lib/systemd/system" "$tree/usr/lib/sysusers.d"
    sed -E -f "$here/conffile.sed" "$source/docs/codeq.example.yml" >"$tree/etc/codeq/codeq.yml"
    install -m 644 "$source"/systemd/*.{service,socket,timer} "$tree/usr/lib/systemd/system/"
    install -m 644 "$source/systemd/codeq.sysusers" "$tree/usr/lib/sysusers.d/codeq.conf"
    install -m 644 "$source"/proto/*.proto "$share/codeq/proto/"
    install -m 644 "$source"/docs/*.md "$source/docs/codeq.example.yml" "$doc/"
    install -d "$doc/monitoring" "$doc/console"
    install -m 644 "$source"/docs/console/*.png "$doc/console/"
    install -m 644 "$source"/monitoring/*.{json,yml} "$source/monitoring/README.md" "$doc/monitoring/"
    sed "s/^/  /; s/^ *\$//" "$source/LICENSE" >"$work/license"
    sed -e "/^@LICENSE@\$/{r $work/license" -e 'd}' "$here/copyright" >"$doc/copyright"
    "/usr/bin/$python" "$here/bundled.py" "$packages" "${packages#"$tree"}" >>"$doc/copyright"
    gzip -9n <"$source/CHANGELOG.md" >"$doc/changelog.gz"
    changelog | gzip -9n >"$doc/changelog.Debian.gz"
    run man "$share/man/man1" >/dev/null
    "$here/settings_page.sh" "$version" "$source/docs/codeq.example.yml" >"$share/man/man5/codeq.yml.5"
    gzip -9n "$share"/man/man?/*
    run completion bash >"$share/bash-completion/completions/codeq"
    run completion zsh >"$share/zsh/vendor-completions/_codeq"
    run completion fish >"$share/fish/vendor_completions.d/codeq.fish"
    install -m 644 "$here/lintian-overrides" "$share/lintian/overrides/codeq"
}

changelog() {
    printf 'codeq (%s) stable; urgency=medium\n\n' "$version"
    printf '  * Built from the source of this version; changelog.gz says what is new.\n\n'
    printf ' -- codeq maintainers <maintainers@codeq.invalid>  %s\n' "$(date --utc --rfc-email --date="@$SOURCE_DATE_EPOCH")"
}

# What the shared libraries in the package need of the system's.
library_depends() {
    local found
    mkdir -p "$work/debian"
    printf 'Source: codeq\n\nPackage: codeq\nArchitecture: any\n' >"$work/debian/control"
    mapfile -t found < <(find "$tree" -name '*.so*' -type f)
    (cd "$work" && dpkg-shlibdeps --ignore-missing-info -O "${found[@]}" 2>/dev/null) |
        sed -n 's/^shlibs:Depends=//p'
}

make_control() {
    local control=$tree/DEBIAN script
    install -d "$control"
    for script in postinst prerm postrm; do
        install -m 755 "$here/$script" "$control/$script"
    done
    echo /etc/codeq/codeq.yml >"$control/conffiles"
    (cd "$tree" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum) >"$control/md5sums"
    sed -e "s|@VERSION@|$version|; s|@ARCHITECTURE@|$(dpkg --print-architecture)|" \
        -e "s|@DEPENDS@|$python, $(library_depends)|" \
        -e "s|@SIZE@|$(du --apparent-size -sk --exclude=DEBIAN "$tree" | cut -f1)|" "$here/control" >"$control/control"
}

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$source/pyproject.toml")-1
while [[ $# -gt 0 ]]; do
    case $1 in
    --output) output=${2:?} && shift 2 ;;
    *) fail "unknown argument $1" ;;
    esac
done
for tool in dpkg-deb dpkg-shlibdeps strip /usr/bin/python3; do
    command -v "$tool" >/dev/null || fail "$tool is missing: apt install python3 dpkg-dev binutils"
done
python=$(/usr/bin/python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$source" log -1 --format=%ct)}
export PYTHONHASHSEED=0 LC_ALL=C.UTF-8
umask 022
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree
mkdir -p "$tree" "$output"
make_environment
clean_environment
make_files
make_control
package=$output/codeq_${version}_$(dpkg --print-architecture).deb
find "$tree" -depth -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group -Zxz --build "$tree" "$package" >/dev/null
echo "$package"
