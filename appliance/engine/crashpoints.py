"""Named places where a test lets the process die, as a power cut would: at once and without cleaning up.

Owns the environment variable CODEQ_CRASH_POINT, `name:count`: the count-th arrival at that name ends the process with
SIGKILL. Without the variable `reach` is an empty function, bound once at import. Must not know what happens at the
places.
"""

import os
import signal
from collections.abc import Callable
from typing import Final

VARIABLE: Final = "CODEQ_CRASH_POINT"

BEFORE_BEGIN: Final = "before-begin"
BEFORE_COMMIT: Final = "before-commit"
BEFORE_COMPLETION: Final = "before-completion"
AT_COMPLETION: Final = "at-completion"
NAMES: Final = (BEFORE_BEGIN, BEFORE_COMMIT, BEFORE_COMPLETION, AT_COMPLETION)


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
