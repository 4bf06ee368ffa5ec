#!/usr/bin/env bash
# The console in headless Chromium against a real node. Needs Debian's package `chromium` (or a path to one in
# CODEQ_CHROMIUM), and installs playwright, which drives it, aside.
#
#   tests/browser/run.sh [--screenshots] [arguments of pytest]     --screenshots renews the pictures in docs/console/
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tools=$root/build/browser-tools
python=$root/.venv/bin/python
export CODEQ_CHROMIUM=${CODEQ_CHROMIUM:-$(command -v chromium || true)}
if [[ -z $CODEQ_CHROMIUM ]]; then
    echo "run.sh: there is no chromium: apt install chromium" >&2
    exit 1
fi
if [[ ${1:-} == --screenshots ]]; then
    export CODEQ_SCREENSHOTS=$root/docs/console
    shift
fi
if [[ ! -d $tools/playwright ]]; then
    "$python" -m pip install --quiet --disable-pip-version-check --target "$tools" 'playwright==1.65.2'
fi
cd "$root"
PYTHONPATH=$tools exec "$python" -m pytest -p no:cacheprovider tests/browser "$@"
