"""What the producers of both shells share: options, defaults, and the core that follows from them.

Owns the sources of time and randomness that the core itself must not have.
"""

import datetime
import os
import random
import time
from collections.abc import Sequence
from typing import Final, TypedDict

from codeq._core.keys import Keys
from codeq._core.producing import Producing
from codeq._dial import Dialer
from codeq.errors import CodeqError

IN_FLIGHT_MAX: Final = 4_096
"""Creates under way: some rounds of the largest batches, so that a commit never waits for the next ones."""
IN_FLIGHT_BYTES_MAX: Final = 32 * 1024 * 1024
TIMEOUT_SECONDS: Final = 30.0


class Options(TypedDict, total=False):
    """The options of a create: the fields of `NewTask` beside the command and the payload."""

    priority: int
    max_attempts: int
    webhook: str
    idempotency_key: str
    run_at: datetime.datetime | None
    delay_seconds: int
    trace_parent: str
    trace_state: str


def make_producing(dialer: Dialer, in_flight_max: int, in_flight_bytes_max: int) -> Producing:
    """The core of a producer."""
    if in_flight_max < 1 or in_flight_bytes_max < 1:
        raise ValueError("in_flight_max and in_flight_bytes_max are at least 1")
    return Producing(
        dialer.targets,
        token_changes=dialer.token_changes,
        keys=Keys(lambda: time.time_ns() // 1_000_000, os.urandom),
        jitter=random.random,
        count_max=in_flight_max,
        bytes_max=in_flight_bytes_max,
    )


def first_error(answers: Sequence[str | CodeqError]) -> list[str]:
    """The ids, if there is no error among the answers; else the first error is raised."""
    ids: list[str] = []
    for answer in answers:
        if isinstance(answer, CodeqError):
            raise answer
        ids.append(answer)
    return ids
