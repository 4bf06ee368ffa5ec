"""What a power cut may leave of the files of a recorded run.

Owns the model of a file system: what a completed flush covers is on the disk; of everything else each piece is there or
not, on its own. A flush of a file covers its content and size, one of a directory its names. Names of one directory
change in order. A write through a synchronous descriptor covers itself alone. Must not know what the files hold.

A state is a moment and a choice among what was not flushed then. It is given by three values, so it can be made again.
"""

import bisect
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from tests.campaigns.journal import DIRECTORY, Kind, Record

NEVER: Final = 1 << 62

ALL: Final = "all"
NOTHING: Final = "nothing"
ALONE: Final = "alone"
MISSING: Final = "missing"
RANDOM: Final = "random"
TORN: Final = "torn"
CHOICES: Final = (ALL, NOTHING, ALONE, MISSING, RANDOM, TORN)
"""What is kept of the pieces that were not flushed: all of them, none, one alone, all but one, any, or all before the
last write and the beginning of that."""

LOOSE_RECORDS: Final = 20
"""Records in which to look for a change that waits for its flush: a commit is about ten."""
SECTOR_BYTES: Final = 512
PAGE_BYTES: Final = 4096


class State(NamedTuple):
    """Which state: the power is cut before the record of this number; `seed` makes the choice of this kind."""

    position: int
    choice: str
    seed: int

    def __str__(self) -> str:
        return ":".join(map(str, self))

    @classmethod
    def parse(cls, text: str) -> "State":
        """The state that is written so."""
        position, choice, seed = text.split(":")
        return cls(int(position), choice, int(seed))


class _Change(NamedTuple):
    """`data` at an offset, by the record of that number; None: the file gets this size."""

    number: int
    offset: int
    data: bytes | None


class _Piece(NamedTuple):
    file: "_File"
    number: int
    low: int
    high: int


class _File:
    """A file: its content at the start, and what was done to it."""

    def __init__(self, content: bytes = b"") -> None:
        self.base = content
        self.changes: list[_Change] = []
        self._settled = bytearray(content)
        self._count = 0
        self._position = 0

    def settle(self, position: int, durable_at: list[int]) -> int:
        """Apply all changes up to the first that is not on the disk; its place. Positions should only grow."""
        if position < self._position:
            self._settled, self._count = bytearray(self.base), 0
        self._position = position
        while self._count < len(self.changes):
            change = self.changes[self._count]
            if change.number >= position or durable_at[change.number] >= position:
                break
            _apply(self._settled, change, 0, NEVER)
            self._count += 1
        return self._count

    def content(self) -> bytearray:
        """A copy of what is settled."""
        return bytearray(self._settled)


class _Directory:
    """A directory: what it holds at the start, and each change of names as it was made."""

    def __init__(self) -> None:
        self.base: dict[str, _File | _Directory] = {}
        self.now: dict[str, _File | _Directory] = {}
        self.changes: list[tuple[int, dict[str, _File | _Directory | None]]] = []

    def change(self, index: int, names: "dict[str, _File | _Directory | None]") -> None:
        self.changes.append((index, names))
        _rename(self.now, names)


def _rename(into: "dict[str, _File | _Directory]", names: "dict[str, _File | _Directory | None]") -> None:
    for name, node in names.items():
        if node is None:
            into.pop(name, None)
        else:
            into[name] = node


_Key = tuple[int, int]
"""A process, and a number of its own."""

Tree = dict[str, bytes | None]
"""A tree of files by path; None for a directory."""


def read_tree(root: Path) -> Tree:
    """What is below a directory."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
        if path.is_file() or path.is_dir()
    }


def write_tree(root: Path, tree: Tree) -> None:
    """Make these files below an empty directory."""
    for name, content in sorted(tree.items()):
        path = root / name
        if content is None:
            path.mkdir(mode=0o700)
        else:
            path.write_bytes(content)
            path.chmod(0o600)


class Timeline:
    """A recorded run, and every state that it may have left. Raises ValueError for a run that cannot be judged."""

    def __init__(self, base: Tree, records: list[Record]) -> None:
        self.records = records
        self._root = _Directory()
        self._files: dict[_Key, _File] = {}
        self._durable_at = [NEVER] * len(records)
        self._load(base)
        self._unflushed: dict[_File | _Directory, list[int]] = {}
        self._begun: dict[_Key, tuple[_File | _Directory, list[int]]] = {}
        """By serial: what a flush that has begun will cover."""
        for index, record in enumerate(records):
            self._take(index, record)
        events = [index for index, record in enumerate(records) if record.kind not in (Kind.NOTE, Kind.SYNC_BEGIN)]
        self.positions = [*events, len(records)]
        """The moments that differ: before each call that changes or flushes something, and the end."""
        self.loose_positions = [position for position in self.positions if self._loose_at(position)] or self.positions
        """Those at which something waits for a flush that comes later."""

    def _loose_at(self, position: int) -> bool:
        nearby = range(max(0, position - LOOSE_RECORDS), position)
        return any(position <= self._durable_at[index] < NEVER for index in nearby)

    def _load(self, base: Tree) -> None:
        for name, content in sorted(base.items()):
            directory, last = self._place(name)
            directory.base[last] = directory.now[last] = _Directory() if content is None else _File(content)

    def _place(self, path: str) -> tuple[_Directory, str]:
        at = self._root
        *folders, last = path.split("/")
        for folder in folders:
            node = at.now[folder]
            if not isinstance(node, _Directory):
                raise ValueError(f"{path}: {folder} is no directory")
            at = node
        return at, last

    def _directory(self, path: str) -> _Directory:
        if not path:
            return self._root
        parent, name = self._place(path)
        node = parent.now[name]
        assert isinstance(node, _Directory)
        return node

    def _take(self, index: int, record: Record) -> None:
        kind = record.kind
        if kind is Kind.OPENED:
            self._opened(index, record)
        elif kind is Kind.WRITTEN or kind is Kind.TRUNCATED:
            file = self._files[record.process, record.file]
            file.changes.append(_Change(index, record.offset, record.content if kind is Kind.WRITTEN else None))
            self._unflushed.setdefault(file, []).append(index)
            if record.serial:
                self._begun[record.process, record.serial] = (file, [index])
        elif kind is Kind.SYNC_BEGIN:
            node = self._node(record)
            self._begun[record.process, record.serial] = (node, list(self._unflushed.get(node, ())))
        elif kind is Kind.SYNC_END:
            self._flushed(index, record)
        elif kind in (Kind.RENAMED, Kind.UNLINKED, Kind.MADE_DIRECTORY, Kind.REMOVED_DIRECTORY):
            self._renamed(index, record)
        elif kind is Kind.MAPPED and not _is_lock(self._files[record.process, record.file], self._root):
            raise ValueError("a file is written through a map, where no call is seen")
        elif kind is Kind.UNKNOWN_CALL:
            raise ValueError(f"a call that the model does not know: {record.path}")

    def _node(self, record: Record) -> _File | _Directory:
        return self._directory(record.path) if record.file == DIRECTORY else self._files[record.process, record.file]

    def _opened(self, index: int, record: Record) -> None:
        directory, name = self._place(record.path)
        if record.flag:
            file = self._files[record.process, record.file] = _File()
            self._change_names(index, directory, {name: file})
        else:
            node = directory.now[name]
            assert isinstance(node, _File)
            self._files[record.process, record.file] = node

    def _renamed(self, index: int, record: Record) -> None:
        old, _, new = record.path.partition("\0")
        directory, name = self._place(old)
        if record.kind is Kind.MADE_DIRECTORY:
            self._change_names(index, directory, {name: _Directory()})
        elif record.kind is Kind.RENAMED:
            target, new_name = self._place(new)
            node = directory.now[name]
            if target is directory:
                self._change_names(index, directory, {name: None, new_name: node})
            else:
                self._change_names(index, directory, {name: None})
                self._change_names(index, target, {new_name: node})
        else:
            self._change_names(index, directory, {name: None})

    def _change_names(self, index: int, directory: _Directory, names: "dict[str, _File | _Directory | None]") -> None:
        directory.change(index, names)
        self._unflushed.setdefault(directory, []).append(index)

    def _flushed(self, index: int, record: Record) -> None:
        node, covered = self._begun.pop((record.process, record.serial))
        if not record.flag:
            for change in covered:
                self._durable_at[change] = min(self._durable_at[change], index)
        # After a flush that failed, a system may take these pages for clean: no later flush covers them.
        done = set(covered)
        self._unflushed[node] = [each for each in self._unflushed.get(node, ()) if each not in done]

    # States.

    def notes_before(self, position: int, after: int = 0) -> Iterator[Record]:
        """What clients had noted."""
        return (record for record in self.records[after:position] if record.kind is Kind.NOTE)

    def build(self, state: State) -> Tree:
        """The files of a state."""
        rng = Random(f"{state.position}/{state.choice}/{state.seed}")
        reachable = self._names(state, rng)
        pieces = list(self._pieces(state, rng, reachable.values()))
        kept = _choose(state.choice, pieces, rng)
        by_file: dict[_File, set[tuple[int, int, int]]] = {}
        for piece in kept:
            by_file.setdefault(piece.file, set()).add((piece.number, piece.low, piece.high))
        tree: Tree = {}
        for path, node in reachable.items():
            tree[path] = None if isinstance(node, _Directory) else self._content(node, state, by_file.get(node, set()))
        return tree

    def _names(self, state: State, rng: Random) -> "dict[str, _File | _Directory]":
        found: dict[str, _File | _Directory] = {}
        todo = [("", self._root)]
        while todo:
            prefix, directory = todo.pop()
            names = dict(directory.base)
            before = directory.changes[
                : bisect.bisect_left(directory.changes, state.position, key=lambda each: each[0])
            ]
            durable = [at for at, (index, _) in enumerate(before, 1) if self._durable_at[index] < state.position]
            least = max(durable, default=0)
            cut = {NOTHING: least, RANDOM: rng.randint(least, len(before))}.get(state.choice, len(before))
            for _, change in before[:cut]:
                _rename(names, change)
            for name, node in names.items():
                found[prefix + name] = node
                if isinstance(node, _Directory):
                    todo.append((f"{prefix}{name}/", node))
        return found

    def _pieces(self, state: State, rng: Random, nodes: "Iterable[_File | _Directory]") -> Iterator[_Piece]:
        """What was not flushed, in the order in which it was written, cut into pages or sectors."""
        grain = PAGE_BYTES if state.choice != TORN and rng.random() < 0.5 else SECTOR_BYTES
        found: list[_Piece] = []
        for file in {id(node): node for node in nodes if isinstance(node, _File)}.values():
            for change in file.changes[file.settle(state.position, self._durable_at) :]:
                if change.number >= state.position:
                    break
                if self._durable_at[change.number] >= state.position:
                    found += _cut(file, change, grain)
        found.sort(key=lambda piece: (piece.number, piece.low))
        return iter(found)

    def _content(self, file: _File, state: State, kept: set[tuple[int, int, int]]) -> bytes:
        first = file.settle(state.position, self._durable_at)
        content = file.content()
        for change in file.changes[first:]:
            if change.number >= state.position:
                break
            if self._durable_at[change.number] < state.position:
                _apply(content, change, 0, NEVER)
            else:
                for index, low, high in kept:
                    if index == change.number:
                        _apply(content, change, low, high)
        return bytes(content)


def _is_lock(file: _File, root: _Directory) -> bool:
    """Whether a file is LMDB's table of readers, which lives in shared memory and means nothing after a start."""
    todo = [root]
    while todo:
        for name, node in todo.pop().now.items():
            if node is file:
                return name == "lock.mdb" or name.endswith("-lock")
            if isinstance(node, _Directory):
                todo.append(node)
    return False


def _cut(file: _File, change: _Change, grain: int) -> Iterator[_Piece]:
    if change.data is None or not change.data:
        yield _Piece(file, change.number, 0, NEVER)
        return
    low, end = change.offset, change.offset + len(change.data)
    while low < end:
        high = min(end, (low // grain + 1) * grain)
        yield _Piece(file, change.number, low - change.offset, high - change.offset)
        low = high


def _apply(content: bytearray, change: _Change, low: int, high: int) -> None:
    if change.data is None:
        size = change.offset
        if size < len(content):
            del content[size:]
        else:
            content.extend(bytes(size - len(content)))
        return
    data = change.data[low:high]
    start = change.offset + low
    if start > len(content):
        content.extend(bytes(start - len(content)))
    content[start : start + len(data)] = data


def _choose(choice: str, pieces: list[_Piece], rng: Random) -> list[_Piece]:
    if choice == NOTHING or not pieces:
        return []
    if choice == ALL:
        return pieces
    if choice == RANDOM:
        share = rng.random()
        return [piece for piece in pieces if rng.random() < share]
    if choice == TORN:
        last = [piece for piece in pieces if piece.number == pieces[-1].number]
        return pieces[: len(pieces) - len(last) + rng.randrange(len(last) + 1)]
    one = rng.choice(pieces)
    return [one] if choice == ALONE else [piece for piece in pieces if piece is not one]


def draw(timeline: Timeline, count: int, rng: Random) -> list[State]:
    """States of a run, in order of time: each moment with all and with nothing of what was not flushed, up to half of
    them, and some of all other kinds."""
    positions = timeline.positions
    every = [State(position, choice, 0) for position in positions for choice in (ALL, NOTHING)]
    if len(every) > count // 2:
        every = rng.sample(every, count // 2)
    drawn = [
        State(rng.choice(timeline.loose_positions), rng.choice((ALONE, MISSING, RANDOM, TORN)), rng.randrange(1 << 30))
        for _ in range(count - len(every))
    ]
    return sorted(every + drawn)
