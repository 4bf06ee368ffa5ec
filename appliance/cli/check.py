"""`codeq check`: verify a whole store and say what is wrong with it."""

import sys
from pathlib import Path

from appliance.cli import status
from appliance.cli.progress import Progress
from appliance.engine.faults import StoreError


def run(directory: str) -> int:
    """Print progress and findings; 0 when the store is clean, 1 when it is not."""
    from appliance.engine.apart import check_apart

    try:
        report = check_apart(Path(directory), Progress().checked)
    except StoreError as error:
        print(f"codeq: {error}", file=sys.stderr)
        return error.exit_status
    for finding in report.findings:
        print(finding)
    if report.clean:
        print(f"{directory} is clean")
        return status.OK
    print(f"{directory} is NOT clean: " + ", ".join(f"{count:,} {kind}" for kind, count in report.counts.items()))
    return status.FAILURE
