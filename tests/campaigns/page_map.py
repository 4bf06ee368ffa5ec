"""What every byte of an LMDB data file is for.

Owns the layout of pages, as LMDB 0.9 writes them: enough to tell rows from the structure that finds them, and both from
what nobody reads. Must not know tables or what rows mean. For sound files only.
"""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

META: Final = "meta page"
STRUCTURE: Final = "structure"
KEY: Final = "key"
DATA: Final = "data"
FREE: Final = "free page"
FREE_LIST: Final = "free list"
UNUSED: Final = "unused"
KINDS: Final = (DATA, KEY, STRUCTURE, META, FREE, FREE_LIST, UNUSED)
"""Content of rows; their keys; heads of pages and rows, branches, and the records of tables; the used part of the two
meta pages; pages that no table uses; those that list them; and what is left over within pages."""

PAGE_BYTES: Final = 4096
_HEAD: Final = struct.Struct("<QHHHH")
_NODE: Final = struct.Struct("<HHHH")
_META_BYTES: Final = 136
_ROOTS: Final = (16 + 24 + 40, 16 + 24 + 48 + 40)
"""Where a meta page has the roots of the free list and of the main table."""
_TRANSACTION_AT: Final = 16 + 24 + 96 + 8
_BRANCH, _LEAF, _OVERFLOW = 0x01, 0x02, 0x04
_BIG, _TABLE = 0x01, 0x02
_NO_PAGE: Final = (1 << 64) - 1
_TABLE_ROOT_AT: Final = 40


class Range(NamedTuple):
    """Bytes from `low` to before `high` of the file."""

    low: int
    high: int


class PageMap:
    """The bytes of a data file by their kind."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.ranges: dict[str, list[Range]] = {kind: [] for kind in KINDS}
        self._seen = {0, 1}
        newest = max((0, 1), key=lambda page: _u64(data, page * PAGE_BYTES + _TRANSACTION_AT))
        for page in (0, 1):
            self._add(META, page * PAGE_BYTES, page * PAGE_BYTES + 16 + _META_BYTES)
        free_root, main_root = (_u64(data, newest * PAGE_BYTES + at) for at in _ROOTS)
        self._walk(free_root, listing=True)
        self._walk(main_root, listing=False)
        for page in range(len(data) // PAGE_BYTES):
            if page not in self._seen:
                self._add(FREE, page * PAGE_BYTES, (page + 1) * PAGE_BYTES)
        self._add_rest()

    def bytes_of(self, kind: str) -> int:
        """How many bytes are of a kind."""
        return sum(high - low for low, high in self.ranges[kind])

    def byte(self, kind: str, number: int) -> int:
        """The place of the byte with this number among those of a kind."""
        for low, high in self.ranges[kind]:
            if number < high - low:
                return low + number
            number -= high - low
        raise IndexError(number)

    def _add(self, kind: str, low: int, high: int) -> None:
        if high > low:
            self.ranges[kind].append(Range(low, high))

    def _add_rest(self) -> None:
        at = 0
        for low, high in sorted(each for ranges in self.ranges.values() for each in ranges):
            self._add(UNUSED, at, low)
            at = high
        self._add(UNUSED, at, len(self._data))

    def _walk(self, root: int, *, listing: bool) -> None:
        todo = [] if root == _NO_PAGE else [root]
        while todo:
            page = todo.pop()
            self._seen.add(page)
            todo += list(self._page(page, listing=listing))

    def _page(self, page: int, *, listing: bool) -> Iterator[int]:
        """Map one page; the pages that it leads to."""
        data, start = self._data, page * PAGE_BYTES
        _, _, flags, lower, _ = _HEAD.unpack_from(data, start)
        if listing:
            self._add(FREE_LIST, start, start + PAGE_BYTES)
        else:
            self._add(STRUCTURE, start, start + lower)
        for at in range(16, lower, 2):
            node = start + struct.unpack_from("<H", data, start + at)[0]
            if flags & _BRANCH:
                yield self._branch(node, listing=listing)
            else:
                yield from self._leaf(node, listing=listing)

    def _branch(self, node: int, *, listing: bool) -> int:
        low, high, top, key_bytes = _NODE.unpack_from(self._data, node)
        if not listing:
            self._add(STRUCTURE, node, node + 8 + key_bytes)
        return int(low | high << 16 | top << 32)

    def _leaf(self, node: int, *, listing: bool) -> Iterator[int]:
        data = self._data
        low, high, flags, key_bytes = _NODE.unpack_from(data, node)
        size = low | high << 16
        value = node + 8 + key_bytes
        if not listing:
            self._add(STRUCTURE, node, node + 8)
            self._add(KEY, node + 8, value)
        if flags & _BIG:
            first = _u64(data, value)
            self._add(FREE_LIST if listing else STRUCTURE, value, value + 8)
            self._overflow(first, size, listing=listing)
        elif flags & _TABLE:
            self._add(STRUCTURE, value, value + size)
            root = _u64(data, value + _TABLE_ROOT_AT)
            if root != _NO_PAGE:
                yield root
        elif not listing:
            self._add(DATA, value, value + size)

    def _overflow(self, first: int, size: int, *, listing: bool) -> None:
        pages = -(-(16 + size) // PAGE_BYTES)
        self._seen.update(range(first, first + pages))
        start = first * PAGE_BYTES
        if listing:
            self._add(FREE_LIST, start, start + pages * PAGE_BYTES)
            return
        self._add(STRUCTURE, start, start + 16)
        self._add(DATA, start + 16, start + 16 + size)


def _u64(data: bytes, at: int) -> int:
    found: int = struct.unpack_from("<Q", data, at)[0]
    return found
