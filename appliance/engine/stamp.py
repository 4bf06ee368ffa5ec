"""Which transaction wrote the newest rows, by their own account.

Owns one row beside the names of the tables, in LMDB's main table. A flipped bit in a meta page's number of the root
page can lead to a root that was replaced, from which every page is sound and every seal good: only a number that goes
with the root can tell. The row lies on the root page itself, which the main table fits into. A row in a table would be
one page further on, and that page may have been used again, for the newest such row of all.

Every transaction that changes the store has to write it: `writing`, or `stamp` within one's own. Must not know tables.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import lmdb

STAMP_KEY: Final = b"commit"

_FIRST: Final = 1
"""A compact copy counts its transactions anew and brings its rows, with their stamp, in the first one. No root has been
replaced then, and the pages of that one are soon used again."""


def stamp(txn: "lmdb.Transaction[bytes]") -> None:
    """Write down which transaction this is. Without a seal: a number that was changed fits no transaction."""
    txn.put(STAMP_KEY, txn.id().to_bytes(8, "big"))


@contextmanager
def writing(environment: lmdb.Environment) -> "Iterator[lmdb.Transaction[bytes]]":
    """A transaction that changes the store, with its stamp."""
    with environment.begin(write=True) as txn:
        yield txn
        stamp(txn)


def turned_back(snapshot: "lmdb.Transaction[bytes]") -> str:
    """What is wrong where the rows are not those of the file's newest transaction; empty where they are."""
    newest = snapshot.id()
    row = snapshot.get(STAMP_KEY)
    if row is None:
        return f"its rows do not say of which transaction they are, and the newest is {newest}"
    number = int.from_bytes(row, "big")
    if number == newest or newest == _FIRST:
        return ""
    return f"its rows are those of transaction {number}, and the newest is {newest}"
