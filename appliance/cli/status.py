"""The exit statuses of `codeq`: the one list, for people, scripts and service managers.

Must not know what leads to them. The numbers from 64 up are those of sysexits.h, so a service manager's rules for them
(do not restart on 74 and 78) read as usual.
"""

from typing import Final

OK: Final = 0
FAILURE: Final = 1
"""The command ran and found what it looked for wanting, or could not do it: damage found by `check`, a bad key."""
USAGE: Final = 2
"""The arguments make no sense."""
NOT_THERE: Final = 66
"""What was asked for is not there: an unknown task or queue, no task to claim, no result yet."""
DISK_NOT_TRUSTED: Final = 74
"""A write, a sync or the store itself failed in a way that makes every further word about durability a guess. Look at
the disk, run `codeq check`; do not restart blindly."""
TRY_AGAIN: Final = 75
"""Another process holds the data directory, an address is in use, or a node can't be reached or is busy: the same
command may work later."""
NOT_ALLOWED: Final = 77
"""The token is missing, wrong or expired, or does not allow this."""
CONFIGURATION: Final = 78
"""The configuration, or something it names, can't be used. A restart will not help."""

MEANINGS: Final = {
    OK: "done",
    FAILURE: "failed",
    USAGE: "wrong arguments",
    NOT_THERE: "not there",
    DISK_NOT_TRUSTED: "the disk can't be trusted",
    TRY_AGAIN: "busy or not reachable, try again",
    NOT_ALLOWED: "not allowed",
    CONFIGURATION: "wrong configuration",
}
