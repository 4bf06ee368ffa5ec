"""A service manager in a few lines: it opens the port, passes it to the node, and hears what the node says.

Owns the listening socket, which stays open while the node is down, and the notification socket.
"""

import contextlib
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.e2e.node import CODEQ, ROOT, Node, NodeError, clean_environment

HEAR_SECONDS: Final = 20.0


class ManagedNode(Node):
    """A node on a passed socket."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        super().__init__(folder, port=self._listening.getsockname()[1], environ=environ)
        folder.mkdir(parents=True)
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notified.bind(str(folder / "notify"))
        self._notified.settimeout(HEAR_SECONDS)

    def start(self, environ: Mapping[str, str] | None = None, *, config: Path | None = None) -> None:
        """Start it as systemd does: the socket is descriptor 3, and the variables name the process."""
        given = {"NOTIFY_SOCKET": str(self.folder / "notify"), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "https"}
        command = [*CODEQ, "dev", "--dir", str(self.folder)]
        script = f'exec 3<&{self._listening.fileno()}; LISTEN_PID=$$ exec "$@"'
        with open(self._out, "wb") as out, open(self._err, "ab") as err:
            self._process = subprocess.Popen(
                ["bash", "-c", script, "bash", *command],
                cwd=ROOT,
                stdout=out,
                stderr=err,
                pass_fds=(self._listening.fileno(),),
                env=clean_environment({**self.environ, **given, **(environ or {})}),
            )

    def hear(self, word: str) -> list[str]:
        """Everything the node says until `word`. Raises NodeError when it does not come."""
        heard: list[str] = []
        deadline = time.monotonic() + HEAR_SECONDS
        while word not in heard:
            try:
                heard += self._notified.recv(4_096).decode().split("\n")
            except TimeoutError:
                raise NodeError(f"{word} was not heard, only {heard}:\n{self.log_tail()}") from None
            if time.monotonic() > deadline:
                raise NodeError(f"{word} was not heard, only {heard}")
        return heard

    def close(self) -> None:
        """End everything."""
        self.kill()
        for sock in (self._listening, self._notified):
            with contextlib.suppress(OSError):
                sock.close()
        (self.folder / "notify").unlink()
