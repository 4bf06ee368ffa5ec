"""What both shells drive: the face of a role's core that a connection sees.

Owns the shape only. A shell feeds it events and time, writes what it says, and reconnects until it is finished.
"""

import logging
from typing import Any, Final, Protocol

from codeq._core.link import Link

log: Final = logging.getLogger("codeq")


class Core(Protocol):
    """A producer's or a worker's core."""

    link: Link
    method: str
    deserialize: Any

    @property
    def finished(self) -> bool:
        """No connection is needed any more."""
        ...

    def connecting(self, now: float, token: str) -> None:
        """A connection begins."""
        ...

    def next_message(self, now: float) -> bytes | None:
        """The next message to write, or None while there is none."""
        ...

    def receive(self, now: float, event: Any) -> None:
        """An event of the server."""
        ...

    def ended(self, now: float, status: str, details: str, leader: str) -> None:
        """The connection is over."""
        ...

    def abort(self) -> None:
        """End now."""
        ...

    def tick(self, now: float) -> None:
        """Do what time brings."""
        ...

    def wake_at(self) -> float | None:
        """When `tick` has something to do, or None."""
        ...


def report_end(core: Core, target: str, status: str, details: str) -> None:
    """Log the end of a connection; a warning for the first in a row only. No token is in the details.

    Called before the core knows of the end.
    """
    if status == "OK":
        level = logging.DEBUG
    elif core.link.trouble is None:
        level = logging.WARNING
    else:
        level = logging.INFO
    log.log(level, "the stream to %s ended: %s: %s", target, status, details[:500])
