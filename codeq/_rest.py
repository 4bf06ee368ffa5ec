"""One request over REST and its answer.

Owns the connection, the choice of the target and the reading of errors. One connection per request, so any thread may
use it. Must not know what is asked.
"""

import http.client
import json
import ssl
from pathlib import Path
from typing import Any, Final

from codeq._dial import Dialer, Targets, Token
from codeq.errors import DeadlineExceeded, InternalError, Unavailable, ValidationError, from_code

BASE: Final = "/v1/codeq"
TIMEOUT_SECONDS: Final = 10.0
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
"""A task and its result at their largest limits take 4 MiB and a page of ordinary ones far less than this; past it the
answer is not the server's, or the page should be smaller."""

_GOOD: Final = range(200, 300)


class Rest:
    """Sends requests to the first of its targets that can be reached."""

    def __init__(
        self, target: Targets, token: Token, *, ca: str | Path | bytes | None, plaintext: bool, timeout_seconds: float
    ) -> None:
        self._dialer = Dialer(target, token, ca=ca, plaintext=plaintext)
        self._timeout_seconds = timeout_seconds
        self._trust: ssl.SSLContext | None = None
        if not self._dialer.plaintext:
            authorities = self._dialer.ca.decode("ascii") if self._dialer.ca else None
            self._trust = ssl.create_default_context(cadata=authorities)

    def request(self, method: str, path: str, body: object = None, *, wait_seconds: float = 0) -> Any:
        """The JSON that `path` below `/v1/codeq` answers, None where it answers without content.

        `body` is sent as JSON, None not at all. `wait_seconds` is what the server may take longer than usual. Raises
        what the server answers, Unavailable when no target can be reached, InternalError for an answer that makes no
        sense, ValidationError for a body that is no JSON, and DeadlineExceeded where a request that changes something
        was sent and not answered.
        """
        content = None if body is None else _encoded(body)
        trouble: Exception | None = None
        for target in self._dialer.targets:
            connection = self._connection(target, self._timeout_seconds + wait_seconds)
            try:
                connection.connect()
                try:
                    status, answer = self._exchange(connection, method, path, content)
                except (OSError, http.client.HTTPException) as error:
                    if method != "GET":
                        raise DeadlineExceeded(f"no answer: {error}; it may have happened or not") from error
                    raise
                return _decoded(status, answer)
            except (OSError, http.client.HTTPException) as error:
                trouble = error
            finally:
                connection.close()
        raise Unavailable(f"no target can be reached: {trouble}") from trouble

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, path: str, content: bytes | None
    ) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self._dialer.token()}", "Accept": "application/json"}
        if content is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, BASE + path, content, headers)
        response = connection.getresponse()
        return response.status, response.read(ANSWER_BYTES_MAX + 1)

    def _connection(self, target: str, timeout_seconds: float) -> http.client.HTTPConnection:
        if self._trust is None:
            return http.client.HTTPConnection(target, timeout=timeout_seconds)
        return http.client.HTTPSConnection(target, timeout=timeout_seconds, context=self._trust)


def _encoded(body: object) -> bytes:
    try:
        return json.dumps(body, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationError(f"not a JSON value: {error}") from error


def _decoded(status: int, body: bytes) -> Any:
    if status == http.client.NO_CONTENT:
        return None
    if len(body) > ANSWER_BYTES_MAX:
        raise InternalError("the answer is too large")
    try:
        value = json.loads(body)
    except ValueError as error:
        raise InternalError(f"the answer with status {status} is no JSON") from error
    if status in _GOOD:
        return value
    code, message = (value.get("code"), value.get("message")) if isinstance(value, dict) else (None, None)
    if not isinstance(code, str):
        raise InternalError(f"the answer has status {status} and no code")
    raise from_code(code, str(message))
