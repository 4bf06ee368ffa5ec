"""Clients that create, finish and knock without a pause, and keep an exact account of what they were told.

A create is repeated with its key until it is acknowledged, as clients do. Owns the account; must not know what happens
to the node meanwhile.
"""

import http.client
import json
import ssl
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Any, Final, Self

HOST: Final = "localhost"
BASE: Final = "/v1/codeq"
REQUESTS_PER_CONNECTION: Final = 10
ANSWER_SECONDS: Final = 30.0
RETRY_SECONDS: Final = 0.02
KNOCK_SECONDS: Final = 0.005
COMMAND: Final = "traffic"


class Node:
    """How to reach the node: its port, what to trust, and two tokens."""

    def __init__(self, port: int, authority: str, producer: str, worker: str) -> None:
        self.port = port
        self.authority = authority
        self.producer = producer
        self.worker = worker

    def trust(self) -> ssl.SSLContext:
        """A client's context."""
        return ssl.create_default_context(cadata=self.authority)

    def connection(self) -> http.client.HTTPSConnection:
        """A connection, not yet open."""
        return http.client.HTTPSConnection(HOST, self.port, timeout=ANSWER_SECONDS, context=self.trust())

    def call(self, path: str, body: object = None, *, worker: bool = False) -> tuple[int, Any]:
        """One request on a connection of its own: the status and the parsed answer."""
        connection = self.connection()
        try:
            return ask(connection, path, self.worker if worker else self.producer, body)
        finally:
            connection.close()


def ask(connection: http.client.HTTPSConnection, path: str, token: str, body: object = None) -> tuple[int, Any]:
    """GET, or POST where there is a body, below the API's base. Raises OSError or HTTPException."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    text = None if body is None else json.dumps(body)
    connection.request("GET" if text is None else "POST", BASE + path, text, headers)
    response = connection.getresponse()
    answer = response.read()
    return response.status, json.loads(answer) if answer else None


class Traffic:
    """Runs inside `with`. Afterwards `lost` says what is not there although it was acknowledged."""

    def __init__(self, node: Node, name: str, *, producers: int = 3, workers: int = 1, knockers: int = 2) -> None:
        self.node = node
        self._name = name
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self.created: dict[str, str] = {}
        """Idempotency keys of acknowledged creates, and their tasks."""
        self.completed: set[str] = set()
        """Tasks whose result was acknowledged."""
        self.troubles: Counter[str] = Counter()
        """What connections met, by the kind of it; `refused` is the one that must not be."""
        self.connections = 0
        self._threads = [
            *(threading.Thread(target=self._produce, args=(number,)) for number in range(producers)),
            *(threading.Thread(target=self._work) for _ in range(workers)),
            *(threading.Thread(target=self._knock) for _ in range(knockers)),
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        for thread in self._threads:
            thread.join()

    @property
    def refused(self) -> int:
        """Connections that nobody listened for."""
        return self.troubles["refused"]

    def wait_for(self, more: int, seconds: float = 60.0) -> None:
        """Wait until so many further creates are acknowledged. Raises TimeoutError."""
        aim, deadline = len(self.created) + more, time.monotonic() + seconds
        while len(self.created) < aim:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(self.created)} of {aim} creates within {seconds} s; {dict(self.troubles)}")
            time.sleep(RETRY_SECONDS)

    def lost(self) -> list[str]:
        """Every acknowledged create or result that the node does not know, every task made twice."""
        found: list[str] = []
        connection = self.node.connection()
        for key, task in self.created.items():
            status, answer = ask(connection, f"/tasks/{task}", self.node.producer)
            if status != 200:
                found.append(f"task {task} of key {key}: {status}")
            elif task in self.completed and answer["status"] != "COMPLETED":
                found.append(f"task {task}: its result was acknowledged, it is {answer['status']}")
        connection.close()
        if len(set(self.created.values())) != len(self.created):
            found.append("two keys got one task")
        return found

    def count(self, trouble: str) -> None:
        """Add one to a kind of trouble. Any thread."""
        with self._lock:
            self.troubles[trouble] += 1

    def account(self) -> str:
        """One line about it."""
        troubles = ", ".join(f"{count} {kind}" for kind, count in sorted(self.troubles.items())) or "no troubles"
        return (
            f"{len(self.created):,} creates and {len(self.completed):,} results acknowledged, "
            f"{self.connections:,} connections: {troubles}"
        )

    def _produce(self, number: int) -> None:
        client = _Client(self, f"producer {number}")
        count = 0
        while not self.stopping.is_set():
            count += 1
            key = f"{self._name}-{number}-{count}"
            body = {"command": COMMAND, "payload": count, "idempotencyKey": key}
            answer = client.insist("/tasks", self.node.producer, body)
            if answer is not None:
                self.created[key] = answer["id"]

    def _work(self) -> None:
        client = _Client(self, "worker")
        while not self.stopping.is_set():
            claim = {"commands": [COMMAND], "leaseSeconds": 300, "waitSeconds": 1}
            task = client.insist("/tasks/claim", self.node.worker, claim)
            if task is None:
                continue
            result = {"status": "COMPLETED", "result": None}
            if client.insist(f"/tasks/{task['id']}/result", self.node.worker, result) is not None:
                self.completed.add(task["id"])

    def _knock(self) -> None:
        client = _Client(self, "knocker", requests_per_connection=1)
        while not self.stopping.is_set():
            client.insist("/raft/status", self.node.producer, None)
            time.sleep(KNOCK_SECONDS)


class _Client:
    """One thread's connection, made anew after trouble and after so many requests."""

    def __init__(self, traffic: Traffic, who: str, *, requests_per_connection: int = REQUESTS_PER_CONNECTION) -> None:
        self._traffic = traffic
        self._who = who
        self._requests_per_connection = requests_per_connection
        self._connection: http.client.HTTPSConnection | None = None
        self._requests = 0

    def insist(self, path: str, token: str, body: object) -> Any:
        """Ask until there is an answer; None for an empty one, for a refusal, and where the end came first."""
        while True:
            try:
                status, answer = ask(self._open(), path, token, body)
            except ConnectionRefusedError:
                self._trouble("refused")
            except (OSError, http.client.HTTPException) as error:
                self._trouble(f"{type(error).__name__} ({self._who.partition(' ')[0]})")
            else:
                self._requests += 1
                if self._requests >= self._requests_per_connection:
                    self._close()
                if status < 300:
                    return answer
                self._traffic.count(str(status))
                if status not in (429, 503):
                    return None
            if self._traffic.stopping.is_set():
                self._close()
                return None
            time.sleep(RETRY_SECONDS)

    def _open(self) -> http.client.HTTPSConnection:
        if self._connection is None:
            self._connection = self._traffic.node.connection()
            self._requests = 0
            self._traffic.connections += 1
        return self._connection

    def _trouble(self, kind: str) -> None:
        self._traffic.count(kind)
        self._close()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
