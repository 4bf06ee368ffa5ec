"""A group: the writes of many decisions that become durable together, in one commit.

Owns the rule of the last write: one dictionary per table, key to content or None for a delete. Must not know what a
row means, nor how the group becomes durable. Lives on the loop; closed groups are handed to the committer, which only
reads them.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from zlib import crc32

from appliance.engine.rows import SEAL_BYTES, SEEDS
from appliance.engine.tables import TABLE_COUNT


class TableWrites(NamedTuple):
    """One table's part of a closed group, sorted by key, so that neighbours are written together.

    `puts` are `(key, sealed row)`; a key is in at most one of the two lists, so their order does not matter.
    """

    table: int
    deletes: list[bytes]
    puts: list[tuple[bytes, bytes]]


class Group:
    """The open group of one shard. `number` is given by the overlay and orders all groups of an epoch.

    Rows with content are sealed as they come, while they are in the processor's cache; those of an index, which are all
    key, when the group is closed, since most of them vanish before.
    """

    __slots__ = (
        "_bare",
        "_with_deletes",
        "answers",
        "bytes_count",
        "finished",
        "first_answers",
        "fresh",
        "number",
        "tables",
        "transitions",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.tables: list[dict[bytes, bytes | None]] = [{} for _ in range(TABLE_COUNT)]
        """Sealed rows; empty for a row that is all key, None for a delete."""
        self.fresh: list[set[bytes]] = [set() for _ in range(TABLE_COUNT)]
        self.answers: list[tuple[Callable[[Any], None], Any]] = []
        """What to tell whom once this group is durable: `(sink, outcome)`, in the order of the decisions."""
        self.first_answers: list[tuple[Callable[[Any], None], Any]] = []
        """The same for those who are told before all others."""
        self.finished: list[bytes] = []
        """Ids that became terminal in this group, for those who wait for a result."""
        self.transitions = 0
        self.bytes_count = 0
        self._bare: set[int] = set()
        self._with_deletes: set[int] = set()

    def put(self, table: int, key: bytes, content: bytes) -> None:
        """Write a row that may exist already, and is not all key."""
        self.tables[table][key] = content + crc32(content, crc32(key, SEEDS[table])).to_bytes(4, "big")
        self.bytes_count += len(content)

    def put_all(self, table: int, keys: list[bytes], contents: list[bytes]) -> None:
        """`put` for many rows at once."""
        if len(keys) == 1:
            self.put(table, keys[0], contents[0])
            return
        seed = SEEDS[table]
        self.tables[table].update(
            [
                (key, content + crc32(key + content, seed).to_bytes(4, "big"))
                for key, content in zip(keys, contents, strict=True)
            ]
        )
        self.bytes_count += sum(map(len, contents))

    def put_new(self, table: int, key: bytes, content: bytes) -> None:
        """Write a row that does not exist now, neither in the store nor in an older group.

        A delete of it later in this group then makes both vanish. Where this group already holds a delete of the
        key, an older row lies below and the pair must not vanish: the key is not marked.
        """
        if key not in self.tables[table]:
            self.fresh[table].add(key)
        self.put(table, key, content)

    def put_all_new(self, table: int, keys: list[bytes], contents: list[bytes]) -> None:
        """`put_new` for many rows at once."""
        self._note_new(table, keys)
        self.put_all(table, keys, contents)

    def put_keys(self, table: int, keys: list[bytes]) -> None:
        """`put_new` for rows that are all key."""
        rows = self.tables[table]
        self._bare.add(table)
        if len(keys) == 1:
            (key,) = keys
            if key not in rows:
                self.fresh[table].add(key)
            rows[key] = b""
            return
        self._note_new(table, keys)
        rows.update(dict.fromkeys(keys, b""))

    def _note_new(self, table: int, keys: list[bytes]) -> None:
        rows = self.tables[table]
        if table not in self._with_deletes or rows.keys().isdisjoint(keys):
            # Without deletes there is nothing that a row can lie above.
            self.fresh[table].update(keys)
        else:
            self.fresh[table].update(key for key in keys if key not in rows)

    def delete(self, table: int, key: bytes) -> None:
        """Delete a row that exists now."""
        fresh = self.fresh[table]
        if key in fresh:
            fresh.discard(key)
            del self.tables[table][key]
        else:
            self.tables[table][key] = None
            self._with_deletes.add(table)

    def delete_keys(self, table: int, keys: list[bytes]) -> None:
        """Delete rows that exist now."""
        fresh, rows = self.fresh[table], self.tables[table]
        if fresh.isdisjoint(keys):
            rows.update(dict.fromkeys(keys))
            self._with_deletes.add(table)
        elif fresh.issuperset(keys):
            fresh.difference_update(keys)
            for key in keys:
                del rows[key]
        else:
            for key in keys:
                self.delete(table, key)

    def within(self, table: int, low: bytes, high: bytes) -> Iterator[tuple[bytes, bytes | None]]:
        """What this group says about low <= key < high: contents, and None for deletes; in no order."""
        for key, row in self.tables[table].items():
            if low <= key < high:
                yield key, row[:-SEAL_BYTES] if row else row

    def undo(self, table: int, key: bytes) -> None:
        """Take back a row that this group has made, and below which there is none."""
        del self.tables[table][key]

    @property
    def has_writes(self) -> bool:
        """Whether anything would be committed."""
        return any(self.tables)

    def close(self) -> list[TableWrites]:
        """The group as the committer and the log take it: sealed rows and deletes, sorted, per table."""
        return [self._closed(table, rows) for table, rows in enumerate(self.tables) if rows]

    def _closed(self, table: int, rows: dict[bytes, bytes | None]) -> TableWrites:
        deletes: list[bytes] = []
        if table in self._with_deletes:
            deletes = sorted([key for key, row in rows.items() if row is None])
        puts: list[tuple[bytes, Any]]
        if table in self._bare:
            seed = SEEDS[table]
            puts = [(key, row or crc32(key, seed).to_bytes(4, "big")) for key, row in rows.items() if row is not None]
        elif deletes:
            puts = [item for item in rows.items() if item[1] is not None]
        else:
            puts = list(rows.items())
        puts.sort()
        return TableWrites(table, deletes, puts)
