"""The producer for threads.

Owns the futures of creates and the waiting for room. What is sent, repeated and settled is the core's to decide. Any
thread may use it.
"""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal, Unpack, cast, overload

from codeq._core.requests import NewTask, encode_create
from codeq._creating import (
    IN_FLIGHT_BYTES_MAX,
    IN_FLIGHT_MAX,
    TIMEOUT_SECONDS,
    Options,
    first_error,
    make_producing,
)
from codeq._dial import Dialer, Targets, Token
from codeq._sync_pump import SyncPump
from codeq.errors import CodeqError, DeadlineExceeded
from codeq.trace import traced

_ABORT_SECONDS = 5.0
"""For the threads to end when the connection is cut."""


class Producer:
    """Creates tasks over one stream, pipelined and batched, and repeats what a lost connection left unanswered.

        with Producer("localhost:8443", token, ca="ca.pem") as producer:
            task_id = producer.create("send-email", {"to": "a@b.com"})

    `target` is `host:port`, a URL, or several of one cluster; `token` a string or a function that returns the current
    one. At most `in_flight_max` creates and `in_flight_bytes_max` bytes are under way; more wait their turn.
    `timeout_seconds` bounds each create from its call to its answer, connection losses included.
    Every method that creates raises `ValidationError` and `PayloadTooLarge` at once for what can't be sent,
    `DeadlineExceeded`, `Closed`, and what the server answers.
    """

    def __init__(
        self,
        target: Targets,
        token: Token,
        *,
        ca: str | Path | bytes | None = None,
        plaintext: bool = False,
        timeout_seconds: float = TIMEOUT_SECONDS,
        in_flight_max: int = IN_FLIGHT_MAX,
        in_flight_bytes_max: int = IN_FLIGHT_BYTES_MAX,
    ) -> None:
        dialer = Dialer(target, token, ca=ca, plaintext=plaintext)
        self._core = make_producing(dialer, in_flight_max, in_flight_bytes_max)
        self._timeout_seconds = timeout_seconds
        self._pump = SyncPump(self._core, dialer, self._deliver, "codeq producer")
        self._changed = self._pump.changed
        self._pump.start()

    def __enter__(self) -> "Producer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def create(
        self, command: str, payload: Any = None, *, timeout_seconds: float | None = None, **options: Unpack[Options]
    ) -> str:
        """Create a task; its id, once it is durable. The options are the fields of `NewTask`."""
        return self._submit(NewTask(command=command, payload=payload, **options), timeout_seconds).result()

    def submit(
        self, command: str, payload: Any = None, *, timeout_seconds: float | None = None, **options: Unpack[Options]
    ) -> Future[str]:
        """Begin to create a task, after waiting for room; a future of its id.

        Cancelling the future does not undo the create.
        """
        return self._submit(NewTask(command=command, payload=payload, **options), timeout_seconds)

    @overload
    def create_many(
        self,
        tasks: Iterable[NewTask],
        *,
        timeout_seconds: float | None = None,
        return_exceptions: Literal[False] = False,
    ) -> list[str]: ...

    @overload
    def create_many(
        self, tasks: Iterable[NewTask], *, timeout_seconds: float | None = None, return_exceptions: bool
    ) -> Sequence[str | CodeqError]: ...

    def create_many(
        self, tasks: Iterable[NewTask], *, timeout_seconds: float | None = None, return_exceptions: bool = False
    ) -> Sequence[str | CodeqError]:
        """Create many; their ids in order. One that is refused fails alone.

        With `return_exceptions` its error takes its place in the answer, else the first error is raised when all are
        settled.
        """
        begun: list[Future[str] | CodeqError] = []
        for task in tasks:
            try:
                begun.append(self._submit(task, timeout_seconds))
            except CodeqError as error:
                begun.append(error)
        answers = [each if isinstance(each, CodeqError) else _outcome(each) for each in begun]
        return answers if return_exceptions else first_error(answers)

    def close(self, timeout_seconds: float | None = None) -> None:
        """Accept no more, wait for what is under way, at most the timeout (default: the producer's), and disconnect."""
        with self._changed:
            self._core.close()
            self._changed.notify_all()
        if not self._pump.join(self._timeout_seconds if timeout_seconds is None else timeout_seconds):
            with self._changed:
                self._core.abort()
                self._changed.notify_all()
            self._deliver()
            self._pump.join(_ABORT_SECONDS)

    def _submit(self, task: NewTask, timeout_seconds: float | None) -> Future[str]:
        deadline = time.monotonic() + (self._timeout_seconds if timeout_seconds is None else timeout_seconds)
        message = encode_create(traced(task))
        future: Future[str] = Future()
        with self._changed:
            self._core.give_key(message)
            while not self._core.has_room(message):
                self._core.check_open(message.idempotency_key)
                seconds = deadline - time.monotonic()
                if seconds <= 0:
                    raise DeadlineExceeded(
                        "too many creates are under way; it was not sent", idempotency_key=message.idempotency_key
                    ) from self._core.trouble
                self._changed.wait(seconds)
            self._core.add(future, message, deadline)
            self._changed.notify_all()
        return future

    def _deliver(self) -> None:
        with self._changed:
            settled = self._core.take_settled()
        for handle, outcome in settled:
            future = cast("Future[str]", handle)
            if not future.set_running_or_notify_cancel():
                continue
            if isinstance(outcome, str):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)


def _outcome(future: Future[str]) -> str | CodeqError:
    try:
        return future.result()
    except CodeqError as error:
        return error
