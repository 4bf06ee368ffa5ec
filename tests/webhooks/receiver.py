"""Receivers of webhooks, as good and as bad as they come. The path says how one behaves.

    /ok /fail /redirect /hang /close /nonsense /endless /drip /bomb /heads

An asyncio server, on 127.0.0.1 where nobody says otherwise; it notes every request that it read whole.
"""

import asyncio
import contextlib
import gzip
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple

import msgspec

OK = b"HTTP/1.1 204 No Content\r\n\r\n"
BOMB = gzip.compress(bytes(20 << 20))
CLOSE_SECONDS = 5.0


class Received(NamedTuple):
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Receiver:
    """`async with Receiver() as receiver`: a server, and what it has received."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        answer: Callable[[Received], bytes | None] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """`answer` decides before the path does; None leaves it to the path."""
        self.received: list[Received] = []
        self.connections = 0
        self.open = 0
        self.open_most = 0
        self.port = port
        self._host = host
        self._tls = tls
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()

    async def __aenter__(self) -> "Receiver":
        self._server = await asyncio.start_server(self._serve, self._host, self.port, ssl=self._tls, backlog=1_024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self._closing.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)

    def url(self, path: str = "/ok", host: str = "127.0.0.1") -> str:
        """Where one of these behaviours is found."""
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        self.open_most = max(self.open_most, self.open)
        try:
            received = await _read(reader)
            self.received.append(received)
            answer = self._answer(received) if self._answer is not None else None
            if answer is not None:
                writer.write(answer)
                await writer.drain()
            else:
                await self._behave(received.path, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the other side has gone, which is the test's affair
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()

    async def _behave(self, path: str, writer: asyncio.StreamWriter) -> None:
        kind = path.split("/")[1].split("?")[0]
        if kind == "fail":
            writer.write(b"HTTP/1.1 500 Oh\r\nContent-Length: 6\r\n\r\nsecret")
        elif kind == "redirect":
            writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/ok\r\n\r\n" % self.port)
        elif kind == "hang":
            await self._closing.wait()
        elif kind == "nonsense":
            writer.write(b"220 mail.example ESMTP\r\n")
        elif kind == "endless":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while not self._closing.is_set():
                writer.write(bytes(65_536))
                await writer.drain()
        elif kind == "drip":
            await self._drip(writer)
        elif kind == "bomb":
            head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
            writer.write(head % len(BOMB) + BOMB)
        elif kind == "heads":
            writer.write(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 1_000) for n in range(2_000)))
        elif kind != "close":
            writer.write(OK)
        with contextlib.suppress(OSError):
            await writer.drain()

    async def _drip(self, writer: asyncio.StreamWriter) -> None:
        """A byte now and then, so that no timeout between two bytes ever runs out."""
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while not self._closing.is_set():
            for byte in b"X-A: b\r\n":
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.05)


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(head[0].split(" ")[1], headers, body)
