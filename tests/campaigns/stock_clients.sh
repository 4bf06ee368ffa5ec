#!/usr/bin/env bash
# Stock gRPC clients in other languages against a node that this script starts: grpc-js (needs node and npm) and grpc-go
# (needs go), both from their public registries. The programs are in stock/; what they need is installed aside.
#
#   tests/campaigns/stock_clients.sh [js] [go]     both without arguments
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here=$root/tests/campaigns/stock
work=$(mktemp -d)
node_pid=

finish() {
    if [[ -n $node_pid ]]; then
        kill "$node_pid" 2>/dev/null || true
        wait "$node_pid" 2>/dev/null || true
    fi
    chmod -R u+w "$work"
    rm -rf "$work"
}
trap finish EXIT

start_node() {
    local port
    port=$("$root/.venv/bin/python" -c 'from tests.e2e.node import free_port; print(free_port())')
    "$root/.venv/bin/codeq" dev --dir "$work/node" --port "$port" >"$work/node.out" 2>"$work/node.log" &
    node_pid=$!
    target=localhost:$port
    for _ in $(seq 200); do
        if grep -q 'codeq.app: ready$' "$work/node.log"; then
            return
        fi
        sleep 0.05
    done
    tail "$work/node.log" >&2
    exit 1
}

run_js() {
    cp "$here"/js/* "$work/js/"
    (cd "$work/js" && npm install --silent --no-audit --no-fund --no-progress)
    (cd "$work/js" && node client.js "$root/proto" "$target" "$work/node/ca.pem" "$work/node/"{producer,worker}.token)
}

run_go() {
    (cd "$here/go" && go build -o "$work/go/stock" .)
    "$work/go/stock" "$target" "$work/node/ca.pem" "$work/node/"{producer,worker}.token
}

mkdir "$work/js" "$work/go"
cd "$root"
start_node
(($#)) || set -- js go
for language in "$@"; do
    "run_$language"
done
# An honest client must never look like one that floods, resets or does not read.
if "$root/.venv/bin/python" -c "
import sys, httpx
sys.stdout.write(httpx.get('https://$target/metrics', verify='$work/node/ca.pem', trust_env=False).text)
" | grep 'refusals_total.*reason='; then
    echo "the node refused something" >&2
    exit 1
fi
