"""The programs about streams run from end to end, as short as they can."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from appliance.bench.servers import ServerError
from loadtest import streams, streams_idle

SHORT = ["--pairs", "1", "--seconds", "1", "--warm-seconds", "0", "--in-flight", "1024"]


def record_of(program: Callable[[Sequence[str] | None], int], folder: Path, arguments: list[str]) -> dict[str, Any]:
    """Run a program; its record. Everything it made must be gone."""
    stores, path = folder / "stores", folder / "record.json"
    assert program([*arguments, "--directory", str(stores), "--json", str(path)]) == 0
    assert list(stores.iterdir()) == []
    record: dict[str, Any] = json.loads(path.read_bytes())
    return record


def figures(record: dict[str, Any]) -> dict[str, float]:
    return {each["what"]: float(each["median"]) for each in record["figures"]}


def test_a_hard_load_is_compared_with_an_easy_one(tmp_path: Path) -> None:
    record = record_of(streams.main, tmp_path, ["keys", *SHORT])
    assert [run["side"] for run in record["runs"]] == ["keys", "without"]
    assert all(run["refused"] == 0 and run["per_second"] > 0 for run in record["runs"])
    assert figures(record)["refused"] == 0


def test_a_backlog_is_filled_copied_and_worked_on(tmp_path: Path) -> None:
    record = record_of(streams.main, tmp_path, ["backlog-1m", *SHORT, "--stored", "100000", "--tls"])
    backlogs = {run["side"]: run["backlog_end"] for run in record["runs"]}
    assert backlogs["backlog"] > backlogs["without"]
    assert figures(record)["tasks, backlog"] > 0


def test_latency_at_an_offered_load_has_a_verdict(tmp_path: Path) -> None:
    record = record_of(streams.main, tmp_path, ["latency-5000", *SHORT[:-2]])
    verdicts = {each["what"]: each["met"] for each in record["figures"]}
    assert verdicts["ack p99, node, creates only"] in (True, False)
    assert figures(record)["created, node, with workers"] > 0


def test_a_comparison_with_a_sketch_needs_one(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="--prototype"):
        streams.main(["cycle", "--directory", str(tmp_path)])


def test_a_backlog_that_does_not_fit_the_disk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="are free"):
        streams.main(["backlog-1m", "--stored", "1000000000000", "--directory", str(tmp_path)])


@pytest.mark.parametrize("row", sorted(streams.ROWS))
def test_every_row_is_a_load_that_makes_sense(row: str) -> None:
    comparison = streams.ROWS[row]
    assert comparison.one.scenario.complaint() == comparison.other.scenario.complaint() == ""
    assert comparison.one.name != comparison.other.name


def test_streams_that_wait_are_weighed_and_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WARM_SECONDS", "EMPTY_SECONDS", "SETTLE_SECONDS"):
        monkeypatch.setattr(streams_idle, name, 1)
    arguments = ["--streams", "20", "--connections", "4", "--seconds", "1", "--rate", "50", "--pairs", "1"]
    found = figures(record_of(streams_idle.main, tmp_path, arguments))
    for kind in ("a connection each", "on 4 connections"):
        assert found[f"delivered, {kind}"] > 0
        assert found[f"create to delivery p99, {kind}"] > 0
