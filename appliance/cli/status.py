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
DISK_NOT_TRUSTED: Final = 74
"""A write, a sync or the store itself failed in a way that makes every further word about durability a guess. Look at
the disk, run `codeq check`; do not restart blindly."""
TRY_AGAIN: Final = 75
"""Another process holds the data directory, or an address is in use: the same command may work later."""
CONFIGURATION: Final = 78
"""The configuration, or something it names, can't be used. A restart will not help."""

MEANINGS: Final = {
    OK: "done",
    FAILURE: "failed",
    USAGE: "wrong arguments",
    DISK_NOT_TRUSTED: "the disk can't be trusted",
    TRY_AGAIN: "busy, try again",
    CONFIGURATION: "wrong configuration",
}
