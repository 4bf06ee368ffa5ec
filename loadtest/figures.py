"""Prints the figures of load test records as one Markdown table, as docs/performance.md has it.

python -m loadtest.figures RECORD.json ...
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any


def table(records: list[dict[str, Any]]) -> str:
    """One row for each figure that has a target, and for what the server did besides."""
    lines = ["| program | what | measured | range | target | |", "|---|---|---|---|---|---|"]
    for record in records:
        name = record["program"] + (" over TLS" if record["arguments"].get("tls") else "")
        for figure in record["figures"]:
            target = figure["target"]
            verdict = {True: "met", False: "**missed**", None: ""}[figure["met"]]
            unit = figure["unit"]
            bound = f"{target['relation']} {_shown(target['bound'], unit)}" if target else ""
            span = "" if figure["low"] == figure["high"] else f"{_shown(figure['low'])} – {_shown(figure['high'])}"
            cells = (name, figure["what"], _shown(figure["median"], unit), span, bound, verdict)
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _shown(value: float, unit: str = "") -> str:
    text = f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
    return text + {"ratio": "", "count": "", "": ""}.get(unit, f" {unit}".replace(" /s", "/s"))


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.figures", description=__doc__.splitlines()[0])
    parser.add_argument("records", nargs="+", type=Path, metavar="RECORD.json")
    records = [json.loads(path.read_text(encoding="utf-8")) for path in parser.parse_args().records]
    machine = records[0]["machine"]
    facts = ("cores", "processor", "kernel", "python", "filesystem")
    print(f"{records[0]['date'][:10]}, " + ", ".join(f"{fact} {machine.get(fact)}" for fact in facts) + "\n")
    print(table(records))
    return 0


if __name__ == "__main__":
    sys.exit(main())
