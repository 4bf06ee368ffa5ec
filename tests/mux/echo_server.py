"""An echo service behind a real listener, in a thread of its own: what stock clients are tried against.

Run as a program it listens until its standard input ends, and prints its port: clients in other languages use that.
"""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvloop

from appliance.mux.grpc_call import Call, Session
from appliance.mux.limits import Limits
from appliance.mux.listener import Listener, bind
from appliance.mux.tls import Tls
from tests.mux.calls import Echo, Recorder
from tests.mux.support import Watcher, echo


class Heads(Recorder):
    """Answers each message with the value of the header that it names, and sends it back in a trailer as well."""

    def receive(self, messages: list[bytes]) -> None:
        super().receive(messages)
        self.call.send([self.call.headers.get(message, b"") for message in messages])

    def half_closed(self) -> None:
        self.call.end(0, "", [(b"x-custom", self.call.headers.get(b"x-custom", b"none"))])


class Status(Recorder):
    """Ends at the first message, with the status and text in it."""

    def receive(self, messages: list[bytes]) -> None:
        super().receive(messages)
        status, _, text = messages[0].partition(b" ")
        self.call.end(int(status), text.decode())


class Burst(Recorder):
    """Answers a number with so many messages, as there is room."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self.left = 0

    def receive(self, messages: list[bytes]) -> None:
        super().receive(messages)
        self.left += sum(map(int, messages))
        self.room()

    def room(self) -> None:
        while self.left and self.call.unsent <= 256:
            self.call.send([b"%d" % self.left])
            self.left -= 1
        if not self.left:
            self.call.end(0)


SESSIONS: dict[str, Callable[[Call], Session]] = {
    "/test.Echo/Echo": Echo,
    "/test.Echo/Keep": Recorder,
    "/test.Echo/Heads": Heads,
    "/test.Echo/Status": Status,
    "/test.Echo/Burst": Burst,
}


def open_call(call: Call) -> Session | None:
    """The session of one of the methods."""
    kind = SESSIONS.get(call.path)
    return None if kind is None else kind(call)


class EchoServer:
    """A listener with a plaintext and, given a certificate, a TLS address. `drain` ends its calls and itself."""

    def __init__(self, tls: Tls | None = None, limits: Limits | None = None) -> None:
        self.watcher = Watcher()
        self.used_bytes = -1
        self._tls = tls
        self._limits = limits or Limits()
        self._started = threading.Event()
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: uvloop.run(self._serve()))
        self._thread.start()
        assert self._started.wait(10)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        listener = Listener(
            loop=self._loop, handler=echo, limits=self._limits, observer=self.watcher, tls=self._tls, sweep_seconds=0.05
        )
        listener.hub.open_call = open_call
        ports = []
        for plaintext in (True, False):
            (sock,) = bind("127.0.0.1", 0)
            listener.add_socket(sock, plaintext)
            ports.append(sock.getsockname()[1])
        self.port, self.tls_port = ports
        self._started.set()
        await self._stop.wait()
        await listener.drain(2.0)
        self.used_bytes = listener.hub.memory.used_bytes

    def drain(self) -> None:
        """Drain and stop; harmless when it has stopped."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()


@contextmanager
def echo_server(tls: Tls | None = None) -> Iterator[EchoServer]:
    """A running server; in the end nothing may be left in its account."""
    server = EchoServer(tls)
    try:
        yield server
    finally:
        server.drain()
    assert server.used_bytes == 0
    assert sorted(server.watcher.opened) == sorted(server.watcher.closed)


if __name__ == "__main__":
    with echo_server() as running:
        print(running.port, flush=True)
        sys.stdin.read()
