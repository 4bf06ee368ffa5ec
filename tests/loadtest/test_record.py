"""Figures, verdicts, and what is printed and recorded of them."""

import argparse
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.bench.machine import filesystem
from loadtest.record import MS, RATIO, Report, Target, percentile


@given(st.lists(st.integers(), min_size=1), st.integers(1, 100))
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(values: list[int], percent: int) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= len(values) * percent
    smaller = [value for value in values if value < found]
    assert len(smaller) * 100 < len(values) * percent


@pytest.mark.parametrize(
    ("target", "value", "met"),
    [
        (Target("<", 2), 2, False),
        (Target("<", 2), 1.9, True),
        (Target("<=", 2), 2, True),
        (Target("<=", 2), 2.1, False),
        (Target(">=", 0.45), 0.45, True),
        (Target(">=", 0.45), 0.44, False),
    ],
)
def test_a_target_is_met_or_missed(target: Target, value: float, met: bool) -> None:
    assert target.met_by(value) is met


def test_a_report_prints_a_table_and_records_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "record.json"
    report = Report("some_program", argparse.Namespace(directory=tmp_path, json=path, pairs=3))
    report.run(server="node", per_second=12.5)
    report.figure("speed", RATIO, [0.4, 0.6, 0.5], Target(">=", 0.45))
    report.figure("delay", MS, [30.0], Target("<", 25))
    report.figure("other", MS, [1.0])
    assert report.finish() == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[4].split() == ["speed", "0.500", "0.400", "–", "0.600", ">=", "0.45", "met"]
    assert printed[5].split() == ["delay", "30.00", "ms", "<", "25", "ms", "missed"]
    assert printed[6].split() == ["other", "1.00", "ms"]
    record = json.loads(path.read_bytes())
    assert record["program"] == "some_program"
    assert record["arguments"]["pairs"] == 3
    assert record["runs"] == [{"server": "node", "per_second": 12.5}]
    assert [figure["met"] for figure in record["figures"]] == [True, False, None]
    assert {"cores", "kernel", "python", "filesystem"} <= record["machine"].keys()


def test_the_file_system_of_a_folder_is_named() -> None:
    assert filesystem(Path("/proc/self")) == "proc"
