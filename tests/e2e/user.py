"""What a user of the node does, in one line each: a tenant's two tokens and an HTTP client.

Knows paths and headers, judges nothing: every call returns the response as it came.
"""

import json
from typing import Any, Final

import httpx

from tests.e2e.node import Node

BASE: Final = "/v1/codeq"


class User:
    """One tenant on one node. Used with `with` it closes its client, which may also be lent to it."""

    def __init__(self, node: Node, tenant: str, *, http2: bool = False, client: httpx.Client | None = None) -> None:
        self.node = node
        self.tenant = tenant
        self.producer = node.producer(tenant)
        self.worker = node.worker(tenant)
        self.client = client or node.client(http2=http2)

    def __enter__(self) -> "User":
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def post(self, path: str, body: object = None, *, token: str = "", headers: Any = None) -> httpx.Response:
        """POST below `/v1/codeq`. `body` is sent as JSON, bytes as they are, None not at all. Workers' token."""
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        return self.client.post(BASE + path, content=content, headers=self._headers(token or self.worker, headers))

    def get(self, path: str, *, token: str = "") -> httpx.Response:
        """GET below `/v1/codeq`, with the producer's token."""
        return self.client.get(BASE + path, headers=self._headers(token or self.producer, None))

    def _headers(self, token: str, more: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **(more or {})}

    def create(self, command: str, payload: object = None, **fields: Any) -> httpx.Response:
        """One task."""
        return self.post("/tasks", {"command": command, "payload": payload, **fields}, token=self.producer)

    def created(self, command: str, payload: object = None, **fields: Any) -> dict[str, Any]:
        """One task that must be made: the task."""
        response = self.create(command, payload, **fields)
        assert response.status_code in (200, 201), response.text
        found: dict[str, Any] = parsed(response)
        return found

    def claim(self, *commands: str, **fields: Any) -> httpx.Response:
        """Claim one task."""
        return self.post("/tasks/claim", {"commands": list(commands), **fields})

    def claimed(self, *commands: str, **fields: Any) -> dict[str, Any]:
        """Claim a task that must be there: the task."""
        response = self.claim(*commands, **fields)
        assert response.status_code == 200, (response.status_code, response.text)
        found: dict[str, Any] = parsed(response)
        return found

    def act(self, action: str, task: str, **fields: Any) -> httpx.Response:
        """`heartbeat`, `nack`, `abandon` or `result` on a task."""
        return self.post(f"/tasks/{task}/{action}", fields)

    def task(self, task: str) -> dict[str, Any]:
        """The task, which must be there."""
        response = self.get(f"/tasks/{task}")
        assert response.status_code == 200, response.text
        found: dict[str, Any] = parsed(response)
        return found


def parsed(response: httpx.Response) -> Any:
    """The JSON in a response."""
    assert response.headers["content-type"].startswith("application/json"), response.headers
    return response.json()


def refusal(response: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal, which must have the shape of one."""
    body = parsed(response)
    assert set(body) == {"code", "message"} and body["message"], body
    return response.status_code, body["code"]
