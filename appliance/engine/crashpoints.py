"""Named places where a test lets the process die, as a power cut would: at once and without cleaning up.

Owns the names, and the environment variable CODEQ_CRASH_POINT, `name:count`: the count-th arrival at that name ends the
process with SIGKILL. Without the variable `reach` is an empty function, bound once at import, and no place is passed
more often than once per group, start or request of an operator. Must not know what happens at the places.
"""

import os
import signal
from collections.abc import Callable
from typing import Final

from appliance.engine.tables import AUDIT, CONTROL, DEAD, IDEM, META, TABLE_NAMES

VARIABLE: Final = "CODEQ_CRASH_POINT"

# The committer, in the order of a group's life.
BEFORE_BEGIN: Final = "before-begin"
BEGUN: Final = "begun"
DELETED: Final = tuple(f"{name}-deleted" for name in TABLE_NAMES)
"""Rows of this table, by its number, have left it within the transaction: from bodies, a sweep; from ready, a claim."""
APPLIED: Final = tuple(f"{name}-applied" for name in TABLE_NAMES)
"""All rows of this table, by its number, are in the transaction; a name where a tenant or command is new."""
BEFORE_COMMIT: Final = "before-commit"
BEFORE_COMPLETION: Final = "before-completion"
AT_COMPLETION: Final = "at-completion"

# The loop.
BEFORE_HAND_OVER: Final = "before-hand-over"
COMMITTING: Final = "committing"
"""The loop runs on beside the commit of a group."""
DECIDED: Final = "decided"
BEFORE_ANSWERS: Final = "before-answers"
ANSWERED: Final = "answered"
SCANNED: Final = "scanned"
"""Rows were read in a row: at the start, and where a window is refilled."""

# The start, up to the end of one.
LOCKED: Final = "locked"
EMPTY_WRITTEN: Final = "empty-written"
EMPTY_NAMED: Final = "empty-named"
FILE_WHOLE: Final = "file-whole"
OPENED: Final = "opened"
LOADED: Final = "loaded"
LISTENING: Final = "listening"
READY: Final = "ready"
RELOADING: Final = "reloading"
RELOADED: Final = "reloaded"
DRAINING: Final = "draining"
DRAINED: Final = "drained"
STOPPED: Final = "stopped"

# The copy of a store.
COPY_BEGUN: Final = "copy-begun"
COPY_WRITTEN: Final = "copy-written"
COPY_VERIFIED: Final = "copy-verified"
COPY_NAMED: Final = "copy-named"

OF_THE_LOAD: Final = (
    *(BEFORE_BEGIN, BEGUN, *DELETED[: IDEM + 1], *APPLIED[: META + 1], BEFORE_COMMIT, BEFORE_COMPLETION, AT_COMPLETION),
    *(BEFORE_HAND_OVER, COMMITTING, DECIDED, BEFORE_ANSWERS, ANSWERED, SCANNED),
    *(DELETED[DEAD], APPLIED[DEAD], APPLIED[CONTROL], APPLIED[AUDIT]),
)
"""Reached again and again while a node serves, the last ones by what operators do. Counters, names and the mark are
never deleted; the other tables are for those who ask for more than tasks."""
OF_THE_FIRST_START: Final = (EMPTY_WRITTEN, EMPTY_NAMED)
"""Reached only where there is no store yet."""
OF_A_START: Final = (LOCKED, FILE_WHOLE, OPENED, LOADED, LISTENING, READY)
OF_A_RELOAD: Final = (RELOADING, RELOADED)
OF_A_STOP: Final = (DRAINING, DRAINED, STOPPED)
OF_A_COPY: Final = (COPY_BEGUN, COPY_WRITTEN, COPY_VERIFIED, COPY_NAMED)
NAMES: Final = (*OF_THE_LOAD, *OF_THE_FIRST_START, *OF_A_START, *OF_A_RELOAD, *OF_A_STOP, *OF_A_COPY)


def _pass_by(_name: str) -> None:
    """Nothing is armed."""


def armed(setting: str) -> Callable[[str], None]:
    """The `reach` for a value of the variable; ValueError where it is not `name:count` with a known name."""
    wanted, _, count = setting.partition(":")
    if wanted not in NAMES or not count.isdecimal() or int(count) < 1:
        raise ValueError(f"{VARIABLE}={setting!r}: expected name:count with a count from 1 and one of {NAMES}")
    left = int(count)

    def reach_armed(name: str) -> None:
        nonlocal left
        if name == wanted:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return reach_armed


reach: Final[Callable[[str], None]] = armed(os.environ[VARIABLE]) if VARIABLE in os.environ else _pass_by
