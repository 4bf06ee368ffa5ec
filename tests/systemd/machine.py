"""A Debian root that systemd boots in a container of its own, with a network of its own.

Owns the root, the container and the ways into it. Needs root, and mmdebstrap and systemd-container of Debian. Must not
know what is tested in there.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import time
import uuid
from pathlib import Path
from typing import Final

ROOT_MAKER: Final = Path(__file__).parents[2] / "packaging" / "test" / "root.sh"
BOOT_SECONDS: Final = 60.0
STOP_SECONDS: Final = 60.0
CLONE_NEWNET: Final = 0x4000_0000
ENVIRONMENT: Final = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "SYSTEMD_PAGER": "",
}


class MachineError(Exception):
    """Something in the container did not go as it should."""


def missing() -> str:
    """What this machine lacks for a container; empty when it has everything."""
    if os.geteuid() != 0:
        return "root is needed"
    absent = [name for name in ("systemd-nspawn", "mmdebstrap", "nsenter", "gcc") if shutil.which(name) is None]
    hint = "apt install mmdebstrap systemd-container util-linux gcc libc6-dev"
    return f"{', '.join(absent)} not found ({hint})" if absent else ""


class Machine:
    """A container. `boot` first, `end` last; `root` is its file system, seen from here."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self._console = folder / "console.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def boot(self) -> None:
        """Make the root and boot it. Raises MachineError when systemd doesn't come up."""
        subprocess.run([str(ROOT_MAKER), str(self.root)], check=True)
        # Without one this would be a first boot, at which systemd enables units by its presets.
        self.root.joinpath("etc/machine-id").write_text(uuid.uuid4().hex + "\n")
        command = [
            "systemd-nspawn", "--quiet", "--boot", f"--directory={self.root}", f"--machine=codeq-test-{os.getpid()}",
            "--private-network", "--register=no", "--keep-unit", "--console=pipe", "--rlimit=RLIMIT_NOFILE=524288",
        ]  # fmt: skip
        # Machines without systemd of their own often have the older hierarchies of control groups beside the new one.
        environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        with open(self._console, "wb") as console:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, env=environment
            )
        deadline = time.monotonic() + BOOT_SECONDS
        while not self._is_up():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise MachineError(f"the container did not boot:\n{self._console.read_text(errors='replace')[-2000:]}")
            time.sleep(0.2)

    def _is_up(self) -> bool:
        assert self._process is not None
        pid = self._process.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            return False
        if not children:
            return False
        self._leader = int(children[0])
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    def run(self, *command: str, check: bool = True, seconds: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, as root. Raises MachineError when it fails and `check` says so."""
        enter = ["nsenter", f"--target={self._leader}", "--mount", "--uts", "--ipc", "--net", "--pid"]
        enter += [f"--root=/proc/{self._leader}/root", f"--wd=/proc/{self._leader}/root", "--"]
        done = subprocess.run(
            [*enter, *command], capture_output=True, text=True, timeout=seconds, env=ENVIRONMENT, errors="replace"
        )
        if check and done.returncode:
            raise MachineError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def shell(self, script: str, *, check: bool = True, seconds: float = 120.0) -> str:
        """Run a script in the container; what it printed."""
        return self.run("bash", "-euo", "pipefail", "-c", script, check=check, seconds=seconds).stdout

    def enter_network(self) -> None:
        """Have this process, threads and children that it makes from now on use the container's network."""
        with open(f"/proc/{self._leader}/ns/net") as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                raise MachineError(f"setns: {os.strerror(ctypes.get_errno())}")

    def end(self) -> None:
        """Power the container off. Harmless when it did not boot."""
        if self._process is None or self._process.poll() is not None:
            return
        if self._leader:
            self.run("systemctl", "poweroff", "--no-block", check=False)
        for wait_seconds in (STOP_SECONDS, 10.0):
            try:
                self._process.wait(wait_seconds)
                return
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGTERM)
        self._process.kill()
        self._process.wait()
