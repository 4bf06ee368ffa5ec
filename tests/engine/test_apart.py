"""The check in its own process says the same as the check, and survives what kills a reader."""

import random
from pathlib import Path

import pytest

from appliance.engine.apart import check_apart
from appliance.engine.check import check
from appliance.engine.datafile import DATA_NAME
from appliance.engine.disk import DirectoryLock
from appliance.engine.faults import StoreLocked, StoreRefused
from appliance.engine.findings import FILE
from appliance.engine.rows import DLQ, State
from appliance.engine.tables import BODY, EXPIRE
from tests.engine.filling import READY_TASK, SMS, Rows, fill, sound_rows, task_rows


def ignore(_table: str, _done: int, _total: int) -> None:
    """No progress wanted."""


def test_the_report_and_the_progress_are_those_of_the_check(tmp_path: Path) -> None:
    rows = sound_rows()
    del rows[BODY, READY_TASK]
    fill(tmp_path, rows)
    here: list[tuple[str, int, int]] = []
    there: list[tuple[str, int, int]] = []
    expected = check(tmp_path, lambda *step: here.append(step))
    assert check_apart(tmp_path, lambda *step: there.append(step)) == expected
    assert not expected.clean
    assert there == here


def test_refusals_come_through(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="no store"):
        check_apart(tmp_path, ignore)
    fill(tmp_path, {})
    lock = DirectoryLock(tmp_path)
    with pytest.raises(StoreLocked):
        check_apart(tmp_path, ignore)
    lock.release()


def many_rows() -> Rows:
    """Enough rows for tables of several pages."""
    rows = sound_rows()
    for number in range(1000, 1500):
        rows |= task_rows(number.to_bytes(16, "big"), State(DLQ, SMS, 0, 1, 1, expires=number))
    return rows


def test_lost_pages_are_findings(tmp_path: Path) -> None:
    path = fill(tmp_path, many_rows()) / DATA_NAME
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    report = check_apart(tmp_path, ignore)
    assert FILE in report.counts


def test_a_flipped_bit_in_the_head_of_a_page_is_a_finding_or_harmless_and_never_more(tmp_path: Path) -> None:
    randomness = random.Random(7)
    path = fill(tmp_path, many_rows()) / DATA_NAME
    whole = path.read_bytes()
    found = 0
    for _ in range(12):
        bent = bytearray(whole)
        bent[randomness.randrange(2, len(bent) // 4096) * 4096 + randomness.randrange(40)] ^= 1 << randomness.randrange(
            8
        )
        path.write_bytes(bent)
        found += not check_apart(tmp_path, ignore).clean
    assert found > 0


def test_a_signal_that_ends_the_other_process_is_a_finding_with_what_was_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    step = '{"type":"step","table":"meta","done":3,"total":3}'
    program.write_text(f"#!/bin/sh\necho '{step}'\nkill -BUS $$\n")
    program.chmod(0o700)
    monkeypatch.setattr("appliance.engine.apart.sys.executable", str(program))
    (finding,) = check_apart(tmp_path, ignore).findings
    assert finding.kind == FILE
    assert "SIGBUS" in finding.message
    assert "body" in finding.message
    assert "meta" not in finding.message


def test_an_exception_of_the_progress_ends_the_other_process(tmp_path: Path) -> None:
    rows = sound_rows()
    del rows[EXPIRE, next(key for table, key in rows if table == EXPIRE)]
    fill(tmp_path, rows)

    def give_up(_table: str, _done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_apart(tmp_path, give_up)
    check(tmp_path, ignore)
