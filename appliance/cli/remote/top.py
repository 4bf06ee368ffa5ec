"""`codeq top`: the queues of a node, live, on a plain terminal.

Owns what a screen shows and how often. Rates come from the counters of two answers; the first screen has none.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Iterable
from typing import Final

import codeq
from appliance.cli import status
from appliance.cli.progress import size
from appliance.cli.remote.output import age, plain, print_json, table
from appliance.cli.remote.queues import paused
from appliance.cli.remote.session import Session, run, words

CLEAR: Final = "\x1b[H\x1b[J"
"""Cursor home, then clear what is below: all that a plain terminal needs."""
HEADS: Final = ("COMMAND", "TENANT", "READY", "DELAYED", "CLAIMED", "DLQ", "OLDEST", "DONE/S", "FAILED/S", "PAUSED")

Counters = dict[tuple[str, str], tuple[int, int]]


def start(arguments: argparse.Namespace) -> int:
    """Show the queues until Ctrl-C, or once."""

    def action(session: Session) -> int:
        screen = Screen()
        while True:
            now_seconds = time.monotonic()
            queues = session.admin.queues(tenant=session.tenant)
            if session.as_json:
                for queue in queues:
                    print_json(queue.fields)
            else:
                _show(screen.lines(_node(session), queues, now_seconds))
            sys.stdout.flush()
            if arguments.once:
                return status.OK
            time.sleep(arguments.interval)

    try:
        return run(arguments, action)
    except KeyboardInterrupt:
        return status.OK


class Screen:
    """Makes one screen after the other, and remembers what it takes for rates."""

    def __init__(self) -> None:
        self._before: Counters = {}
        self._before_seconds = 0.0

    def lines(self, head: str, queues: Iterable[codeq.Queue], now_seconds: float) -> list[str]:
        """The lines of a screen: the node, the sums, and the queues with the most work first."""
        todo = sorted(queues, key=lambda each: (-(each.ready + each.in_progress), each.tenant_id, each.command))
        counters = {
            (each.tenant_id, each.command): (each.fields.get("completed") or 0, each.fields.get("failed") or 0)
            for each in todo
        }
        rows = [
            (each.command, each.tenant_id, each.ready, each.delayed, each.in_progress, each.dlq,
             age(each.oldest_ready_age_seconds), *self._rates(each, counters, now_seconds), paused(each))
            for each in todo
        ]  # fmt: skip
        sums = (
            f"{len(todo):,} queues: {sum(each.ready for each in todo):,} ready, "
            f"{sum(each.delayed for each in todo):,} delayed, {sum(each.in_progress for each in todo):,} claimed, "
            f"{sum(each.dlq for each in todo):,} dead letters"
        )
        self._before, self._before_seconds = counters, now_seconds
        return [head, sums, "", *table(HEADS, rows)]

    def _rates(self, queue: codeq.Queue, counters: Counters, now_seconds: float) -> list[str]:
        key = (queue.tenant_id, queue.command)
        before = self._before.get(key)
        span = now_seconds - self._before_seconds
        if before is None or span <= 0 or "completed" not in queue.fields:
            return ["-", "-"]
        # Counters may be of what is kept, and sink when the sweep comes by.
        return [f"{max(0, now - then) / span:.1f}" for now, then in zip(counters[key], before, strict=True)]


def _node(session: Session) -> str:
    try:
        node = session.admin.node()
    except codeq.CodeqError as error:
        return f"{session.profile.url}: {words(error)}"
    return (
        f"codeq {plain(node.version)} at {session.profile.url}, up {age(node.uptime_seconds)}, "
        f"store {size(node.store_bytes)}, free {size(node.free_bytes)}"
    )


def _show(lines: list[str]) -> None:
    if not sys.stdout.isatty():
        print("\n".join(lines))
        return
    columns, rows = shutil.get_terminal_size()
    print(CLEAR + "\n".join(line[:columns] for line in lines[: rows - 1]), end="\n")
