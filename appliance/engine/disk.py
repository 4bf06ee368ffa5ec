"""The directory of a store, seen from the file system: its kind, its free space, and the lock that makes it ours.

Owns the mount table, statvfs and `codeq.lock`. Must not know LMDB or what lies in the directory.
"""

import contextlib
import errno
import fcntl
import os
import re
from pathlib import Path
from typing import Final

from appliance.engine.faults import StoreLocked, StoreRefused

LOCK_NAME: Final = "codeq.lock"

_MOUNT_TABLE: Final = Path("/proc/self/mountinfo")
_REMOTE_TYPES: Final = frozenset(
    (
        *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "fuse", "fuseblk", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"),
        *("orangefs", "prl_fs", "pvfs2", "smb3", "smbfs", "vboxsf", "virtiofs"),
    )
)
"""File systems whose shared memory maps, locks or flushes are not what LMDB needs, so that a crash or a second host
could damage the file unnoticed."""

_NOT_OURS_CODES: Final = frozenset((errno.EACCES, errno.EPERM, errno.EINVAL, errno.EROFS))

_OCTAL_ESCAPE: Final = re.compile(r"\\([0-7]{3})")
_PID_BYTES_MAX: Final = 20


def is_remote(filesystem: str) -> bool:
    """Whether a file system type, as the mount table names it, must not hold a store."""
    return filesystem in _REMOTE_TYPES or filesystem.startswith("fuse.")


def filesystem_in(mount_table: str, path: str, device: int) -> str:
    """The type of the file system that `path` (absolute, without links) lies on; empty where the table has none.

    The longest mount point wins, the later of two equals hides the earlier. A mount point that another one hides
    can be longer, so lines with the path's own `device` (st_dev) go first.
    """
    best = ("", (False, -1))
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mount_table.splitlines():
        fields = line.split(" ")
        if len(fields) < 8 or "-" not in fields[6:-1]:
            continue
        point = _OCTAL_ESCAPE.sub(lambda found: chr(int(found[1], 8)), fields[4])
        if path == point or path.startswith(point.rstrip("/") + "/"):
            rank = (fields[2] == wanted, len(point))
            if rank >= best[1]:
                best = (fields[fields.index("-", 6) + 1], rank)
    return best[0]


def filesystem_of(path: Path) -> str:
    """The type of the file system under an existing path; empty where the system does not tell."""
    try:
        mount_table = _MOUNT_TABLE.read_text(errors="surrogateescape")
    except FileNotFoundError:
        return ""
    real = path.resolve(strict=True)
    return filesystem_in(mount_table, str(real), real.stat().st_dev)


def free_bytes(path: Path) -> int:
    """Bytes that this process may still write to the file system under `path`."""
    facts = os.statvfs(path)
    return facts.f_bavail * facts.f_frsize


def make_directory(path: Path) -> None:
    """Make the directory of a store, readable by its owner only. An existing one stays as it is.

    Raises StoreRefused where the path cannot be a directory that we may write to.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreRefused(f"cannot make the data directory {path}: {error.strerror}") from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise StoreRefused(f"the data directory {path} is not readable and writable for this user")


def refuse_remote(path: Path) -> None:
    """Raise StoreRefused where an existing directory lies on a network file system."""
    filesystem = filesystem_of(path)
    if is_remote(filesystem):
        raise StoreRefused(
            f"the data directory {path} is on a {filesystem} file system, where locks and flushes cannot be relied on: "
            "use a local disk"
        )


def sync(path: Path) -> None:
    """Make a file's content durable, or the names in a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_names(directory: Path) -> None:
    """Make the names in a directory durable, and its own, and those above it on the same file system.

    A directory above it that this user may not open, or whose file system flushes no directories, was not made by this
    program, and is left alone.
    """
    real = directory.resolve(strict=True)
    sync(real)
    device = real.stat().st_dev
    for above in real.parents:
        if above.stat().st_dev != device:
            return
        try:
            sync(above)
        except OSError as error:
            if error.errno not in _NOT_OURS_CODES:
                raise


def in_use(directory: Path) -> bool:
    """Whether a process has a store's directory; asks without writing, as it may be a backup on a read-only disk."""
    try:
        descriptor = os.open(directory / LOCK_NAME, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder(directory: Path) -> int:
    """The process that has a store's directory, as far as it could say so; 0 where none has it or that is not known."""
    if not in_use(directory):
        return 0
    try:
        return int((directory / LOCK_NAME).read_bytes()[:_PID_BYTES_MAX])
    except (OSError, ValueError):
        return 0


class DirectoryLock:
    """One process per data directory, held from construction to `release`. The kernel drops it when the process dies.

    Raises StoreLocked where another holder lives, StoreRefused where the lock file cannot be made.
    """

    __slots__ = ("_descriptor",)

    def __init__(self, directory: Path) -> None:
        path = directory / LOCK_NAME
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StoreRefused(f"cannot open the lock file {path}: {error.strerror}") from error
        try:
            _give(descriptor, directory)
            _take(descriptor, directory)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Let the next process in. Harmless when repeated."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _give(descriptor: int, directory: Path) -> None:
    """A lock file that root made, for a check or a restore, must not keep the node of another user from starting."""
    if os.geteuid() == 0:
        owner = directory.stat()
        # Without the right to give files away there is nobody else whose node this could be.
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _take(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreLocked(f"the data directory {directory} is in use by {_holder(descriptor)}") from None
    # The number is for people only; a full disk, on which it cannot be written, must not keep the node down.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)


def _holder(descriptor: int) -> str:
    pid = 0
    with contextlib.suppress(ValueError):
        pid = int(os.pread(descriptor, _PID_BYTES_MAX, 0))
    if pid == os.getpid():
        return "this process"
    return f"process {pid}" if pid > 0 else "another process"
