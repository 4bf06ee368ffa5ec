#!/usr/bin/env bash
# The steps of package.sh, run inside the root that it made. /tmp/old.deb and /tmp/new.deb are the packages.
set -euo pipefail
log=/tmp/node.log
list_before=/tmp/before
api=https://localhost:8443/v1/codeq
node=

step() { echo "-- $*"; }

fail() {
    echo "FAILED: $*" >&2
    [[ ! -f $log ]] || tail -n 20 "$log" >&2
    exit 1
}

# apt ARGUMENTS: quiet while all is well.
apt() {
    apt-get -qq -o Dpkg::Use-Pty=0 -o APT::Install-Recommends=0 "$@" >/tmp/apt.log 2>&1 ||
        { cat /tmp/apt.log >&2 && fail "apt-get $*"; }
}

same() { [[ $1 == "$2" ]] || fail "'$1' is not '$2'"; }

# Every path of the root, but what package managers, tests and the kernel keep for themselves.
everything() {
    find / \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/lib/dpkg -o \
        -path /var/cache -o -path /var/log -o -path /var/lib/apt \) -prune -o -printf '%y %m %u %p\n' | sort
}

# As the service would run: its user, its directory, its configuration.
start() {
    install -d -o codeq -g codeq -m 700 /var/lib/codeq
    setpriv --reuid codeq --regid codeq --clear-groups --no-new-privs \
        codeq serve --config /etc/codeq/codeq.yml 2>>"$log" &
    node=$!
    for _ in {1..200}; do
        [[ ! -f /var/lib/codeq/pki/ca.pem ]] ||
            ! curl -fs --cacert /var/lib/codeq/pki/ca.pem https://localhost:8443/readyz >/dev/null || return 0
        kill -0 "$node" || fail "the node ended"
        sleep 0.1
    done
    fail "the node is not ready"
}

stop() {
    kill "$node"
    wait "$node" || fail "the node ended with $?"
}

# call TOKEN PATH [DATA]: one request, the answer on standard output.
call() {
    curl -fsS --cacert /var/lib/codeq/pki/ca.pem -H "Authorization: Bearer $1" -H 'Content-Type: application/json' \
        ${3:+-d "$3"} "$api/$2" || fail "$2 was refused"
}

field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

# token KIND: made by the command that the log names, as an operator would.
token() {
    local line
    line=$(grep -o "make a $1's token with: codeq [^\"]*" "$log" | tail -n 1)
    line=${line#*with: }
    line=${line/TENANT/acme}
    eval "${line/NAME/$1-1}"
}

step "install the older version, without a network"
everything >"$list_before"
apt install /tmp/old.deb
dpkg --verify codeq || fail "files differ from what the package says"
same "$(dpkg-query -W -f='${Status}' codeq)" "install ok installed"
codeq version >/dev/null || fail "codeq version"
codeq config check --config /etc/codeq/codeq.yml >/dev/null || fail "the configuration that is installed"
for page in codeq codeq-token codeq.yml; do
    man --warnings "$page" 2>&1 >/dev/null | grep . && fail "man $page"
done
bash -c '. /usr/share/bash-completion/completions/codeq; complete -p codeq' >/dev/null || fail "completion in bash"
systemd-analyze verify --man=no codeq.service codeq.socket codeq-backup.timer || fail "the units"
[[ -L /etc/systemd/system/multi-user.target.wants/codeq.service ]] || fail "the service is not enabled"
[[ ! -e /etc/systemd/system/sockets.target.wants/codeq.socket ]] || fail "the socket is enabled"

step "first start, and a task with tokens made by the lines in the log"
start
producer=$(token producer)
worker=$(token worker)
task=$(call "$producer" tasks '{"command": "greet", "payload": {"name": "Ada"}}' | field id)
[[ -z $(find /usr/lib/codeq -newer /tmp/new.deb -name '*.pyc') ]] || fail "bytecode was written"
stop

step "upgrade: data, keys and an edited configuration stay"
sed -i 's/^#drainSeconds: 30$/drainSeconds: 5/' /etc/codeq/codeq.yml
systemctl disable -q codeq.service
apt install /tmp/new.deb
dpkg --verify --verify-format rpm codeq | grep -v ' c /etc/codeq/codeq.yml' && fail "files differ"
grep -q '^drainSeconds: 5$' /etc/codeq/codeq.yml || fail "the configuration was replaced"
[[ ! -e /etc/systemd/system/multi-user.target.wants/codeq.service ]] || fail "a disabled service was enabled"
start
same "$(call "$worker" tasks/claim '{}' | field id)" "$task"
same "$(call "$worker" "tasks/$task/result" '{"status": "COMPLETED", "result": 1}' | field status)" COMPLETED
stop
codeq check --directory /var/lib/codeq 2>/dev/null >&2 || fail "codeq check"

step "downgrade: the older version reads the store"
apt install --allow-downgrades /tmp/old.deb
start
same "$(call "$producer" "tasks/$task" | field status)" COMPLETED
stop

step "remove: the program is gone, configuration and data are there"
apt remove codeq
[[ ! -e /usr/bin/codeq && ! -e /usr/lib/codeq ]] || fail "the program is still there"
[[ -f /etc/codeq/codeq.yml && -f /var/lib/codeq/data.mdb ]] || fail "configuration or data are gone"

step "install again: the data is served"
apt install /tmp/new.deb
start
same "$(call "$producer" "tasks/$task" | field status)" COMPLETED
stop

step "purge: nothing is left"
apt purge codeq
everything | diff "$list_before" - || fail "the purge left or took something"
same "$(getent passwd codeq || true)" ""
