"""How a target is reached: addresses, trust, and the options of a gRPC channel.

Owns the reading of targets and certificates. Must not know what is said over a connection. grpc is loaded with the
first channel: REST does without it.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from codeq.errors import Unavailable, ValidationError

Token = str | Callable[[], str]
"""A token, or a function that returns the current one; it is called at each connection."""
Targets = str | Sequence[str]
"""`host:port` or a URL with http or https; several name the nodes of one cluster."""

CHANNEL_OPTIONS: Final = (
    # Each attempt is a channel of its own, so that the pauses between attempts are ours alone.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    # Finds out that the peer is gone within 40 s, and keeps proxies from closing a stream that waits for work.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_send_message_length", -1),
)
_TARGET: Final = re.compile(r"(?:(https?)://)?((?:\[[0-9A-Fa-f:.]+\]|[^\s/:\[\]]+):[0-9]{1,5})/?")


class Dialer:
    """What every connection of one client has in common.

    `ca` is a PEM file's path or its content; without it the usual public authorities are trusted. `plaintext` sends
    the token and all data unprotected. Raises ValidationError for a target that is none, OSError for a `ca` that can't
    be read.
    """

    def __init__(self, targets: Targets, token: Token, *, ca: str | Path | bytes | None, plaintext: bool) -> None:
        each = [targets] if isinstance(targets, str) else list(targets)
        parsed = [_parse(target, plaintext=plaintext) for target in each]
        if not parsed:
            raise ValidationError("no target is given")
        self.targets = [address for address, _ in parsed]
        self.plaintext = parsed[0][1]
        if any(plain != self.plaintext for _, plain in parsed):
            raise ValidationError("http and https targets can't be mixed")
        self.ca = Path(ca).read_bytes() if isinstance(ca, (str, Path)) else ca
        self._token = token

    @property
    def token_changes(self) -> bool:
        """Whether the next connection may have another token."""
        return not isinstance(self._token, str)

    def token(self) -> str:
        """The token for a connection that begins now. Raises Unavailable when there is none."""
        if isinstance(self._token, str):
            return self._token
        try:
            return self._token()
        except Exception as error:
            raise Unavailable(f"there is no token: {error!r}") from error

    def channel(self, target: str) -> Any:
        """A channel for threads."""
        import grpc

        if self.plaintext:
            return grpc.insecure_channel(target, options=CHANNEL_OPTIONS)
        return grpc.secure_channel(target, grpc.ssl_channel_credentials(self.ca), options=CHANNEL_OPTIONS)

    def aio_channel(self, target: str) -> Any:
        """A channel for the running event loop."""
        import grpc.aio

        if self.plaintext:
            return grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)
        return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(self.ca), options=CHANNEL_OPTIONS)


def leader_of(trailers: Any) -> str:
    """The leader that the trailers of a call name, or nothing."""
    for key, value in trailers or ():
        if key == "codeq-leader" and isinstance(value, str):
            return value
    return ""


def _parse(target: str, *, plaintext: bool) -> tuple[str, bool]:
    match = _TARGET.fullmatch(target)
    if match is None or int(target.rstrip("/").rpartition(":")[2]) > 65_535:
        raise ValidationError(f"not a target, which is host:port or a URL without a path: {target!r}")
    scheme, address = match.groups()
    if scheme == "https" and plaintext:
        raise ValidationError("an https target is not plaintext")
    return address, plaintext or scheme == "http"
