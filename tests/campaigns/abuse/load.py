"""Loads for a node, from processes of their own: an attack repeated, slow ones held, and harmless requests.

Owns those processes. The harmless load regulates itself to a share of CPU that the node shall spend, so that an attack
can be compared with honest work that costs as much.
"""

import contextlib
import multiprocessing
import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Final

from tests.campaigns.abuse.stage import Attack, NotRefused, Stage
from tests.e2e.raw import read_answer

HELD: Final = 400
"""Connections that a slow attack holds at once."""
END_SECONDS: Final = 90.0
PIPELINED: Final = 8
STEP_SECONDS: Final = 0.1
SPARE_DESCRIPTORS: Final = 200
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class Load:
    """A load that runs; `stop` ends it and tells how often it was played, and what was not refused."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    def stop(self) -> tuple[int, list[str]]:
        """How often, and the first of the oddities."""
        self._pipe.send("stop")
        if not self._pipe.poll(END_SECONDS):
            return 0, [f"the load did not stop within {END_SECONDS} s"]
        count, odd = self._pipe.recv()
        return count, odd


@contextmanager
def attacking(attack: Attack, stage: Stage) -> Iterator[Load]:
    """This attack goes on during the block: held by the hundred where it is slow, else repeated."""
    with _process(_hold if attack.hold is not None else _repeat, attack.section, attack.name, stage) as running:
        yield running


@contextmanager
def harmless(stage: Stage, pid: int, share: float) -> Iterator[Load]:
    """Honest requests go on during the block, as many as make the node spend this share of a core."""
    with _process(_ask, stage, pid, share) as running:
        yield running


@contextmanager
def _process(work: object, *arguments: object) -> Iterator[Load]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(*arguments, theirs), daemon=True)  # type: ignore[arg-type]
    process.start()
    theirs.close()
    try:
        ours.recv()
        yield Load(ours)
    finally:
        process.kill()
        process.join()


def _attack(section: str, name: str) -> Attack:
    # Functions of a table can't be sent to another process; their names can.
    from tests.campaigns.abuse.table import EVERYTHING

    return next(attack for attack in EVERYTHING if (attack.section, attack.name) == (section, name))


def _repeat(section: str, name: str, stage: Stage, pipe: Pipe) -> None:
    attack, count, odd = _attack(section, name), 0, list[str]()
    pipe.send(None)
    while not pipe.poll():
        try:
            attack.play(stage)
        except (NotRefused, OSError) as error:
            odd.append(f"{type(error).__name__}: {error}")
        count += 1
    pipe.send((count, odd[:3]))


def _hold(section: str, name: str, stage: Stage, pipe: Pipe) -> None:
    """Opens until as many are held as wanted; the node closes what it has had enough of."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(HELD, (hard if hard != resource.RLIM_INFINITY else HELD * 2) - SPARE_DESCRIPTORS)
    if soft < wanted + SPARE_DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted + SPARE_DESCRIPTORS, hard))
    attack, held, odd = _attack(section, name), list[socket.socket](), list[str]()
    hold = attack.hold
    assert hold is not None
    pipe.send(None)
    while not pipe.poll():
        if len(held) >= wanted:
            time.sleep(STEP_SECONDS)
            continue
        try:
            held.append(hold(stage))
        except OSError as error:
            odd.append(f"{type(error).__name__}: {error}")
            time.sleep(STEP_SECONDS)
    pipe.send((len(held), odd[:3]))
    for sock in held:
        sock.close()


def _ask(stage: Stage, pid: int, share: float, pipe: Pipe) -> None:
    """Requests over one connection, a few at a time, with a pause that follows the node's CPU."""
    request = b"GET /v1/codeq/tasks/none HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n\r\n"
    message = request % stage.tokens.producer.encode() * PIPELINED
    pause_seconds, count = 0.001, 0
    with contextlib.closing(stage.connect()) as sock:
        stream = sock.makefile("rb")
        pipe.send(None)
        looked_at, used = time.monotonic(), cpu_seconds(pid)
        while not pipe.poll(pause_seconds if pause_seconds > 0.0001 else 0):
            sock.sendall(message)
            for _ in range(PIPELINED):
                read_answer(stream)
            count += PIPELINED
            now = time.monotonic()
            if now - looked_at >= STEP_SECONDS:
                spent = cpu_seconds(pid)
                reached = (spent - used) / (now - looked_at)
                looked_at, used = now, spent
                pause_seconds = min(0.5, pause_seconds * (1.25 if reached > share else 0.8))
    pipe.send((count, []))
