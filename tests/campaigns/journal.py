"""The record of a run: what a process did to its files, and what its clients were told, in one order.

Owns the format that the shim writes and the notes that clients add to it. Both append to one file, each record with one
call, so a note lies behind every write and flush that had happened when its writer heard of them. Must not know what a
file system may do with writes (see crash_states).
"""

import json
import os
import struct
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

_HEAD: Final = struct.Struct("<IBBHIIQQ")
_MAGIC: Final = 0x51454443

DIRECTORY: Final = 0xFFFFFFFF
"""In place of a file's number: the record is about a directory, whose path is the content."""


class Kind(IntEnum):
    """What a record tells."""

    OPENED = 1
    WRITTEN = 2
    SYNC_BEGIN = 3
    SYNC_END = 4
    TRUNCATED = 5
    RENAMED = 6
    UNLINKED = 7
    MADE_DIRECTORY = 8
    REMOVED_DIRECTORY = 9
    MAPPED = 10
    UNKNOWN_CALL = 11
    NOTE = 100


class TornRecordError(ValueError):
    """A record was cut short, and others follow: the run cannot be read any further."""


class Record(NamedTuple):
    """One record. `offset` is a place or a size in bytes; `content` is data, a path, or a note's JSON.

    `flag`: OPENED: the file was made; WRITTEN: it is flushed by itself, and its SYNC_END has its serial; SYNC_END: it
    failed. `process` is the low half of a process's number; numbers of files and serials are each process's own.
    """

    kind: Kind
    flag: int
    file: int
    serial: int
    offset: int
    content: bytes
    process: int = 0

    @property
    def path(self) -> str:
        """The content where it is a path, relative to the directory that is watched."""
        return os.fsdecode(self.content)

    @property
    def note(self) -> dict[str, Any]:
        """The content of a NOTE."""
        found: dict[str, Any] = json.loads(self.content)
        return found


class Notes:
    """The clients' side of the record."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def add(self, what: str, **facts: Any) -> None:
        """Note something that is so now, at the latest."""
        content = json.dumps({"what": what, **facts}).encode()
        record = _HEAD.pack(_MAGIC, Kind.NOTE, 0, 0, 0, 0, 0, len(content)) + content
        if os.write(self._file, record) != len(record):
            raise OSError("a note was cut short")

    def close(self) -> None:
        """End it."""
        os.close(self._file)


def read(path: Path) -> list[Record]:
    """All records of a run. A record that was cut off by the end of its process ends them.

    Raises TornRecordError where another process went on behind one.
    """
    data = path.read_bytes()
    records: list[Record] = []
    at = 0
    while at + _HEAD.size <= len(data):
        magic, kind, flag, process, file, serial, offset, length = _HEAD.unpack_from(data, at)
        if magic != _MAGIC:
            raise TornRecordError(f"{path}: no record begins at byte {at}")
        at += _HEAD.size
        if at + length > len(data):
            break
        records.append(Record(Kind(kind), flag, file, serial, offset, data[at : at + length], process))
        at += length
    return records
