"""A store of dictionaries with the engine's two faces: the Reader, and whole groups of writes.

It is stricter than LMDB: a delete must meet its row, a row that is new by the group's own account must not be there,
and a seal must fit. What breaks one of these is an error of the state machine even where LMDB would not mind.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

from appliance.engine.group import TableWrites
from appliance.engine.overlay import Reader
from appliance.engine.rows import DamagedRow, unseal
from appliance.engine.tables import TABLE_COUNT, TABLE_NAMES
from tests.simulation.violation import Violation


class DictionaryStore:
    """Contents by table and key, and each table's keys in order."""

    def __init__(self) -> None:
        self.rows: list[dict[bytes, bytes]] = [{} for _ in range(TABLE_COUNT)]
        self.keys: list[list[bytes]] = [[] for _ in range(TABLE_COUNT)]

    def get(self, table: int, key: bytes) -> bytes | None:
        """The content of one row, or None."""
        return self.rows[table].get(key)

    def get_all(self, table: int, keys: Sequence[bytes], on_damage: Callable[[DamagedRow], None]) -> dict[bytes, bytes]:
        """Several of them, by key; damage, which there is only in tests of it, is reported."""
        return get_each(self, table, keys, on_damage)

    def scan(self, table: int, low: bytes, high: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Up to `limit` rows with low <= key < high, in key order."""
        keys, rows = self.keys[table], self.rows[table]
        start = bisect_left(keys, low)
        end = min(bisect_left(keys, high, start), start + limit)
        return [(key, rows[key]) for key in keys[start:end]]

    def release(self) -> None:
        """There are no snapshots here."""

    def apply(self, writes: list[TableWrites], fresh: Sequence[AbstractSet[bytes]]) -> list[TableWrites]:
        """Apply a closed group; the same with contents in place of sealed rows. `fresh` has, per table, the keys that
        the group takes for new."""
        taken: list[TableWrites] = []
        for table, deletes, puts in writes:
            rows, keys = self.rows[table], self.keys[table]
            gone = set(deletes)
            contents: list[tuple[bytes, bytes]] = []
            for key, sealed in puts:
                if key in gone:
                    raise Violation("store", f"{TABLE_NAMES[table]} {key.hex()} is both put and deleted")
                if key not in rows:
                    insort(keys, key)
                elif key in fresh[table]:
                    raise Violation("store", f"{TABLE_NAMES[table]} {key.hex()} was taken for new and is there")
                content = rows[key] = unseal(table, key, sealed)
                contents.append((key, content))
            for key in deletes:
                if key not in rows:
                    raise Violation("store", f"{TABLE_NAMES[table]} {key.hex()} is deleted and not there")
                del rows[key]
                del keys[bisect_left(keys, key)]
            taken.append(TableWrites(table, deletes, contents))
        return taken


def get_each(
    reader: Reader, table: int, keys: Sequence[bytes], on_damage: Callable[[DamagedRow], None]
) -> dict[bytes, bytes]:
    """`get_all` of a Reader by its `get`."""
    found: dict[bytes, bytes] = {}
    for key in keys:
        try:
            row = reader.get(table, key)
        except DamagedRow as damage:
            on_damage(damage)
            continue
        if row is not None:
            found[key] = row
    return found
