"""The cost of a process, measured on this one."""

import os
import subprocess
import sys
import threading
import time

from appliance.bench.proc import IdleSampler, anonymous_bytes, cpu_seconds, thread_times

SPENT_SECONDS = 0.15
SETTLE_SECONDS = 20
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


def test_the_times_of_threads_add_up_to_those_of_the_process() -> None:
    spent = sum(each.ran for each in thread_times(os.getpid()).values())
    assert 0 < spent <= cpu_seconds(os.getpid()) + 10 * TICK_SECONDS


def test_a_process_that_waits_for_its_peers_is_idle_and_one_that_computes_is_not() -> None:
    programs = {
        "import select; select.epoll().poll()": 0.0,
        "while True: pass": 1.0,
        "import threading; threading.Event().wait()": 1.0,
    }
    for program, share in programs.items():
        with subprocess.Popen([sys.executable, "-c", program]) as process:
            try:
                sampler = IdleSampler(process.pid)
                deadline = time.monotonic() + SETTLE_SECONDS
                while sampler.busy_share != share and time.monotonic() < deadline:
                    sampler.reset()
                    for _ in range(5):
                        sampler.look()
                        time.sleep(TICK_SECONDS)
                assert sampler.busy_share == share
            finally:
                process.kill()


def test_a_process_that_nobody_may_look_at_has_no_share() -> None:
    sampler = IdleSampler(1 << 30)
    sampler.look()
    assert sampler.busy_share is None
