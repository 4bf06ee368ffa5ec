#!/usr/bin/env bash
# Fuzzing that watches branches, with atheris (Linux on x86-64), which is installed aside. Inputs that take new branches
# are kept in a folder of the caller's, beside the corpus of the repository.
#
#   tests/fuzz/guided.sh SECONDS [TARGET...]     seconds for each target; all targets without names
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
seconds=${1:?seconds for each target}
shift
tools=$root/build/fuzz-tools
grown=${CODEQ_FUZZ_CORPUS:-$root/build/fuzz-corpus}
python=$root/.venv/bin/python
if [[ ! -d $tools/atheris ]]; then
    "$python" -m pip install --quiet --disable-pip-version-check --target "$tools" 'atheris==3.0.0'
fi
if (($# == 0)); then
    mapfile -t names < <(cd "$root" && "$python" -c 'from tests.fuzz.targets import NAMES; print(*NAMES, sep="\n")')
    set -- "${names[@]}"
fi
cd "$root"
for target in "$@"; do
    echo "== $target"
    mkdir -p "$grown/$target" "tests/fuzz/corpus/$target"
    "$python" -c 'import sys
from tests.fuzz.engine import corpus
from tests.fuzz.targets import load
for number, data in enumerate(corpus(load(sys.argv[1]))):
    open(f"{sys.argv[2]}/seed-{number:03}", "wb").write(data)' "$target" "$grown/$target"
    PYTHONPATH=$tools "$python" -m tests.fuzz.guided "$target" "$grown/$target" \
        -max_total_time="$seconds" -print_final_stats=1 -artifact_prefix="$grown/$target-" 2>&1 |
        grep -E 'ERROR|Exception|Error|artifact|stat::number_of_executed_units|stat::peak_rss' || true
done
