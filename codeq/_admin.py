"""Reading tasks over REST.

Owns the requests and the reading of their answers. One connection per request, so any thread may use it; what is read
often belongs on a stream.
"""

import dataclasses
import datetime
import http.client
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

from codeq._dial import Dialer, Targets, Token
from codeq.errors import InternalError, Unavailable, from_code

BASE: Final = "/v1/codeq"
TIMEOUT_SECONDS: Final = 10.0
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
"""A task and its result at their largest limits take 4 MiB; past this the answer is not the server's."""


_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True, slots=True)
class TaskInfo:
    """A task as it was at the time of the request."""

    id: str
    command: str
    payload: Any
    status: str
    priority: int
    attempts: int
    max_attempts: int
    tenant_id: str
    worker_id: str
    error: str
    created_at: datetime.datetime
    completed_at: datetime.datetime | None
    fields: dict[str, Any] = dataclasses.field(repr=False)
    """Everything that the server said, by the names of the REST contract."""


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """The result of a task. `status` is PENDING until there is one, then COMPLETED, FAILED or DLQ."""

    task_id: str
    status: str
    result: Any
    error: str
    completed_at: datetime.datetime | None

    @property
    def finished(self) -> bool:
        """Whether the task has ended."""
        return self.status != "PENDING"


class Admin:
    """Reads tasks and results over REST; with several targets the next one is asked when one can't be reached.

        Admin("localhost:8443", token, ca="ca.pem").result(task_id, wait_seconds=30)

    Every method raises what the server answers, `Unavailable` when no target can be reached, and `InternalError` for
    an answer that makes no sense.
    """

    def __init__(
        self,
        target: Targets,
        token: Token,
        *,
        ca: str | Path | bytes | None = None,
        plaintext: bool = False,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._dialer = Dialer(target, token, ca=ca, plaintext=plaintext)
        self._timeout_seconds = timeout_seconds
        self._trust: ssl.SSLContext | None = None
        if not self._dialer.plaintext:
            authorities = self._dialer.ca.decode("ascii") if self._dialer.ca else None
            self._trust = ssl.create_default_context(cadata=authorities)

    def task(self, task_id: str) -> TaskInfo:
        """A task as it is now. Raises NotFound for one that is unknown or another tenant's."""
        return _read(_task_info, self._get(f"{BASE}/tasks/{quote(task_id, safe='')}", self._timeout_seconds))

    def result(self, task_id: str, *, wait_seconds: int = 0) -> Result:
        """The result of a task, after waiting for it at most `wait_seconds` (0 to 60)."""
        path = f"{BASE}/tasks/{quote(task_id, safe='')}/result?waitSeconds={int(wait_seconds)}"
        return _read(_result, self._get(path, self._timeout_seconds + wait_seconds))

    def _get(self, path: str, timeout_seconds: float) -> Any:
        trouble: Exception | None = None
        for target in self._dialer.targets:
            try:
                return self._get_from(target, path, timeout_seconds)
            except (OSError, http.client.HTTPException) as error:
                trouble = error
        raise Unavailable(f"no target can be reached: {trouble}") from trouble

    def _get_from(self, target: str, path: str, timeout_seconds: float) -> Any:
        connection = self._connection(target, timeout_seconds)
        try:
            headers = {"Authorization": f"Bearer {self._dialer.token()}", "Accept": "application/json"}
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            body = response.read(ANSWER_BYTES_MAX + 1)
            return _answer(response.status, body)
        finally:
            connection.close()

    def _connection(self, target: str, timeout_seconds: float) -> http.client.HTTPConnection:
        if self._trust is None:
            return http.client.HTTPConnection(target, timeout=timeout_seconds)
        return http.client.HTTPSConnection(target, timeout=timeout_seconds, context=self._trust)


def _answer(status: int, body: bytes) -> Any:
    if len(body) > ANSWER_BYTES_MAX:
        raise InternalError("the answer is too large")
    try:
        value = json.loads(body)
    except ValueError as error:
        raise InternalError(f"the answer with status {status} is no JSON") from error
    if status == http.client.OK:
        return value
    code, message = (value.get("code"), value.get("message")) if isinstance(value, dict) else (None, None)
    if not isinstance(code, str):
        raise InternalError(f"the answer has status {status} and no code")
    raise from_code(code, str(message))


def _read(reader: Callable[[Any], _T], value: Any) -> _T:
    try:
        return reader(value)
    except (KeyError, TypeError, ValueError) as error:
        raise InternalError(f"the answer makes no sense: {error!r}") from error


def _time(text: str | None) -> datetime.datetime | None:
    return datetime.datetime.fromisoformat(text) if text else None


def _task_info(value: dict[str, Any]) -> TaskInfo:
    return TaskInfo(
        id=value["id"],
        command=value["command"],
        payload=value["payload"],
        status=value["status"],
        priority=value["priority"],
        attempts=value["attempts"],
        max_attempts=value["maxAttempts"],
        tenant_id=value["tenantId"],
        worker_id=value.get("workerId") or "",
        error=value.get("error") or "",
        created_at=datetime.datetime.fromisoformat(value["createdAt"]),
        completed_at=_time(value.get("completedAt")),
        fields=value,
    )


def _result(value: dict[str, Any]) -> Result:
    return Result(
        task_id=value["taskId"],
        status=value["status"],
        result=value["result"],
        error=value.get("error") or "",
        completed_at=_time(value.get("completedAt")),
    )
