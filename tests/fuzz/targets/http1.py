"""HTTP/1.1: any bytes on a connection. What is seen of them does not depend on how they are cut; nothing is leaked."""

from typing import Final

from appliance.mux.exchange import Request, Response
from tests.campaigns import http1_differential
from tests.mux.support import Wire

SEEDS: Final = tuple(http1_differential.case(1, number)[0] for number in range(40))


def _seen(pieces: list[bytes]) -> list[tuple[str, str, bytes]]:
    seen: list[tuple[str, str, bytes]] = []

    def handler(request: Request) -> None:
        seen.append((request.method, request.path, request.body))
        request.respond(Response(200, request.body))

    wire = Wire(handler)
    for piece in pieces:
        wire.send(piece)
    wire.connection.connection_lost(None)
    assert wire.hub.memory.used_bytes == 0, wire.hub.memory.used_bytes
    return seen


def run(data: bytes) -> None:
    """The first byte says where it is cut."""
    cut = data[0] * len(data) // 256 if data else 0
    assert _seen([data]) == _seen([data[:cut], data[cut:]])
