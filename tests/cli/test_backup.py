"""`codeq backup` and `codeq restore`: what they print, and how they end."""

import json
from pathlib import Path

import pytest

from appliance.cli import dev, status
from appliance.cli.main import main
from appliance.cli.progress import size
from appliance.engine.datafile import DATA_NAME
from appliance.engine.disk import DirectoryLock
from appliance.engine.tables import STATE
from tests.engine.filling import READY_TASK, fill, sound_rows

Captured = pytest.CaptureFixture[str]


def backup(directory: Path, target: Path, *more: str) -> int:
    return main(["backup", "--directory", str(directory), str(target), *more])


def test_a_backup_says_size_tasks_and_time(tmp_path: Path, capsys: Captured) -> None:
    data = fill(tmp_path / "data", sound_rows())
    assert backup(data, tmp_path / "copy") == status.OK
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{tmp_path / 'copy'}: 6 tasks, ") and "clean" in captured.out
    assert "copying: " in captured.err and "checking body: 6 of 6" in captured.err
    assert backup(data, tmp_path / "copy") == status.CONFIGURATION
    assert "exists already" in capsys.readouterr().err


def test_json_and_quiet_are_for_programs(tmp_path: Path, capsys: Captured) -> None:
    data = fill(tmp_path / "data", sound_rows())
    assert backup(data, tmp_path / "copy", "--json", "--quiet") == status.OK
    captured = capsys.readouterr()
    facts = json.loads(captured.out)
    assert captured.err == ""
    assert (facts["tasks"], facts["findings"], facts["removed"]) == (6, 0, [])
    assert facts["bytes"] == (tmp_path / "copy" / DATA_NAME).stat().st_size
    restore = ["restore", str(tmp_path / "copy"), "--directory", str(tmp_path / "new"), "--json", "--quiet"]
    assert main(restore) == status.OK
    assert json.loads(capsys.readouterr().out)["directory"] == str(tmp_path / "new")
    assert main(restore) == status.CONFIGURATION


def test_the_directory_comes_from_the_configuration(tmp_path: Path, capsys: Captured) -> None:
    dev.prepare(tmp_path, 1_234, plaintext=False)
    fill(tmp_path / "data", sound_rows())
    assert main(["backup", "--config", str(tmp_path / "codeq.yml"), str(tmp_path / "copy")]) == status.OK
    assert main(["backup", "--config", str(tmp_path / "no.yml"), str(tmp_path / "copy2")]) == status.CONFIGURATION
    assert "--directory" in capsys.readouterr().err


def test_a_series_keeps_as_many_as_it_should(tmp_path: Path, capsys: Captured) -> None:
    data = fill(tmp_path / "data", sound_rows())
    old = tmp_path / "series" / "20200101T000000Z"
    assert backup(data, old) == status.OK
    assert backup(data, tmp_path / "series", "--keep", "1") == status.OK
    assert f"{old} removed" in capsys.readouterr().out
    assert len(list((tmp_path / "series").iterdir())) == 1


def test_damage_is_printed_and_fails(tmp_path: Path, capsys: Captured) -> None:
    rows = sound_rows()
    del rows[STATE, READY_TASK]
    data = fill(tmp_path / "data", rows)
    assert backup(data, tmp_path / "copy", "--quiet") == status.FAILURE
    assert READY_TASK.hex() in capsys.readouterr().err
    assert not (tmp_path / "copy").exists()
    assert backup(data, tmp_path / "copy", "--accept-damage") == status.FAILURE
    assert "NOT clean" in capsys.readouterr().out
    assert (tmp_path / "copy").is_dir()


def test_a_restore_into_the_directory_of_a_running_node_says_try_again(tmp_path: Path, capsys: Captured) -> None:
    data = fill(tmp_path / "data", sound_rows())
    assert backup(data, tmp_path / "copy") == status.OK
    (tmp_path / "new").mkdir()
    lock = DirectoryLock(tmp_path / "new")
    assert main(["restore", str(tmp_path / "copy"), "--directory", str(tmp_path / "new")]) == status.TRY_AGAIN
    assert "in use" in capsys.readouterr().err
    lock.release()


@pytest.mark.parametrize(
    ("count_bytes", "text"),
    [(0, "0 bytes"), (1023, "1,023 bytes"), (1024, "1.0 KiB"), (5 << 20, "5.0 MiB"), (1 << 52, "4,096.0 TiB")],
)
def test_sizes_are_readable(count_bytes: int, text: str) -> None:
    assert size(count_bytes) == text
