"""Inputs for one target, made by bending seeds; and the judgement of each: no crash, no hang, no growth.

Owns mutation and the bounds. An input comes from the seed of the run and its number alone. Inputs that a target finds
worth keeping are not known here: a guided run (see `guided`) is what grows the corpus.
"""

import faulthandler
import gc
import os
import time
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from tests.fuzz.targets import Target

CORPUS: Final = Path(__file__).parent / "corpus"
INPUT_BYTES_MAX: Final = 4_096
INPUT_SECONDS_MAX: Final = 1.0
"""Of CPU time, for one input: hundreds of times what any needs."""
HANG_SECONDS: Final = 120.0
"""The process ends with a traceback where a batch takes so long."""
GROWTH_BYTES_MAX: Final = 64 << 20
"""Between the warm-up and the end."""
BATCH: Final = 200
WARM_INPUTS: Final = 5_000
BENDS_MAX: Final = 4
EDGES: Final = (0, 1, 9, 10, 13, 32, 34, 44, 46, 58, 59, 91, 93, 123, 125, 127, 128, 192, 239, 254, 255)


class Found(NamedTuple):
    """A finding: the input's number, the input, and what was wrong."""

    number: int
    data: bytes
    wrong: str


class Result(NamedTuple):
    """What a run did."""

    inputs: int
    findings: list[Found]
    slowest_seconds: float
    growth_bytes: int


def corpus(target: Target) -> list[bytes]:
    """The seeds of a target, and what is kept for it in the repository."""
    folder = CORPUS / target.name
    kept = sorted(folder.iterdir()) if folder.is_dir() else []
    return [*target.seeds, *(path.read_bytes() for path in kept)]


def make(pool: list[bytes], seed: int, number: int) -> bytes:
    """One input: a seed, bent in a few places."""
    rng = Random(seed * 1_000_003 + number)
    data = bytearray(rng.choice(pool))
    for _ in range(rng.randint(1, BENDS_MAX)):
        _bend(data, rng, pool)
    return bytes(data[:INPUT_BYTES_MAX])


def _bend(data: bytearray, rng: Random, pool: list[bytes]) -> None:
    at = rng.randint(0, len(data))
    way = rng.randrange(7)
    if way == 0 and data:
        data[at % len(data)] ^= 1 << rng.randrange(8)
    elif way == 1 and data:
        data[at % len(data)] = rng.choice(EDGES)
    elif way == 2:
        data[at:at] = bytes([rng.choice(EDGES)] * rng.choice((1, 1, 1, 2, 8, 300)))
    elif way == 3:
        del data[at : at + rng.choice((1, 1, 2, 8, 64))]
    elif way == 4:
        piece = data[at : at + rng.choice((1, 4, 16, 64))]
        data[at:at] = piece * rng.choice((1, 2, 20))
    elif way == 5:
        other = rng.choice(pool)
        start = rng.randint(0, len(other))
        data[at : at + rng.choice((0, 4, 64))] = other[start : start + rng.choice((4, 16, 64, 4_096))]
    else:
        data[at:at] = rng.randbytes(rng.choice((1, 2, 4, 16)))


def judge(target: Target, data: bytes) -> tuple[str, float]:
    """What is wrong with one input, and its CPU seconds."""
    began = time.thread_time()
    wrong = ""
    try:
        target.run(data)
    except Exception as error:  # noqa: BLE001  # whatever comes out is the finding
        wrong = f"{type(error).__name__}: {str(error)[:300]}"
    seconds = time.thread_time() - began
    if not wrong and seconds > INPUT_SECONDS_MAX:
        wrong = f"took {seconds:.1f} s"
    return wrong, seconds


def fuzz(target: Target, seed: int, start: int, step: int, *, seconds: float, inputs: int, findings_max: int) -> Result:
    """Inputs `start`, `start + step` … until there were so many, or the time is up."""
    pool = corpus(target)
    findings: list[Found] = []
    slowest, number, count, warm_bytes = 0.0, start, 0, 0
    deadline = time.monotonic() + seconds
    while count < inputs and time.monotonic() < deadline and len(findings) < findings_max:
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        for _ in range(min(BATCH, inputs - count)):
            data = make(pool, seed, number)
            wrong, took = judge(target, data)
            slowest = max(slowest, took)
            if wrong:
                findings.append(Found(number, data, wrong))
            number += step
            count += 1
        if not warm_bytes and count >= WARM_INPUTS:
            warm_bytes = resident_bytes()
    faulthandler.cancel_dump_traceback_later()
    growth = resident_bytes() - warm_bytes if warm_bytes else 0
    if growth > GROWTH_BYTES_MAX:
        findings.append(Found(-1, b"", f"memory grew by {growth >> 20} MiB over {count - WARM_INPUTS:,} inputs"))
    return Result(count, findings, slowest, growth)


def resident_bytes() -> int:
    """Of this process, without garbage."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
