"""The model of a power cut, on runs written down by hand, and a recorded one against the files it made."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.campaigns import shim
from tests.campaigns.crash_states import ALL, CHOICES, NOTHING, TORN, State, Timeline, Tree, read_tree
from tests.campaigns.journal import DIRECTORY, Kind, Notes, Record, TornRecordError, read

NAME = b"file"


def opened(path: bytes = NAME, file: int = 1) -> Record:
    return Record(Kind.OPENED, 1, file, 0, 0, path)


def written(data: bytes, offset: int = 0, serial: int = 0) -> Record:
    return Record(Kind.WRITTEN, bool(serial), 1, serial, offset, data)


def flush(serial: int, *, failed: bool = False, path: bytes | None = None) -> tuple[Record, Record]:
    file, content = (1, b"") if path is None else (DIRECTORY, path)
    return Record(Kind.SYNC_BEGIN, 0, file, serial, 0, content), Record(Kind.SYNC_END, failed, file, serial, 0, content)


def states(
    records: list[Record], base: Tree | None = None, position: int = -1
) -> set[tuple[tuple[str, bytes | None], ...]]:
    """Every state that many draws find at a position."""
    timeline = Timeline(base or {}, records)
    at = position if position >= 0 else len(records)
    found = [timeline.build(State(at, choice, seed)) for choice in CHOICES for seed in range(60)]
    return {tuple(sorted(tree.items())) for tree in found}


def test_what_was_not_flushed_is_there_or_not() -> None:
    found = states([opened(), *flush(1, path=b""), written(b"new")])
    assert found == {((NAME.decode(), b""),), ((NAME.decode(), b"new"),)}


def test_what_was_flushed_stays() -> None:
    assert states([opened(), *flush(1, path=b""), written(b"new"), *flush(2)]) == {((NAME.decode(), b"new"),)}


def test_a_flush_counts_from_its_end_and_a_failed_one_not_at_all() -> None:
    begin, end = flush(2)
    _, failed = flush(2, failed=True)
    head = [opened(), *flush(1, path=b""), written(b"new")]
    assert len(states([*head, begin, end], position=len(head) + 1)) == 2
    assert len(states([*head, begin, failed])) == 2


def test_what_a_failed_flush_left_is_not_covered_by_a_later_one() -> None:
    head = [opened(), *flush(1, path=b""), written(b"new")]
    assert len(states([*head, *flush(2, failed=True), *flush(3)])) == 2


def test_a_write_during_a_flush_is_not_covered_by_it() -> None:
    begin, end = flush(2)
    assert len(states([opened(), *flush(1, path=b""), begin, written(b"new"), end])) == 2


def test_a_synchronous_write_covers_itself_alone() -> None:
    records = [opened(), *flush(1, path=b""), written(b"a"), written(b"b", 1, serial=7), flush(7)[1]]
    assert {dict(state)[NAME.decode()] for state in states(records)} == {b"ab", b"\0b"}


def test_pieces_of_one_write_are_lost_on_their_own_and_a_torn_one_keeps_its_beginning() -> None:
    records = [opened(), *flush(1, path=b""), written(b"a" * 512 + b"b" * 512)]
    found = {dict(state)[NAME.decode()] for state in states(records)}
    assert found == {b"", b"a" * 512, bytes(512) + b"b" * 512, b"a" * 512 + b"b" * 512}
    timeline = Timeline({}, records)
    torn = {timeline.build(State(len(records), TORN, seed))[NAME.decode()] for seed in range(60)}
    assert torn == {b"", b"a" * 512, b"a" * 512 + b"b" * 512}


def test_names_need_a_flush_of_their_own_directory() -> None:
    made = Record(Kind.MADE_DIRECTORY, 0, 0, 0, 0, b"data")
    records = [made, opened(b"data/file"), written(b"x"), *flush(1), *flush(2, path=b"data")]
    assert states(records) == {(), (("data", None), ("data/file", b"x"))}
    assert states([*records, *flush(3, path=b"")]) == {(("data", None), ("data/file", b"x"))}


def test_a_rename_happens_at_once() -> None:
    renamed = Record(Kind.RENAMED, 0, 0, 0, 0, b"new\0file")
    records = [opened(b"new"), written(b"x"), *flush(1), *flush(2, path=b""), renamed]
    assert states(records, {"file": b"old"}) == {(("file", b"old"), ("new", b"x")), (("file", b"x"),)}


def test_moments_may_be_asked_for_in_any_order() -> None:
    records = [opened(), *flush(1, path=b"")]
    for serial in range(2, 12):
        records += [written(b"%d" % serial, serial), *flush(serial)]
    timeline = Timeline({}, records)
    forwards = [timeline.build(State(position, NOTHING, 0)) for position in timeline.positions]
    backwards = [timeline.build(State(position, NOTHING, 0)) for position in reversed(timeline.positions)]
    assert forwards == backwards[::-1]


def test_a_write_through_a_map_is_refused() -> None:
    with pytest.raises(ValueError, match="through a map"):
        Timeline({}, [opened(), Record(Kind.MAPPED, 0, 1, 0, 0, b"")])


PROGRAM = """
import os, sys
from pathlib import Path
root = Path(sys.argv[1])
folder = root / "a folder"
folder.mkdir()
with open(folder / "one", "wb", buffering=0) as file:
    file.write(b"first")
    os.writev(file.fileno(), [b" and", b" second"])
    os.pwrite(file.fileno(), b"F", 0)
    os.pwritev(file.fileno(), [b"X", b"Y"], 30)
    os.ftruncate(file.fileno(), 31)
    os.fsync(file.fileno())
(folder / "one").rename(folder / "two")
os.truncate(folder / "two", 40)
os.chdir(folder)
descriptor = os.open("three", os.O_RDWR | os.O_CREAT | os.O_DSYNC)
os.write(descriptor, b"synchronous")
(folder / "two").write_bytes(b"again")
(folder / "four").write_bytes(b"gone")
place = os.open(folder, os.O_RDONLY)
os.unlink("four", dir_fd=place)
os.fsync(place)
(root / "empty").mkdir()
(root / "empty").rmdir()
"""


def test_a_record_explains_every_file(tmp_path: Path) -> None:
    disk, log = tmp_path / "disk", tmp_path / "log"
    environ = {**os.environ, **shim.environment(disk, log=log)}
    notes = Notes(log)
    notes.add("before", number=1)
    subprocess.run([sys.executable, "-c", PROGRAM, str(disk)], env=environ, check=True)
    notes.add("after", number=2)
    notes.close()
    records = read(log)
    timeline = Timeline({}, records)
    assert timeline.build(State(len(records), ALL, 0)) == read_tree(disk)
    assert [record.note["what"] for record in records if record.kind is Kind.NOTE] == ["before", "after"]
    assert records[0].kind is records[-1].kind is Kind.NOTE
    assert sum(record.kind is Kind.SYNC_END for record in records) == 3


@pytest.mark.parametrize("kept_bytes", [1, 40, 60])
def test_a_record_that_a_kill_cut_short_ends_the_run_or_is_told(tmp_path: Path, kept_bytes: int) -> None:
    path = tmp_path / "log"
    notes = Notes(path)
    notes.add("whole")
    whole = path.stat().st_size
    notes.add("cut short", by="a kill", words="x" * 100)
    os.truncate(path, whole + kept_bytes)
    assert [record.note for record in read(path)] == [{"what": "whole"}]
    notes.add("behind it")
    notes.add("and one more", words="x" * 100)
    notes.close()
    with pytest.raises(TornRecordError, match="no record begins at byte"):
        read(path)
