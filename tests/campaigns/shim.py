"""The shim between a process and its files: how it is built, what loads it, and the faults that it can be told.

Owns `shim.c`: its compiler, its environment variables and its control block. Must not know what a store is. The
compiler is the system's `cc` where there is one; elsewhere the one in the `ziglang` wheel, which pip fetches once.
"""

import hashlib
import mmap
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("shim.c")
FLAGS: Final = ("-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-ldl", "-lpthread")
COMPILER_WHEEL: Final = "ziglang==0.17.1"
"""About 100 MB, and only where there is no compiler."""

WRITE: Final = 1
META_WRITE: Final = 2
SYNC: Final = 3
RESIZE: Final = 4
DIRECTORY_SYNC: Final = 5
"""The calls that can be made to fail. A META_WRITE goes through a descriptor that was opened to write synchronously."""

INSTEAD: Final = 0
AFTERWARDS: Final = 1
SHORT: Final = 2
"""The call is not made; it is made and said to have failed; half of it is made."""

FOR_EVER: Final = -1

_FIELDS: Final = struct.Struct("<8i2q6i")
_ARMED: Final = struct.Struct("<7i")
_HITS_AT: Final = 24
_FREE_SET_AT: Final = 28
_CLOCK_AT: Final = 32
_FREE_AT: Final = 40
_CALLS_AT: Final = 48


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "codeq-campaigns"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _compiler() -> list[str]:
    if (found := shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")) is not None:
        return [found]
    return wheel_compiler()


def wheel_compiler() -> list[str]:
    """The command of the compiler from a wheel, which is fetched on first use."""
    folder = _cache_folder() / COMPILER_WHEEL
    if not folder.exists():
        partial = Path(tempfile.mkdtemp(prefix="wheel-", dir=folder.parent))
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*install, "--target", str(partial), COMPILER_WHEEL], check=True)
        partial.rename(folder)
    return [str(folder / "ziglang" / "zig"), "cc"]


@cache
def library(compiler: tuple[str, ...] = ()) -> Path:
    """The shim, built when its source or compiler is new. Raises CalledProcessError where it cannot be built."""
    command = list(compiler) or _compiler()
    name = hashlib.sha256(SOURCE.read_bytes() + repr((command, FLAGS)).encode()).hexdigest()[:16]
    built = _cache_folder() / f"shim-{name}.so"
    if not built.exists():
        with tempfile.TemporaryDirectory(dir=built.parent) as folder:
            fresh = Path(folder) / "shim.so"
            subprocess.run([*command, "-o", str(fresh), str(SOURCE), *FLAGS], check=True)
            fresh.rename(built)
    return built


def environment(root: Path, *, log: Path | None = None, control: "Control | None" = None) -> dict[str, str]:
    """What a process needs in its environment so that its calls below `root` are recorded, or can be made to fail."""
    root.mkdir(parents=True, exist_ok=True)
    return {
        "LD_PRELOAD": str(library()),
        "CODEQ_SHIM_ROOT": str(root),
        **({} if log is None else {"CODEQ_SHIM_LOG": str(log)}),
        **({} if control is None else {"CODEQ_SHIM_CONTROL": str(control.path)}),
    }


def mounts(table: Path) -> Mapping[str, str]:
    """More for the environment: this file is what the process finds as its table of mounts."""
    return {"CODEQ_SHIM_MOUNTS": str(table)}


class Control:
    """The control block of one process, in a file that both map. Changes are seen with its next call."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(_FIELDS.size))
        with open(path, "r+b") as file:
            self._block = mmap.mmap(file.fileno(), _FIELDS.size)

    def arm(
        self, call: int, error: int = 0, *, skip: int = 0, times: int = 1, mode: int = INSTEAD, delay_ms: int = 0
    ) -> None:
        """Let `skip` such calls pass, then strike so many: with this `errno`, after a delay, or with that alone."""
        self.disarm()
        _ARMED.pack_into(self._block, 0, 0, skip, times, error, mode, delay_ms, 0)
        struct.pack_into("<i", self._block, 0, call)

    def disarm(self) -> None:
        """Let all calls through. Those that wait go on waiting."""
        struct.pack_into("<i", self._block, 0, 0)

    @property
    def hits(self) -> int:
        """How often it has struck since it was armed."""
        count: int = struct.unpack_from("<i", self._block, _HITS_AT)[0]
        return count

    def calls(self, call: int) -> int:
        """How many such calls there were since the process began."""
        count: int = struct.unpack_from("<i", self._block, _CALLS_AT + 4 * call)[0]
        return count

    def set_free_bytes(self, free_bytes: int | None) -> None:
        """What the process is told of the free space of its disk; None: the truth."""
        struct.pack_into("<q", self._block, _FREE_AT, free_bytes or 0)
        struct.pack_into("<i", self._block, _FREE_SET_AT, int(free_bytes is not None))

    def shift_clock(self, seconds: int) -> None:
        """Move the process's wall clock."""
        struct.pack_into("<q", self._block, _CLOCK_AT, seconds)

    def close(self) -> None:
        """Let go of the block."""
        self._block.close()
