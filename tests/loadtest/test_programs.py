"""Each program runs from end to end, as short as it can: what it measures is not looked at, that it measures is."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from appliance.bench.servers import ServerError
from loadtest import (
    backlog,
    long_poll,
    rest_create,
    rest_cycle,
    rest_idempotency,
    rest_requeue,
    rest_retention,
    rest_single,
    rest_webhooks,
)

SKETCH = str(Path(__file__).with_name("sketch.py"))
SHORT = ["--pairs", "1", "--seconds", "1", "--warm-seconds", "0", "--connections", "8", "--threads", "1"]

needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")


def record_of(program: Callable[[Sequence[str] | None], int], folder: Path, arguments: list[str]) -> dict[str, Any]:
    """Run a program; its record. Everything it made must be gone."""
    stores, path = folder / "stores", folder / "record.json"
    assert program([*arguments, "--directory", str(stores), "--json", str(path)]) == 0
    assert list(stores.iterdir()) == []
    record: dict[str, Any] = json.loads(path.read_bytes())
    return record


def figure(record: dict[str, Any], what: str) -> float:
    return next(float(each["median"]) for each in record["figures"] if each["what"] == what)


@needs_wrk
@pytest.mark.parametrize("tls", [False, True])
def test_creates_are_compared_with_the_sketch(tmp_path: Path, tls: bool) -> None:
    arguments = [*SHORT, "--prototype", SKETCH, *(["--tls"] if tls else [])]
    record = record_of(rest_create.main, tmp_path, arguments)
    assert [run["server"] for run in record["runs"]] == ["node", "prototype"]
    assert figure(record, "creates, node / prototype") > 0
    assert figure(record, "errors, node") == 0


@needs_wrk
def test_claims_and_results_are_compared_with_creates(tmp_path: Path) -> None:
    # Time enough that each phase, a part of it, is at least the second that wrk needs.
    record = record_of(rest_cycle.main, tmp_path, [*SHORT, "--seconds", "3"])
    assert figure(record, "server CPU, claim / create") > 0
    assert figure(record, "server CPU, result / create") > 0
    assert all(run["requests"] > 0 and run["errors"] == 0 for run in record["runs"])


@needs_wrk
def test_creates_with_keys_are_compared_with_creates_without(tmp_path: Path) -> None:
    record = record_of(rest_idempotency.main, tmp_path, [*SHORT, "--rows", "2000"])
    assert figure(record, "errors") == 0
    assert figure(record, "creates, ordered keys / without") > 0
    assert figure(record, "creates, random keys / without") > 0


@needs_wrk
def test_cycles_with_a_sweep_are_compared_with_cycles_without(tmp_path: Path) -> None:
    record = record_of(rest_retention.main, tmp_path, [*SHORT, "--retention", "1", "--seconds", "2"])
    assert figure(record, "cycles, with sweep / without") > 0
    assert figure(record, "errors and claims without a task") == 0
    assert figure(record, "swept") > 0


@needs_wrk
def test_creates_beside_requeues_are_compared_with_creates_alone(tmp_path: Path) -> None:
    record = record_of(rest_requeue.main, tmp_path, [*SHORT, "--dead", "3000"])
    assert figure(record, "creates, with requeues / without") > 0
    assert figure(record, "requeued") > 0
    assert figure(record, "errors") == 0


@pytest.mark.parametrize("tls", [False, True])
def test_single_creates_are_compared_with_the_sketch(tmp_path: Path, tls: bool) -> None:
    arguments = ["--requests", "50", "--pairs", "1", "--prototype", SKETCH, *(["--tls"] if tls else [])]
    record = record_of(rest_single.main, tmp_path, arguments)
    assert figure(record, "p50, node / prototype") > 0


def test_a_backlog_is_filled_started_and_claimed_from(tmp_path: Path) -> None:
    arguments = ["--tasks", "6000", "--claims", "200", "--pairs", "1", "--connections", "4"]
    record = record_of(backlog.main, tmp_path, arguments)
    assert [run["backlog"] for run in record["runs"]] == ["small", "warm", "dropped"]
    assert figure(record, "claim p99, warm / backlog of 1,000") > 0
    assert figure(record, "slowest /healthz meanwhile, dropped") > 0


def test_a_backlog_that_does_not_fit_the_disk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="are free"):
        backlog.main(["--tasks", "1000000000000", "--directory", str(tmp_path)])


@needs_wrk
def test_cycles_are_compared_with_cycles_beside_a_receiver_that_hangs(tmp_path: Path) -> None:
    record = record_of(rest_webhooks.main, tmp_path, [*SHORT, "--webhooks", "500"])
    assert figure(record, "cycles, beside a hanging receiver / alone") > 0
    assert figure(record, "errors and claims without a task") == 0


def test_the_wake_up_of_a_long_poll_is_measured(tmp_path: Path) -> None:
    record = record_of(long_poll.main, tmp_path, ["--rounds", "20"])
    assert 0 < figure(record, "create to the poll's answer, p50") < 1_000
    assert figure(record, "polls that heard nothing") == 0
