"""Clients as thin as they can be: HTTP/1.1 or HTTP/2 over one connection, one request at a time.

Owns the connection. Knows enough of HTTP to read the answers of a node; judges none of them. Whatever goes wrong on the
way is `Unknown`: the request may have been carried out, and may still be.
"""

import asyncio
import contextlib
import json
from typing import Any, Final

import h2.exceptions
import httpx

REQUEST_SECONDS: Final = 20.0
"""Longer than any wait that a campaign asks for, so that a lost answer shows as one and does not hang the run."""


class Unknown(Exception):
    """There was no answer."""


class Wire:
    """One connection to the node on `port` of the loopback, opened when it is needed and again after a failure."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._token = token
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def post(self, path: str, body: object) -> tuple[int, Any]:
        """Status and JSON of the answer (None where it has no body). Raises Unknown."""
        return await self._request(b"POST", path, json.dumps(body).encode())

    async def get(self, path: str) -> tuple[int, Any]:
        """Like `post`, without a body."""
        return await self._request(b"GET", path, b"")

    async def _request(self, method: bytes, path: str, body: bytes) -> tuple[int, Any]:
        head = (
            b"%b /v1/codeq%b HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        )
        message = head % (method, path.encode(), self._token.encode(), len(body)) + body
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                return await self._exchange(message)
        except (OSError, EOFError, TimeoutError) as error:
            self.close()
            raise Unknown(f"{type(error).__name__}: {error}") from None
        except BaseException:
            self.close()
            raise

    async def _exchange(self, message: bytes) -> tuple[int, Any]:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 22)
        self._writer.write(message)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head[9:12])
        length = head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        body = await self._reader.readexactly(int(length)) if length else b""
        if b"\r\nconnection: close" in head:
            self.close()
        return status, json.loads(body) if body else None

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


class Http2Wire(Wire):
    """The same over HTTP/2, with a stock client and one connection."""

    def __init__(self, port: int, token: str) -> None:
        super().__init__(port, token)
        self._client: httpx.AsyncClient | None = None

    async def _request(self, method: bytes, path: str, body: bytes) -> tuple[int, Any]:
        if self._client is None:
            self._client = httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{self._port}/v1/codeq",
                http1=False,
                http2=True,
                trust_env=False,
                timeout=REQUEST_SECONDS,
                headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
            )
        try:
            answer = await self._client.request(method.decode(), path, content=body)
        except (httpx.HTTPError, RuntimeError, KeyError, h2.exceptions.ProtocolError) as error:
            # Beside a connection that was cut the client shows errors of its own parts too.
            await self._drop()
            raise Unknown(f"{type(error).__name__}: {error}") from None
        return answer.status_code, answer.json() if answer.content else None

    async def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                await client.aclose()
