"""The command; see the package for what it does."""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.campaigns import abuse
from tests.campaigns.abuse.campaign import Beside, Campaign, Outcome, Seen, impatient, metric_of
from tests.campaigns.abuse.stage import Attack

NAME_CHARS: Final = 52
SLOW_RATIO: Final = 2.0
"""Marked in the table: the attack hurts a good client more than honest load of the same cost."""


def main() -> int:
    """Run the campaign as the command line says; 0 when every attack failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.abuse", description=abuse.__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each attack as a load (default %(default)s)")
    parser.add_argument("--only", default="", metavar="WORD", help="attacks with this in their section or name")
    parser.add_argument("--patient", action="store_true", help="also those whose refusal takes minutes")
    parser.add_argument("--no-latency", action="store_true", help="each attack once, and no loads")
    arguments = parser.parse_args()

    def wanted(attack: Attack) -> bool:
        named = arguments.only.lower() in f"{attack.section} {attack.name}".lower()
        return named and (arguments.patient or impatient(attack))

    folder = Path(tempfile.mkdtemp(prefix="codeq-abuse-"))
    began = time.monotonic()
    outcome = Campaign(folder, wanted, _tell).run(0 if arguments.no_latency else arguments.seconds)
    _show(outcome)
    print(f"{time.monotonic() - began:.0f} seconds")
    if outcome.clean:
        shutil.rmtree(folder)
        print("every attack was refused and counted, and no good client met an error")
        return 0
    print(f"the nodes' files are in {folder}")
    return 1


def _tell(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


def _show(outcome: Outcome) -> None:
    print(f"\n{'attack':<{NAME_CHARS}}  {'refused with':<32}  counted as")
    for seen in outcome.played:
        print(_played_line(seen))
    felt = outcome.together
    print(
        f"\na good client beside all of them: {len(felt.answers_ms):,} answers, {len(felt.errors)} errors, "
        f"p50 {felt.percentile_ms(50):.1f} ms, p99 {felt.percentile_ms(99):.1f} ms, "
        f"slowest {felt.percentile_ms(100):.1f} ms"
    )
    if outcome.loads:
        _show_loads(outcome)
    for line in (*outcome.uncounted, *outcome.errors):
        print(f"WRONG: {line}")


def _played_line(seen: Seen) -> str:
    name = f"{seen.attack.section}: {seen.attack.name}"[:NAME_CHARS]
    counted = metric_of(seen.attack.reason) if seen.attack.reason else "-"
    return f"{name:<{NAME_CHARS}}  {seen.seen or 'NOT REFUSED: ' + seen.wrong[:200]:<32}  {counted}"


def _show_loads(outcome: Outcome) -> None:
    columns = f"{'per s':>8} {'CPU':>5} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}"
    print(f"\n{'good client beside':<{NAME_CHARS}} {columns}  {'harmless p99':>12} {'ratio':>6}")
    for level in outcome.harmless:
        print(_load_line(level))
    for beside in outcome.loads:
        equal = outcome.equal(beside.share)
        p99, base = beside.feeling.percentile_ms(99), equal.feeling.percentile_ms(99)
        ratio = p99 / base if base else 0.0
        print(f"{_load_line(beside)}  {base:>12.1f} {ratio:>6.2f}{' *' if ratio > SLOW_RATIO else ''}")
    print(f"* more than {SLOW_RATIO:.0f} times what harmless requests of the same CPU do to it")


def _load_line(beside: Beside) -> str:
    p50, p99, slowest = (beside.feeling.percentile_ms(percent) for percent in (50, 99, 100))
    name = f"{beside.name[:NAME_CHARS]:<{NAME_CHARS}}"
    return f"{name} {beside.per_second:>8,.0f} {beside.share:>5.0%} {p50:>8.1f} {p99:>8.1f} {slowest:>8.1f}"


if __name__ == "__main__":
    sys.exit(main())
