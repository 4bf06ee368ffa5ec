"""A real node in a process of its own, as a user would start it, and what a test does to it.

Owns the process: its directory, its port (kept over restarts), its output and its end. Knows `codeq dev` and signals,
nothing of what the node serves beyond `/readyz` and `/metrics`.
"""

import contextlib
import errno
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx

from appliance.auth.caller import PRODUCER, WORKER, WORKER_SCOPES, Kind
from appliance.auth.claims import ADMIN_ROLE
from appliance.auth.mint import Grant, mint, signing_key

ROOT: Final = Path(__file__).resolve().parents[2]
CODEQ: Final = (sys.executable, "-m", "appliance.cli.main")
READY_SECONDS: Final = 20.0
"""A start takes about half a second; a busy machine may take many times that."""
STOP_SECONDS: Final = 20.0
LOOK_SECONDS: Final = 0.02


class NodeError(AssertionError):
    """The process did not do what it should; the message ends with what it wrote."""


class Node:
    """`codeq dev` on `folder`. `environ` is laid over the tests' own environment, without any `CODEQ_…` of theirs.

    `command` takes the place of `codeq`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        plaintext: bool = False,
        port: int = 0,
        environ: Mapping[str, str] | None = None,
        command: tuple[str, ...] = CODEQ,
    ) -> None:
        self.folder = folder
        self.plaintext = plaintext
        self.port = port or free_port()
        self.environ = dict(environ or {})
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    # The process.

    def start(self, environ: Mapping[str, str] | None = None, *, config: Path | None = None) -> None:
        """Start the process, as `codeq serve` where a `config` is given. Does not wait for it to be ready.

        `environ` is for this start only.
        """
        assert self._process is None, "it runs already"
        self.folder.mkdir(parents=True, exist_ok=True)
        if config is not None:
            arguments = [*self._command, "serve", "--config", str(config)]
        else:
            arguments = [*self._command, "dev", "--dir", str(self.folder), "--port", str(self.port)]
            arguments += ["--plaintext"] * self.plaintext
        with open(self._out, "wb") as out, open(self._err, "ab") as err:
            self._process = subprocess.Popen(
                arguments, cwd=ROOT, stdout=out, stderr=err, env=clean_environment({**self.environ, **(environ or {})})
            )

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until `/readyz` says 200. Raises NodeError when the process ends or the time is up."""
        deadline = time.monotonic() + seconds
        while not self.answers_ready():
            if self.process.poll() is not None:
                raise NodeError(f"the node ended with {self.process.returncode}:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise NodeError(f"the node was not ready within {seconds} s:\n{self.log_tail()}")
            time.sleep(LOOK_SECONDS)

    def answers_ready(self) -> bool:
        """Whether `/readyz` answers 200 now."""
        request = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        try:
            with self.connect(seconds=2.0) as sock:
                sock.sendall(request)
                return sock.recv(64).startswith(b"HTTP/1.1 200 ")
        except OSError:
            return False

    def up(self, environ: Mapping[str, str] | None = None) -> "Node":
        """Start and wait until it is ready."""
        self.start(environ)
        self.wait_ready()
        return self

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self.process.send_signal(number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for the end of the process; its exit status. Raises NodeError when it does not end in time."""
        try:
            exit_status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise NodeError(f"the node did not end within {seconds} s:\n{self.log_tail()}") from None
        self._process = None
        return exit_status

    def stop(self) -> None:
        """Stop it politely, and insist on exit status 0."""
        self.signal(signal.SIGTERM)
        exit_status = self.wait()
        if exit_status:
            raise NodeError(f"the node ended with {exit_status}:\n{self.log_tail()}")

    def kill(self) -> None:
        """End it as a power cut would. Harmless when it is not running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        assert self._process is not None, "it does not run"
        return self._process

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    # Its words.

    @property
    def _out(self) -> Path:
        return self.folder / "stdout.txt"

    @property
    def _err(self) -> Path:
        return self.folder / "stderr.txt"

    @property
    def printed(self) -> str:
        """What the latest start printed for its user."""
        return self._out.read_text()

    @property
    def log(self) -> str:
        """What all starts together logged."""
        return self._err.read_text()

    def log_tail(self, lines: int = 30) -> str:
        """The end of the log."""
        return "\n".join(self.log.splitlines()[-lines:])

    def wait_for_log(self, text: str, count: int = 1, seconds: float = 10.0) -> None:
        """Wait until the log has `text` at least `count` times."""
        deadline = time.monotonic() + seconds
        while self.log.count(text) < count:
            if time.monotonic() > deadline:
                raise NodeError(f"not logged within {seconds} s: {text}\n{self.log_tail()}")
            time.sleep(LOOK_SECONDS)

    # Ways in.

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        return f"{'http' if self.plaintext else 'https'}://localhost:{self.port}"

    def trust(self) -> ssl.SSLContext:
        """A client's context that trusts this node's authority and offers no protocol yet."""
        return ssl.create_default_context(cafile=str(self.folder / "ca.pem"))

    def connect(self, *, seconds: float = 10.0, alpn: tuple[str, ...] = (), tls: bool | None = None) -> socket.socket:
        """A connected socket, inside TLS unless the node is a plaintext one (or as `tls` says)."""
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=seconds)
        if not (not self.plaintext if tls is None else tls):
            return sock
        try:
            context = self.trust()
            if alpn:
                context.set_alpn_protocols(list(alpn))
            return context.wrap_socket(sock, server_hostname="localhost")
        except BaseException:
            sock.close()
            raise

    def client(self, *, http2: bool = False, seconds: float = 40.0) -> httpx.Client:
        """An HTTP client: HTTP/1.1, or HTTP/2 (with prior knowledge where there is no TLS)."""
        return httpx.Client(
            base_url=self.url,
            verify=self.trust(),
            http1=not http2,
            http2=http2,
            timeout=seconds,
            trust_env=False,
            limits=httpx.Limits(max_connections=200),
        )

    def token(self, kind: Kind) -> str:
        """The token of the directory."""
        return (self.folder / f"{kind}.token").read_text().strip()

    def key(self, kind: Kind) -> bytes:
        """The private key, in PEM form, that signs tokens of this kind."""
        return (self.folder / f"{kind}-key.pem").read_bytes()

    def mint(
        self,
        kind: Kind,
        tenant: str,
        *,
        subject: str = "",
        commands: tuple[str, ...] = ("*",),
        scopes: tuple[str, ...] = WORKER_SCOPES,
        lifetime_seconds: int = 3_600,
        role: str = "",
    ) -> str:
        """A new token of the directory's keys."""
        grant = Grant(
            kind,
            subject or f"{tenant}-{kind}",
            tenant,
            lifetime_seconds,
            scopes=scopes if kind == WORKER else (),
            commands=commands if kind == WORKER else (),
            role=role,
        )
        return mint(signing_key(self.key(kind)), grant, time.time())

    def producer(self, tenant: str) -> str:
        """A token that creates tasks of `tenant`."""
        return self.mint(PRODUCER, tenant)

    def admin(self, tenant: str) -> str:
        """A token of somebody who administers `tenant`."""
        return self.mint(PRODUCER, tenant, subject=f"{tenant}-admin", role=ADMIN_ROLE)

    def worker(self, tenant: str, subject: str = "") -> str:
        """A token that may do all that workers do, in `tenant`."""
        return self.mint(WORKER, tenant, subject=subject)

    # Looking at it.

    def metrics(self) -> dict[str, float]:
        """Every sample of `/metrics`: the name with its labels as they are written, and the value."""
        with self.client() as client:
            text = client.get("/metrics").raise_for_status().text
        samples = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}

    def check(self) -> subprocess.CompletedProcess[str]:
        """`codeq check` on the store, which must not be running."""
        return codeq("check", "--directory", str(self.folder / "data"))


def codeq(
    *arguments: str, environ: Mapping[str, str] | None = None, seconds: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [*CODEQ, *arguments],
        cwd=ROOT,
        env=clean_environment(environ or {}),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment without settings and proxies of whoever runs the tests, and with `extra`."""
    unwanted = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CODEQ_") and name.lower() not in unwanted
    }
    return {**kept, **extra}


def free_port() -> int:
    """A port that nobody listens on, on either loopback address."""
    while True:
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second = stack.enter_context(socket.socket(socket.AF_INET6))
                second.bind(("::1", port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
            return port
