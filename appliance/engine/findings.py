"""What a check found: findings by kind, the first of them in full, the rest as a number.

Owns the bound on what a report keeps. Must not know how a finding was made.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from appliance.engine.tables import TABLE_NAMES

FILE: Final = "file"
"""LMDB cannot read, or the file is not whole."""
SEAL: Final = "seal"
"""A row is not what was written."""
KEY: Final = "key"
"""A key has not the layout of its table, or is out of order."""
ROW: Final = "row"
"""A row is what was written and makes no sense."""
TASK: Final = "task"
"""A task has one of its two rows only."""
INDEX: Final = "index"
"""An index row and its task do not fit: one is missing, or they disagree."""
COUNTER: Final = "counter"
"""A queue's counters differ from its tasks."""
NAME: Final = "name"
"""A number without a name, or with two."""
MARK: Final = "mark"
"""The newest id or number in the store is beyond what the store remembers as its newest."""

FINDINGS_KEPT_MAX: Final = 1000
"""A thousand keys show the pattern; a damaged store of ten million rows must not fill the memory."""


class Finding(NamedTuple):
    """One thing that is wrong. `table` is a name, or empty where no table is concerned; `key` is as stored."""

    kind: str
    table: str
    key: bytes
    message: str

    def __str__(self) -> str:
        place = f"{self.table} {self.key.hex()}".strip()
        return f"{self.kind}: {place}: {self.message}" if place else f"{self.kind}: {self.message}"


@dataclass(slots=True)
class Report:
    """The outcome of a check: rows seen by table name, the first findings, and how many there were of each kind."""

    rows: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.counts

    def add(self, kind: str, table: int | None, key: bytes, message: str) -> None:
        """Note one finding; `table` is None where no table is concerned."""
        self.counts[kind] += 1
        if len(self.findings) < FINDINGS_KEPT_MAX:
            self.findings.append(Finding(kind, "" if table is None else TABLE_NAMES[table], key, message))
