"""A group: the writes of many decisions that become durable together, in one commit.

Owns the rule of the last write: one dictionary per table, key to content or None for a delete. Must not know what a
row means, nor how the group becomes durable. Lives on the loop; closed groups are handed to the committer, which only
reads them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from appliance.engine.rows import seal_all
from appliance.engine.tables import TABLE_COUNT


class TableWrites(NamedTuple):
    """One table's part of a closed group, sorted by key, so that neighbours are written together.

    `puts` are `(key, sealed row)`; a key is in at most one of the two lists, so their order does not matter.
    """

    table: int
    deletes: list[bytes]
    puts: list[tuple[bytes, bytes]]


class Group:
    """The open group of one shard. `number` is given by the overlay and orders all groups of an epoch."""

    __slots__ = ("answers", "bytes_count", "finished", "fresh", "number", "tables", "transitions")

    def __init__(self, number: int) -> None:
        self.number = number
        self.tables: list[dict[bytes, bytes | None]] = [{} for _ in range(TABLE_COUNT)]
        self.fresh: list[set[bytes]] = [set() for _ in range(TABLE_COUNT)]
        self.answers: list[tuple[Callable[[Any], None], Any]] = []
        """What to tell whom once this group is durable: `(sink, outcome)`, in the order of the decisions."""
        self.finished: list[bytes] = []
        """Ids that became terminal in this group, for those who wait for a result."""
        self.transitions = 0
        self.bytes_count = 0

    def put(self, table: int, key: bytes, content: bytes) -> None:
        """Write a row that may exist already."""
        self.tables[table][key] = content
        self.bytes_count += len(content)

    def put_new(self, table: int, key: bytes, content: bytes) -> None:
        """Write a row that does not exist now, neither in the store nor in an older group.

        A delete of it later in this group then makes both vanish. Where this group already holds a delete of the
        key, an older row lies below and the pair must not vanish: the key is not marked.
        """
        rows = self.tables[table]
        if key not in rows:
            self.fresh[table].add(key)
        rows[key] = content
        self.bytes_count += len(content)

    def delete(self, table: int, key: bytes) -> None:
        """Delete a row that exists now."""
        fresh = self.fresh[table]
        if key in fresh:
            fresh.discard(key)
            del self.tables[table][key]
        else:
            self.tables[table][key] = None

    @property
    def has_writes(self) -> bool:
        """Whether anything would be committed."""
        return any(self.tables)

    def close(self) -> list[TableWrites]:
        """The group as the committer and the log take it: sealed rows and deletes, sorted, per table."""
        closed = []
        for table, rows in enumerate(self.tables):
            if rows:
                deletes = [key for key, content in rows.items() if content is None]
                deletes.sort()
                closed.append(TableWrites(table, deletes, seal_all(table, rows)))
        return closed
