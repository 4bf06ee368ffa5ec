"""Entries of the journal's native protocol."""

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.journal import JournalHandler, entry, stderr_is_journal


def parsed(datagram: bytes) -> dict[str, str]:
    """What journald reads: NAME=value lines, and NAME lines with a length and bytes."""
    fields: dict[str, str] = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        if b"=" in line:
            name, _, value = line.partition(b"=")
        else:
            name, length = line, int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + length], rest[8 + length + 1 :]
        fields[name.decode()] = value.decode()
        datagram = rest
    return fields


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "journal"))
        sock.setblocking(False)
        yield sock


@pytest.fixture
def logger(journal: socket.socket) -> Iterator[logging.Logger]:
    found, handler = logging.getLogger("codeq.journaltest"), JournalHandler(journal.getsockname())
    found.addHandler(handler)
    found.setLevel(logging.DEBUG)
    found.propagate = False
    yield found
    found.removeHandler(handler)
    handler.close()


def test_an_entry_has_a_priority_and_a_field_for_each_extra(journal: socket.socket, logger: logging.Logger) -> None:
    logger.warning("took %d ms", 5, extra={"request_id": "r-1", "exitStatus": 3})
    fields = parsed(journal.recv(65_536))
    assert fields.pop("CODE_FILE").endswith("test_journal.py") and int(fields.pop("CODE_LINE")) > 0
    assert fields == {
        "MESSAGE": "took 5 ms requestId=r-1 exitStatus=3",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "codeq",
        "LOGGER": "codeq.journaltest",
        "CODEQ_REQUEST_ID": "r-1",
        "CODEQ_EXIT_STATUS": "3",
    }


@pytest.mark.parametrize(("level", "priority"), [("debug", 7), ("info", 6), ("error", 3), ("critical", 2)])
def test_levels_become_priorities(journal: socket.socket, logger: logging.Logger, level: str, priority: int) -> None:
    getattr(logger, level)("x")
    assert parsed(journal.recv(65_536))["PRIORITY"] == str(priority)


def test_a_traceback_is_part_of_the_message_and_input_forges_no_line(
    journal: socket.socket, logger: logging.Logger
) -> None:
    try:
        raise ValueError("it broke")
    except ValueError:
        logger.exception("bad %s", "input\nPRIORITY=0")
    fields = parsed(journal.recv(65_536))
    assert fields["PRIORITY"] == "3"
    lines = fields["MESSAGE"].splitlines()
    assert lines[0] == r"bad input\nPRIORITY=0" and lines[-1] == "    ValueError: it broke"


def test_no_secret_reaches_the_journal(journal: socket.socket, logger: logging.Logger) -> None:
    logger.info("Authorization: Bearer abcdef", extra={"token": "abcdef", "why": "password=abcdef"})
    assert b"abcdef" not in journal.recv(65_536)


def test_a_full_journal_loses_lines_and_the_next_one_says_how_many(
    journal: socket.socket, logger: logging.Logger
) -> None:
    handler = next(each for each in logger.handlers if isinstance(each, JournalHandler))
    while not handler.lost:
        logger.info("x" * 10_000)
    logger.info("lost too")
    while True:
        try:
            journal.recv(65_536)
        except BlockingIOError:
            break
    logger.info("room again")
    assert parsed(journal.recv(65_536))["CODEQ_LOST"] == "2"
    logger.info("and again")
    assert "CODEQ_LOST" not in parsed(journal.recv(65_536))


@given(st.dictionaries(st.sampled_from(["MESSAGE", "A", "B_C"]), st.text()))
def test_any_text_comes_back_from_an_entry(fields: dict[str, str]) -> None:
    sendable = {name: value.encode("utf-8", "replace").decode() for name, value in fields.items()}
    assert parsed(entry(fields)) == sendable


def test_the_journal_is_known_by_the_file_behind_standard_error(tmp_path: Path) -> None:
    with open(tmp_path / "stderr", "w") as file:
        status = os.fstat(file.fileno())
        assert stderr_is_journal(f"{status.st_dev}:{status.st_ino}", file.fileno())
        assert not stderr_is_journal(f"{status.st_dev}:{status.st_ino + 1}", file.fileno())
        assert not stderr_is_journal("", file.fileno())
