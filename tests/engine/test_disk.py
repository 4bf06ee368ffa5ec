"""The directory of a store: which file systems are refused, and who holds the lock."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.engine import disk
from appliance.engine.disk import LOCK_NAME, DirectoryLock, filesystem_in, is_remote
from appliance.engine.faults import StoreLocked, StoreRefused

MOUNT_TABLE = """\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
28 27 0:50 / /data rw shared:1 - nfs4 server:/export rw
29 28 0:51 / /data/local rw shared:2 master:3 - xfs /dev/vdb rw
30 27 0:52 / /with\\040space rw - cifs //server/share rw
31 27 0:53 / /over rw - nfs server:/old rw
32 27 0:54 / /over rw - tmpfs tmpfs rw
33 31 0:55 / /hidden/deep rw - nfs server:/x rw
34 27 0:56 / /hidden rw - ext4 /dev/vdc rw
a line that is none
"""


@pytest.mark.parametrize(
    ("path", "device", "expected"),
    [
        ("/var/lib/codeq", os.makedev(254, 0), "ext4"),
        ("/data", os.makedev(0, 50), "nfs4"),
        ("/data/store", os.makedev(0, 50), "nfs4"),
        ("/data/local/store", os.makedev(0, 51), "xfs"),
        ("/database", os.makedev(254, 0), "ext4"),
        ("/with space/store", os.makedev(0, 52), "cifs"),
        ("/over/store", os.makedev(0, 54), "tmpfs"),
        ("/hidden/deep/store", os.makedev(0, 56), "ext4"),
        ("/data/store", os.makedev(9, 9), "nfs4"),
    ],
)
def test_the_file_system_under_a_path_is_found_in_the_mount_table(path: str, device: int, expected: str) -> None:
    assert filesystem_in(MOUNT_TABLE, path, device) == expected


def test_an_empty_mount_table_tells_nothing() -> None:
    assert filesystem_in("", "/data", 0) == ""


@pytest.mark.parametrize("filesystem", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse", "fuse.sshfs", "fuse.glusterfs"])
def test_network_file_systems_are_remote(filesystem: str) -> None:
    assert is_remote(filesystem)


@pytest.mark.parametrize("filesystem", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", ""])
def test_local_file_systems_are_not_remote(filesystem: str) -> None:
    assert not is_remote(filesystem)


def test_a_directory_on_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "filesystem_of", lambda _path: "nfs4")
    with pytest.raises(StoreRefused, match="nfs4"):
        disk.refuse_remote(tmp_path)


def test_the_file_system_of_this_machine_is_named(tmp_path: Path) -> None:
    assert disk.filesystem_of(tmp_path)
    assert disk.free_bytes(tmp_path) > 0


def test_a_new_directory_is_for_its_owner_only(tmp_path: Path) -> None:
    disk.make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreRefused):
        disk.make_directory(tmp_path / "file")


def test_a_second_lock_in_this_process_is_refused_until_the_first_is_released(tmp_path: Path) -> None:
    first = DirectoryLock(tmp_path)
    with pytest.raises(StoreLocked, match="this process"):
        DirectoryLock(tmp_path)
    first.release()
    first.release()
    DirectoryLock(tmp_path).release()


def test_a_lock_of_another_process_is_reported_with_its_number_and_ends_with_it(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from appliance.engine.disk import DirectoryLock\n"
        "lock = DirectoryLock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreLocked, match=rf"{tmp_path}.*process {holder.pid}") as refusal:
            DirectoryLock(tmp_path)
        assert refusal.value.exit_status == 75
        holder.kill()
    DirectoryLock(tmp_path).release()


def test_a_link_in_place_of_the_lock_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreRefused, match=LOCK_NAME):
        DirectoryLock(tmp_path)
