"""How much of a file is in memory."""

from pathlib import Path

from loadtest.pagecache import read_through, resident_share


def test_a_file_that_was_read_is_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 20))
    read_through(path)
    assert resident_share(path) == 1
