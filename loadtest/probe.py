"""A probe that feels a loop's stalls from outside: a process of its own that asks for something trivial all the time.

Owns that process. A request that needs neither store nor commit is answered at once, unless the server's loop is held
up; so the slowest answer bounds the longest stall from above, with the scheduling of two processes on top.
"""

import multiprocessing
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection as Pipe
from typing import Final

from appliance.bench.servers import Address
from loadtest.client import Connection

INTERVAL_SECONDS: Final = 0.002
"""Between an answer and the next request: a stall of 20 ms is met for certain, and the probe costs little."""
END_SECONDS: Final = 30

_REQUEST: Final = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Probe:
    """What a probe felt, once its block has ended: the slowest answer in ms, and how many there were."""

    def __init__(self) -> None:
        self.max_ms = 0.0
        self.count = 0


@contextmanager
def probing(address: Address) -> Iterator[Probe]:
    """Probe a server during this block."""
    # A fresh interpreter: a fork would share this one's sockets and signal handlers.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_ask, args=(address, theirs), daemon=True)
    process.start()
    probe = Probe()
    try:
        ours.recv()
        yield probe
        ours.send(None)
        probe.max_ms, probe.count = ours.recv()
        process.join(END_SECONDS)
    finally:
        process.kill()
        process.join()


def _ask(address: Address, pipe: Pipe) -> None:
    """Ask until told to stop, then tell. Runs in the process of the probe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    slowest_seconds, count = 0.0, 0
    with Connection(address) as connection:
        connection.exchange(_REQUEST)
        pipe.send(None)
        while not pipe.poll(INTERVAL_SECONDS):
            began = time.perf_counter()
            connection.exchange(_REQUEST)
            slowest_seconds = max(slowest_seconds, time.perf_counter() - began)
            count += 1
    pipe.send((slowest_seconds * 1000, count))
