"""Logs to systemd's journal, with a priority and a field for everything that a line carries.

Owns the journal's native protocol and how a record becomes an entry. Keeping secrets out and the bound on how many
lines there are is `log`'s. A line that the journal can't take at once is left out and counted: the loop never waits for
a log. Extra fields are `CODEQ_` and their name, so `journalctl CODEQ_REASON=headers` finds what is looked for.
"""

import logging
import os
import re
import socket
from typing import Final

from appliance.log import TextFormatter, clean, extra_fields

JOURNAL_SOCKET: Final = "/run/systemd/journal/socket"
PRIORITIES: Final = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
    (logging.NOTSET, 7),
)
"""From the standard library's levels to those of syslog(3)."""

_WORD_BORDER: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def stderr_is_journal(stream: str, descriptor: int = 2) -> bool:
    """Whether `descriptor` leads to the journal, as JOURNAL_STREAM (`device:inode`) claims."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"


def entry(fields: dict[str, str]) -> bytes:
    """One datagram of the native protocol."""
    return b"".join(_field(name, value.encode("utf-8", "replace")) for name, value in fields.items())


def _field(name: str, value: bytes) -> bytes:
    if b"\n" not in value:
        return b"%b=%b\n" % (name.encode(), value)
    return b"%b\n%b%b\n" % (name.encode(), len(value).to_bytes(8, "little"), value)


class JournalFormatter(TextFormatter):
    """The message with its fields, which the journal shows; level, time and logger are fields of their own."""

    def heading(self, record: logging.LogRecord) -> str:
        """Nothing: the journal has it."""
        return ""


class JournalHandler(logging.Handler):
    """Sends records to the journal at `path`. Raises OSError when it is not there."""

    def __init__(self, path: str = JOURNAL_SOCKET) -> None:
        super().__init__()
        self.lost = 0
        """Entries that the journal could not take; the next one that it takes says so in CODEQ_LOST."""
        self._told = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._socket.connect(path)
        self.setFormatter(JournalFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; what can't be sent is counted."""
        try:
            self._socket.send(entry(self._fields(record)))
            self._told = self.lost
        except OSError:
            self.lost += 1
        except Exception:  # noqa: BLE001  # a record that can't be formatted must not end what logged it
            self.handleError(record)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()

    def _fields(self, record: logging.LogRecord) -> dict[str, str]:
        fields = {
            "MESSAGE": self.format(record),
            "PRIORITY": str(next(number for level, number in PRIORITIES if record.levelno >= level)),
            "SYSLOG_IDENTIFIER": "codeq",
            "LOGGER": record.name,
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
        }
        for name, value in extra_fields(record).items():
            fields[f"CODEQ_{_WORD_BORDER.sub('_', name).upper()}"] = str(clean(value))
        if self.lost > self._told:
            fields["CODEQ_LOST"] = str(self.lost - self._told)
        return fields
