"""The cost of a process, measured on this one."""

import os
import threading
import time

from appliance.bench.proc import anonymous_bytes, cpu_seconds

SPENT_SECONDS = 0.15
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


def test_the_time_of_every_thread_counts() -> None:
    def spend() -> None:
        until = time.thread_time() + SPENT_SECONDS
        while time.thread_time() < until:
            pass

    before = cpu_seconds(os.getpid())
    thread = threading.Thread(target=spend)
    thread.start()
    thread.join()
    assert cpu_seconds(os.getpid()) - before > SPENT_SECONDS - 2 * TICK_SECONDS


def test_memory_that_is_written_counts() -> None:
    before = anonymous_bytes(os.getpid())
    held = bytearray(b"x") * (64 << 20)
    assert anonymous_bytes(os.getpid()) - before > 60 << 20
    del held
