"""A good client, in a process of its own: it creates, claims and finishes over REST and over both streams, and times
every answer.

Owns the process and what it saw. Every answer that is not what it should be is an error, and so is a lost connection.
"""

import contextlib
import json
import multiprocessing
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any, Final, NamedTuple

from appliance.api.streams.wire import producer_pb2 as pb
from appliance.api.streams.wire import worker_pb2 as wb
from tests.e2e.bad_grpc import producer_hello, worker_hello
from tests.e2e.frames import Outcome, window_update
from tests.e2e.grpc_peer import PRODUCER, WORKER, GrpcPeer, prefixed
from tests.e2e.raw import read_answer

PAUSE_SECONDS: Final = 0.01
ANSWER_SECONDS: Final = 30.0
END_SECONDS: Final = 60.0
PRODUCING: Final = 1
WORKING: Final = 3
COMMANDS: Final = ("rest", "stream")
WINDOW_BYTES: Final = 1 << 30
"""Opened once: this client never makes the node wait."""


class Place(NamedTuple):
    """Where the client connects, and as whom."""

    port: int
    authority: Path
    producer: str
    worker: str


class Feeling(NamedTuple):
    """What the client felt: the time of every answer in ms, sorted, and what was wrong."""

    answers_ms: list[float]
    errors: list[str]

    def percentile_ms(self, percent: float) -> float:
        """Nearest rank; 0 where there was no answer."""
        if not self.answers_ms:
            return 0.0
        return self.answers_ms[min(len(self.answers_ms) - 1, int(len(self.answers_ms) * percent / 100))]


class Client:
    """One connection for REST and one for both streams, over TLS."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._rest = self._connect("http/1.1")
        self._rest_stream = self._rest.makefile("rb")
        self._peer = GrpcPeer(self._connect("h2"))
        self._peer.send(window_update(0, WINDOW_BYTES))
        self._read = {PRODUCING: 0, WORKING: 0}
        self._peer.call(PRODUCING, PRODUCER, producer_hello(place.producer))
        self._peer.call(WORKING, WORKER, worker_hello(place.worker))
        for stream in (PRODUCING, WORKING):
            self._peer.send(window_update(stream, WINDOW_BYTES))
            self._next(stream)

    def close(self) -> None:
        """Close both connections."""
        self._rest.close()
        self._peer.close()

    def _connect(self, alpn: str) -> socket.socket:
        context = ssl.create_default_context(cafile=str(self._place.authority))
        context.set_alpn_protocols([alpn])
        sock = socket.create_connection(("127.0.0.1", self._place.port), timeout=ANSWER_SECONDS)
        return context.wrap_socket(sock, server_hostname="localhost")

    def cycle(self) -> Iterator[float]:
        """A task's life over REST, and one over the streams; yields how long each answer took, in ms."""
        began = time.perf_counter()

        def lap() -> float:
            nonlocal began
            now = time.perf_counter()
            took_ms, began = (now - began) * 1000, now
            return took_ms

        task = self._post("/tasks", {"command": COMMANDS[0], "payload": 1}, self._place.producer, 201)
        yield lap()
        claimed = self._post("/tasks/claim", {"commands": [COMMANDS[0]]}, self._place.worker, 200)
        yield lap()
        if claimed["id"] != task["id"]:
            raise AssertionError(f"claimed {claimed['id']} instead of {task['id']}")
        result = {"status": "COMPLETED", "result": 1, "leaseId": claimed["leaseId"]}
        self._post(f"/tasks/{claimed['id']}/result", result, self._place.worker, 200)
        yield lap()
        create = pb.CreateTask(seq=1, command=COMMANDS[1], payload=b"1")
        self._say(PRODUCING, pb.ProducerEvent(create=create))
        ack = pb.ServerEvent.FromString(self._next(PRODUCING)).create_ack
        yield lap()
        self._say(WORKING, wb.WorkerEvent(ready=wb.Ready(commands=[COMMANDS[1]])))
        delivered = wb.ServerEvent.FromString(self._next(WORKING)).task.task
        yield lap()
        if not ack.ok or delivered.id != ack.task_id:
            raise AssertionError(f"{ack.error_message or delivered.id} instead of {ack.task_id}")
        done = wb.Result(task_id=delivered.id, status="COMPLETED", result_json=b"1")
        self._say(WORKING, wb.WorkerEvent(result=done))
        result_ack = wb.ServerEvent.FromString(self._next(WORKING)).result_ack
        yield lap()
        if not result_ack.ok:
            raise AssertionError(result_ack.error_message)

    def _say(self, stream: int, event: Any) -> None:
        self._peer.data(stream, prefixed(event.SerializeToString()))

    def _next(self, stream: int) -> bytes:
        message = self._peer.message(stream, self._read[stream])
        if isinstance(message, Outcome):
            raise AssertionError(f"stream {stream} ended: {message}")
        # What was read is not kept: this client may live for an hour.
        self._peer.messages[stream].clear()
        return message

    def _post(self, path: str, body: object, token: str, status: int) -> Any:
        content = json.dumps(body).encode()
        self._rest.sendall(
            b"POST /v1/codeq%b HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"
            % (path.encode(), token.encode(), len(content), content)
        )
        answer = read_answer(self._rest_stream)
        if answer is None or answer.status != status:
            raise AssertionError(f"{path}: {answer}")
        return json.loads(answer.body)


class Running:
    """A client that runs; `take` tells what it felt since the last time."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    def take(self) -> Feeling:
        """What was felt since the start, or since the last `take`."""
        self._pipe.send("take")
        if not self._pipe.poll(END_SECONDS):
            return Feeling([], [f"the good client was stuck for {END_SECONDS} s"])
        found: Feeling = self._pipe.recv()
        return found


@contextmanager
def behaving(place: Place, pause_seconds: float = PAUSE_SECONDS) -> Iterator[Running]:
    """A good client runs during this block."""
    # A fresh interpreter: a fork would share this one's sockets and signal handlers.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_behave, args=(place, pause_seconds, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        ours.recv()
        yield Running(ours)
    finally:
        process.kill()
        process.join()


def _behave(place: Place, pause_seconds: float, pipe: Pipe) -> None:
    """The process of the client: cycles until it is killed. After an error it connects anew."""
    answers_ms: list[float] = []
    errors: list[str] = []
    client: Client | None = None
    ready = False
    while True:
        try:
            client = client or Client(place)
            answers_ms.extend(client.cycle())
        except (AssertionError, OSError, KeyError, ValueError) as error:
            errors.append(f"{type(error).__name__}: {error}")
            if client is not None:
                with contextlib.suppress(OSError):
                    client.close()
                client = None
        if not ready:
            ready = True
            pipe.send(None)
        if pipe.poll(pause_seconds):
            pipe.recv()
            pipe.send(Feeling(sorted(answers_ms), errors))
            answers_ms, errors = [], []
