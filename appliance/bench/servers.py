"""Servers to measure: a node of this project, and a sketch that nodes are compared with.

Owns starting them on loopback with everything they need in a folder, waiting until they serve, asking them for their
metrics, and stopping them in every case. Must not know what is measured.
"""

import http.client
import importlib.util
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.auth.caller import PRODUCER, WORKER, WORKER_SCOPES
from appliance.auth.mint import Grant, mint, signing_key
from appliance.bench.plan import Target
from appliance.bench.proc import anonymous_bytes, cpu_seconds
from appliance.cli.dev import prepare

START_SECONDS: Final = 120
"""A node with millions of tasks on a slow disk starts within seconds; one that needs this has failed."""
STOP_SECONDS: Final = 60
ANSWER_SECONDS: Final = 60.0
"""Longer than any answer takes; a node that needs more has hung."""
_ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_POLL_SECONDS: Final = 0.002
_LOG_TAIL_BYTES: Final = 4_000
_TOKEN_SECONDS: Final = 7 * 86_400


class ServerError(Exception):
    """A server did not start, or ended on its own."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens on loopback; `ca` is the certificate to trust, None for plaintext."""

    port: int
    ca: Path | None = None

    @property
    def base(self) -> str:
        """Scheme, host and port."""
        return f"{'https' if self.ca else 'http'}://127.0.0.1:{self.port}"

    @property
    def target(self) -> Target:
        """The same for a load."""
        return Target("localhost" if self.ca else "127.0.0.1", self.port, self.ca is not None, self.ca)

    def context(self) -> ssl.SSLContext | None:
        """How to speak TLS to it."""
        return ssl.create_default_context(cafile=str(self.ca)) if self.ca else None


class Server:
    """A running server. `ready_seconds` is the time from its start to its first answer that says it is ready."""

    def __init__(self, process: "subprocess.Popen[bytes]", address: Address, ready_seconds: float) -> None:
        self.address = address
        self.ready_seconds = ready_seconds
        self._process = process

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def cpu_seconds(self) -> float:
        """CPU time so far; raises ServerError where the process has ended."""
        self._must_run()
        return cpu_seconds(self._process.pid)

    def anonymous_bytes(self) -> int:
        """Memory that is backed by no file."""
        self._must_run()
        return anonymous_bytes(self._process.pid)

    def _must_run(self) -> None:
        if self._process.poll() is not None:
            raise ServerError(f"the server ended by itself with status {self._process.returncode}")


class Node(Server):
    """A running node, with tokens of one tenant."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", address: Address, ready_seconds: float, folder: Path
    ) -> None:
        super().__init__(process, address, ready_seconds)
        self.producer_token = (folder / "producer.token").read_text().strip()
        self.worker_token = (folder / "worker.token").read_text().strip()
        self._folder = folder

    def metric(self, name: str) -> float:
        """The sum of one metric's samples, 0 without any. A maximum since the last scrape starts anew with each."""
        return metric_sum(get(self.address.target, "/metrics")[1], name)

    def tokens(self, tenant: str) -> tuple[str, str]:
        """A producer's and a worker's token of any tenant, for all commands, for a week."""
        grants = (
            Grant(PRODUCER, f"bench-{PRODUCER}", tenant, _TOKEN_SECONDS),
            Grant(WORKER, f"bench-{WORKER}", tenant, _TOKEN_SECONDS, scopes=WORKER_SCOPES, commands=("*",)),
        )
        keys = [signing_key((self._folder / f"{grant.kind}-key.pem").read_bytes()) for grant in grants]
        producer, worker = (mint(key, grant, time.time()) for key, grant in zip(keys, grants, strict=True))
        return producer, worker


def get(target: Target, path: str) -> tuple[int, str]:
    """One GET on a connection of its own: status and text. Raises OSError or HTTPException."""
    connection = (
        http.client.HTTPSConnection(
            target.host,
            target.port,
            timeout=ANSWER_SECONDS,
            context=ssl.create_default_context(cafile=str(target.ca) if target.ca else None),
        )
        if target.tls
        else http.client.HTTPConnection(target.host, target.port, timeout=ANSWER_SECONDS)
    )
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def metric_sum(text: str, name: str, labels: str = "") -> float:
    """The sum over all labels of one metric in Prometheus' text form; `labels` is a part of those that count."""
    found = re.findall(rf"^{re.escape(name)}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
    return sum(float(value) for own, value in found if labels in own)


@contextmanager
def workspace(base: Path, prefix: str = "codeq-loadtest-") -> Iterator[Path]:
    """A folder for one program, gone at its end."""
    base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=base, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def data_directory(folder: Path) -> Path:
    """Where a node started in `folder` keeps its store."""
    return folder / "data"


@contextmanager
def running_node(folder: Path, *, tls: bool = False, settings: Mapping[str, str] | None = None) -> Iterator[Node]:
    """A node whose files are in `folder`, made or reused. `settings` are `CODEQ_…` variables without that prefix."""
    port = free_port()
    prepare(folder, port, plaintext=not tls)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CODEQ_")}
    environment |= {f"CODEQ_{name}": value for name, value in (settings or {}).items()}
    command = [sys.executable, "-m", "appliance.cli.main", "serve", "--config", str(folder / "codeq.yml")]
    address = Address(port, folder / "ca.pem" if tls else None)
    began = time.perf_counter()
    with _process(command, environment, folder / "node.log") as process:
        yield Node(process, address, _wait(process, began, lambda: _says_ready(address)), folder)


@contextmanager
def running_prototype(program: Path, folder: Path, *, tls: bool = False) -> Iterator[Server]:
    """The sketch: `program` is its server.py, or the folder that holds it beside its two .proto files."""
    source = program / "server.py" if program.is_dir() else program
    if not source.is_file():
        raise ServerError(f"there is no server.py at {program}")
    folder.mkdir(parents=True, exist_ok=True)
    _make_messages(source.parent, folder)
    port = free_port()
    command = [sys.executable, str(source), "--port", str(port), "--data", str(data_directory(folder))]
    if tls:
        command += ["--tls", *_certificate(folder)]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    address = Address(port, folder / "ca.pem" if tls else None)
    began = time.perf_counter()
    with _process(command, environment, folder / "prototype.log") as process:
        yield Server(process, address, _wait(process, began, lambda: _accepts(port)))


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _certificate(folder: Path) -> tuple[str, str]:
    """A server certificate just like that of a development node, so that handshakes and records cost the same."""
    prepare(folder, 1, plaintext=False)
    return str(folder / "server.pem"), str(folder / "server-key.pem")


def _make_messages(protos: Path, folder: Path) -> None:
    """The modules `producer_pb2` and `worker_pb2`. REST uses none of their messages, so empty ones do for it."""
    if importlib.util.find_spec("grpc_tools") is not None:
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{protos}", f"--python_out={folder}"]
        made = subprocess.run([*command, "producer.proto", "worker.proto"], capture_output=True, check=False)
        if made.returncode == 0:
            return
    for name in ("producer_pb2.py", "worker_pb2.py"):
        (folder / name).write_text("")


@contextmanager
def _process(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("ab") as output, ExitStack() as ending:
        with _signals_put_off():
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            ending.callback(_stop, process, log)
        yield process


@contextmanager
def _signals_put_off() -> Iterator[None]:
    """Signals that end the program by an exception come afterwards: in the middle of a start, one would leave a server
    behind that nobody has noted yet."""
    caught: list[int] = []
    in_main = threading.current_thread() is threading.main_thread()
    before = {number: handler for number in _ENDING if in_main and callable(handler := signal.getsignal(number))}
    try:
        for number in before:
            signal.signal(number, lambda number, _frame: caught.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for each in caught:
            signal.raise_signal(each)


def _stop(process: "subprocess.Popen[bytes]", log: Path) -> None:
    if process.poll() is not None:
        print(f"the server ended by itself; the end of its log:\n{_tail(log)}", file=sys.stderr, flush=True)
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait(process: "subprocess.Popen[bytes]", began: float, is_ready: Callable[[], bool]) -> float:
    """Seconds from `began` (of the performance counter) until the server is ready; raises ServerError."""
    while time.perf_counter() - began < START_SECONDS:
        if process.poll() is not None:
            raise ServerError(f"the server did not start, status {process.returncode}")
        if is_ready():
            return time.perf_counter() - began
        time.sleep(_POLL_SECONDS)
    raise ServerError(f"the server was not ready after {START_SECONDS} s")


def _says_ready(address: Address) -> bool:
    try:
        return get(address.target, "/readyz")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False


def _tail(log: Path) -> str:
    return log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")
