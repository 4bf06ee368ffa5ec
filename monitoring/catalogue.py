"""The metrics of a node, as the code has them, and the reference in docs/metrics.md made from that.

Owns the form of the reference. The names, labels and words are `appliance.metrics`'. `python -m monitoring.catalogue`
writes the reference anew; a test compares.
"""

from pathlib import Path
from typing import Final, NamedTuple

from appliance.metrics import Metrics, Sources

REFERENCE: Final = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"

_SUFFIXES: Final = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",)}

_HEAD: Final = """\
# Metrics

Every metric at `/metrics`, as the program has it. Times are in seconds, sizes in bytes. A histogram has `_bucket`
(with `le`), `_sum` and `_count`. [operations.md](operations.md#metrics) says which tell that something is wrong;
`monitoring/` has a Grafana dashboard and alerts. Made by `python -m monitoring.catalogue`: change the program, not this
page.

| metric | kind | labels | |
|---|---|---|---|
"""


class Family(NamedTuple):
    """One metric: its name without suffix, its kind in the words of Prometheus, its labels, and what it tells."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str

    @property
    def samples(self) -> tuple[str, ...]:
        """The names that a query may use."""
        return tuple(self.name + suffix for suffix in _SUFFIXES.get(self.kind, ("",)))


def families() -> list[Family]:
    """All metrics of a node that serves TLS, by name."""
    metrics = Metrics(Sources(certificate_days_left=lambda: 0.0))
    found = []
    for each in metrics.collect():
        labels = tuple(getattr(each, "_labelnames", ()))
        if each.type == "info":
            labels = tuple(each.samples[0].labels)
        found.append(Family(each.name, each.type, labels, each.documentation))
    return sorted(found)


def reference() -> str:
    """The page."""
    rows = []
    for family in families():
        name = family.name if family.kind == "histogram" else family.samples[0]
        labels = ", ".join(f"`{label}`" for label in family.labels)
        rows.append(f"| `{name}` | {family.kind} | {labels} | {family.text} |\n")
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    REFERENCE.write_text(reference())
