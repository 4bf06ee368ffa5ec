"""Generated requests against a running node, held against its own description of REST.

    python -m tests.campaigns.openapi --examples 2000 [--seed S]

Starts a node, reads `/openapi.json`, and has schemathesis make requests from it: valid ones, broken ones, and chains
that follow the links from a created task to its result. Every answer must have a status, a type and a shape that the
description names; broken requests must be refused, and none may end in a 5xx. A failure prints the request as a line
for curl, and the seed that repeats the run.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import SystemRandom
from typing import Final, NamedTuple

from appliance.auth.caller import PRODUCER
from appliance.auth.mint import Grant, mint, signing_key
from tests.e2e.node import ROOT, Node

PHASES: Final = "coverage,fuzzing,stateful"

FAIL_ALONE: Final = ("createTasks", "submitResults")
"""A bad item of a batch fails alone: the batch is answered 200."""

MORE_TO_SAY: Final = ("pauseQueue", "subscribe", "setQueue", "createTask", "createTasks", "cleanUp", "listQueues")
"""Fields that a schema allows one by one and that the node refuses together, or at this time: a pause that ends in the
past, a cap below its base, two names for one list, a webhook to a private address, `tenant=*` beside a limit."""

_CASES: Final = re.compile(r"Test cases:\s*\n\s*([0-9,]+) generated")


class Outcome(NamedTuple):
    """What a run showed."""

    passed: bool
    cases: int
    seconds: float
    report: str


def run(folder: Path, examples: int, seed: int, *, phases: str = PHASES) -> Outcome:
    """Requests for a node in `folder`, `examples` for each operation at most."""
    node = Node(folder / "node", plaintext=True)
    began = time.monotonic()
    try:
        node.up()
        config = folder / "schemathesis.toml"
        config.write_text(_config(node))
        command = [
            sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", f"{node.url}/openapi.json",
            "--phases", phases, "--max-examples", str(examples), "--seed", str(seed), "--continue-on-failure",
            "--no-color", "--generation-database", "none",
        ]  # fmt: skip
        environ = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.campaigns.openapi_hooks", "PYTHONPATH": str(ROOT)}
        ended = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
        report = ended.stdout + ended.stderr
        node.stop()
    finally:
        node.kill()
    found = _CASES.search(report)
    cases = int(found[1].replace(",", "")) if found else 0
    return Outcome(ended.returncode == 0 and cases > 0, cases, time.monotonic() - began, report)


def _config(node: Node) -> str:
    """Tokens that may do everything, and the checks that do not hold where the contract says so."""
    key = signing_key(node.key(PRODUCER))
    grant = Grant(PRODUCER, "operator", "acme", 3_600, scopes=("codeq:admin", "codeq:operator"))
    operator = mint(key, grant, time.time())
    worker = node.worker("acme")
    return f"""
[auth.openapi.producerToken]
bearer = "{operator}"

[auth.openapi.workerToken]
bearer = "{worker}"

[[operations]]
include-operation-id = {json.dumps(FAIL_ALONE)}
checks.negative_data_rejection.enabled = false

[[operations]]
include-operation-id = {json.dumps(MORE_TO_SAY)}
checks.positive_data_acceptance.enabled = false
"""


def main() -> int:
    """The command; its exit status is 1 when something did not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--examples", type=int, default=60, help="for each operation and phase, at most (60)")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1 << 32))
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(Path(folder), parsed.examples, parsed.seed)
    print(outcome.report)
    print(f"seed {parsed.seed}: {outcome.cases:,} requests in {outcome.seconds:.0f} s, ", end="")
    print("every answer as described" if outcome.passed else "NOT as described")
    if not outcome.passed:
        print(f"repeat it with: python -m tests.campaigns.openapi --examples {parsed.examples} --seed {parsed.seed}")
    return 0 if outcome.passed else 1


if __name__ == "__main__":
    sys.exit(main())
