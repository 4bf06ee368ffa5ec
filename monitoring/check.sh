#!/usr/bin/env bash
# Checks the example configuration and the alerts, and runs the alerts' tests, with promtool (Debian's package
# prometheus has it).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
command -v promtool >/dev/null || {
    echo "check.sh: promtool is missing: apt install prometheus" >&2
    exit 1
}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# promtool insists that the files which a configuration names are there.
cp prometheus.yml alerts.yml "$scratch/"
touch "$scratch/codeq-ca.pem"
promtool check config --lint=all --lint-fatal "$scratch/prometheus.yml"
promtool check rules --lint=all --lint-fatal alerts.yml
promtool test rules alerts_test.yml
