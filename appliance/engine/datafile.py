"""The head of an LMDB data file, judged before LMDB maps it.

Owns the layout of the two meta pages, as far as it takes to tell a sound file from a foreign, a newer or a damaged one.
LMDB itself answers most of these with one short error, and a file that is shorter than it says with SIGBUS. Must not
know tables or rows.
"""

import os
import struct
from pathlib import Path
from typing import Final, NamedTuple

from appliance.engine.faults import DiskNotTrusted, StoreRefused

DATA_NAME: Final = "data.mdb"

_MAGIC: Final = 0xBEEFC0DE
_DATA_VERSION: Final = 1
_META_FLAG: Final = 0x08
_HEAD_BYTES: Final = 152
# Page header: number, pad, flags, two bounds. Meta: magic, version, address, map size, then for the free list and for
# the main table each: pad (in the first one the page size), flags, depth, four counts, root; last the newest page and
# the transaction.
_META: Final = struct.Struct("=QHHI IIQQ IHHQQQQQ IHHQQQQQ QQ")
assert _META.size == _HEAD_BYTES

_LOOKS_MAX: Final = 20
"""Looks at two pages that a node may be writing. One look takes microseconds, a commit much longer."""

_PAGE_BYTES_MIN: Final = 256
_PAGE_BYTES_MAX: Final = 0x8000

SHORT_TAIL_BYTES_MAX: Final = 64 << 20
"""LMDB never writes a page that one transaction both takes from the end of the file and frees, so a sound file may be
shorter than its meta page says, by no more than what one group can touch. Anything beyond that has been cut off."""


class Head(NamedTuple):
    """What the newest meta page says: page size in bytes, number of the last page, number of the transaction."""

    page_bytes: int
    last_page: int
    transaction: int

    @property
    def bytes_expected(self) -> int:
        """How long the file is when all of its pages have been written."""
        return (self.last_page + 1) * self.page_bytes


def inspect(path: Path) -> Head:
    """Judge an existing data file.

    Raises DiskNotTrusted where it was a data file and is damaged, StoreRefused where it is something else or from
    another version of LMDB.
    """
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            head, second = _meta_pages(path, file.fileno())
    except (PermissionError, IsADirectoryError) as error:
        raise StoreRefused(f"cannot open {path}: {error.strerror}") from error
    except OSError as error:
        raise DiskNotTrusted(f"cannot read {path}: {error.strerror}") from error
    newest = second if second.transaction > head.transaction else head
    if newest.bytes_expected - size > SHORT_TAIL_BYTES_MAX:
        raise DiskNotTrusted(f"{path} is damaged: {size} bytes long where {newest.bytes_expected} are in use")
    return newest


def fill_tail(path: Path, head: Head) -> None:
    """Give the file the length that its head tells, so that a lost page is empty for LMDB and reading it no SIGBUS.

    The bytes are a hole: they take no disk space. Only for the holder of the directory's lock. Raises DiskNotTrusted.
    """
    try:
        if path.stat().st_size < head.bytes_expected:
            os.truncate(path, head.bytes_expected)
    except OSError as error:
        raise DiskNotTrusted(f"cannot set the length of {path}: {error.strerror}") from error


def _meta_pages(path: Path, file: int) -> tuple[Head, Head]:
    """Both meta pages, as they are at one moment: a node may be writing them in turn."""
    for _ in range(_LOOKS_MAX):
        first = _meta_page(path, os.pread(file, _HEAD_BYTES, 0), 0)
        both = os.pread(file, first.page_bytes + _HEAD_BYTES, 0)
        first = _meta_page(path, both[:_HEAD_BYTES], 0)
        second = _meta_page(path, both[first.page_bytes :], 1)
        if second.page_bytes != first.page_bytes:
            raise DiskNotTrusted(f"{path} is damaged: its two meta pages disagree about the page size")
        if _alternate(first.transaction, second.transaction):
            return first, second
    # One of them would be taken for the newest, and the wrong one turns the store back without a trace.
    raise DiskNotTrusted(
        f"{path} is damaged: its meta pages are of the transactions {first.transaction} and {second.transaction}, "
        "which do not follow each other; restore it from a copy"
    )


def _alternate(first: int, second: int) -> bool:
    """Whether the two meta pages can have these transactions: each is written every other time, the second first.

    A number that is off by two can pass for the one before, which nothing in the file contradicts.
    """
    return first == second == 0 or (abs(first - second) == 1 and first % 2 == 0)


def _meta_page(path: Path, page: bytes, number: int) -> Head:
    if len(page) < _HEAD_BYTES or not any(page):
        raise DiskNotTrusted(f"{path} is damaged: meta page {number} is cut off or empty; restore it from a copy")
    fields = _META.unpack(page)
    flags, magic, version, page_bytes, last_page, transaction = (fields[at] for at in (2, 4, 5, 8, -2, -1))
    if magic != _MAGIC:
        if number == 0:
            raise StoreRefused(f"{path} is not a data file of this program")
        raise DiskNotTrusted(f"{path} is damaged: meta page {number} is overwritten; restore it from a copy")
    if version != _DATA_VERSION:
        raise StoreRefused(f"{path} has LMDB data version {version}, this program reads version {_DATA_VERSION}")
    sane = _PAGE_BYTES_MIN <= page_bytes <= _PAGE_BYTES_MAX and page_bytes & (page_bytes - 1) == 0
    if not (flags & _META_FLAG and sane):
        raise DiskNotTrusted(f"{path} is damaged: meta page {number} makes no sense; restore it from a copy")
    return Head(page_bytes, last_page, transaction)
