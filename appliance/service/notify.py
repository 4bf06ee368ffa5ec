"""Words to the service manager: ready, reloading, stopping, a line of status, and the watchdog's food.

Owns the datagram protocol of sd_notify(3) and taking its variables out of the environment, so that no child process
speaks for the node. Must not know when each word is due. Without a manager every call does nothing.
"""

import logging
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final, Self

log = logging.getLogger("codeq.service")

SEND_SECONDS_MAX: Final = 1.0
"""The manager reads at once; one that doesn't may hold up the loop this long, and loses the word."""
STATUS_CHARS_MAX: Final = 200
_NS_PER_US: Final = 1_000


class Notifier:
    """Speaks to the manager's socket at `address` (empty: there is no manager)."""

    __slots__ = ("_failed", "_socket", "watchdog_seconds")

    def __init__(self, address: str, watchdog_seconds: float = 0.0) -> None:
        self.watchdog_seconds = watchdog_seconds
        """How long the manager waits for `alive` before it ends the process; 0: for ever."""
        self._failed = False
        self._socket = _connected(address) if address else None

    @classmethod
    def taken_from(cls, environ: MutableMapping[str, str], pid: int) -> Self:
        """The notifier that `environ` names, whose variables are removed from it.

        A watchdog meant for another process than `pid` is not ours to feed.
        """
        address = environ.pop("NOTIFY_SOCKET", "")
        interval_us = environ.pop("WATCHDOG_USEC", "")
        watched = environ.pop("WATCHDOG_PID", str(pid))
        known = interval_us.isascii() and interval_us.isdigit() and watched == str(pid)
        return cls(address, int(interval_us) / 1e6 if known else 0.0)

    @property
    def enabled(self) -> bool:
        """Whether anybody listens."""
        return self._socket is not None

    def ready(self) -> None:
        """The node serves: at the start, and again after `reloading`."""
        self._send("READY=1")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // _NS_PER_US}")

    def stopping(self, seconds: float) -> None:
        """The node drains, and may take up to `seconds` whatever the manager's own limit is."""
        self._send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def extend(self, seconds: float, status: str) -> None:
        """The start goes on with what `status` says, and may take `seconds` from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}", _status(status))

    def status(self, text: str) -> None:
        """One line for people."""
        self._send(_status(text))

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Say nothing more. Harmless when repeated."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.send("\n".join(lines).encode())
        except OSError as error:
            if not self._failed:
                self._failed = True
                log.warning("the service manager could not be told %s: %s", lines[0], error)


def _connected(address: str) -> socket.socket | None:
    if address[0] not in "/@":
        log.warning("NOTIFY_SOCKET is of a kind that is not supported; the service manager hears nothing")
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    sock.settimeout(SEND_SECONDS_MAX)
    try:
        sock.connect("\0" + address[1:] if address[0] == "@" else address)
    except OSError as error:
        sock.close()
        log.warning("the service manager can't be reached: %s", os.strerror(error.errno or 0))
        return None
    return sock


def _status(text: str) -> str:
    return "STATUS=" + " ".join(text.split())[:STATUS_CHARS_MAX]
