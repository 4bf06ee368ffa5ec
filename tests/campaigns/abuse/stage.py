"""Where attacks are played: the node's address and tokens, and the form of an attack.

Owns connecting, always from an address of the attacker's own, and what an attack is. Knows no attack.
"""

import contextlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from appliance.auth.caller import WORKER_SCOPES
from tests.e2e.bad_grpc import Tokens
from tests.e2e.node import Node

ATTACKER: Final = "127.0.0.2"
"""The good client comes from 127.0.0.1: limits of an address must not meet it."""

ANSWER_SECONDS: Final = 60.0
"""The longest that a refusal may take, but for those of patient attacks."""

TENANT: Final = "attacker"


class NotRefused(AssertionError):
    """An attack got something else than its refusal."""


class Stage(NamedTuple):
    """A node as an attacker knows it; goes to other processes as it is."""

    port: int
    tls_only_port: int
    folder: Path
    tokens: Tokens

    @classmethod
    def of(cls, node: Node, tls_only_port: int) -> "Stage":
        """The stage on a node, with the tokens of a tenant that behaves badly."""
        narrow = tuple(scope for scope in WORKER_SCOPES if scope != "codeq:claim")
        tokens = Tokens(
            node.producer(TENANT),
            node.worker(TENANT),
            node.mint("worker", TENANT, scopes=narrow),
            node.mint("worker", TENANT, commands=("one",)),
        )
        return cls(node.port, tls_only_port, node.folder, tokens)

    def connect(self, *, seconds: float = ANSWER_SECONDS, tls_only: bool = False) -> socket.socket:
        """A connection without TLS."""
        port = self.tls_only_port if tls_only else self.port
        return socket.create_connection(("127.0.0.1", port), timeout=seconds, source_address=(ATTACKER, 0))

    def connect_tls(self, alpn: tuple[str, ...] = ()) -> ssl.SSLSocket:
        """A connection inside TLS. Raises OSError where the handshake is refused."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        sock = self.connect()
        try:
            return context.wrap_socket(sock, server_hostname="localhost")
        except BaseException:
            sock.close()
            raise

    def key(self, kind: str) -> bytes:
        """A private key of the node's, in PEM form."""
        return (self.folder / f"{kind}-key.pem").read_bytes()


class Attack(NamedTuple):
    """One attack. `play` returns what was seen in the end, or raises NotRefused.

    `reason` is the word under which the node counts it, or the name of another metric where it begins with "codeq".
    `seconds` is how long its refusal takes by design. `hold` opens what a slow attack keeps open, so that many of them
    can be held at once; without it the attack is repeated as fast as it goes, unless `floods` is false.
    """

    section: str
    name: str
    reason: str
    play: Callable[[Stage], str]
    seconds: float = 0.0
    hold: Callable[[Stage], socket.socket] | None = None
    floods: bool = True


def expect(condition: object, what: object) -> None:
    """Raises NotRefused with what came instead."""
    if not condition:
        raise NotRefused(str(what))


def read_to_end(sock: socket.socket) -> bytes:
    """Everything that comes until the node closes; a reset is an end too."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := sock.recv(65_536):
            received += piece
    return received
