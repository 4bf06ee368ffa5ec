"""Fetching a JWKS document over HTTPS with every bound that a hostile server makes necessary.

Owns one GET: total time, size, no redirects, no proxies, checked addresses. Must not know what the document means.
Blocks for up to `FETCH_SECONDS` beyond name resolution; runs on the thread that refreshes keys, never on the event
loop.
"""

import contextlib
import http.client
import socket
import ssl
import threading
import time
from typing import Final
from urllib.parse import urlsplit

from appliance.addresses import resolve

FETCH_SECONDS: Final = 5.0
DOCUMENT_BYTES_MAX: Final = 262_144
"""64 keys of 8,192 bits with certificate chains fit several times."""


class FetchError(Exception):
    """The document could not be fetched; the text says why."""


def fetch(
    url: str, *, allow_private: bool, seconds: float = FETCH_SECONDS, context: ssl.SSLContext | None = None
) -> bytes:
    """The body of a 200 answer to GET `url`.

    With `allow_private` the scheme may be http and the addresses private. `context` replaces the system's trust store.
    Raises `FetchError`.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise FetchError("the URL is malformed") from None
    secure = parts.scheme == "https"
    if not host or parts.username is not None or not (secure or (parts.scheme == "http" and allow_private)):
        raise FetchError("the URL must be https, with a host and without user information")
    port = port if port is not None else (443 if secure else 80)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        addresses = resolve(host, port, allow_private=allow_private)
        tls = (context or ssl.create_default_context()) if secure else None
        return _get(host, port, target, addresses, tls, seconds)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FetchError(str(error) or type(error).__name__) from None


def _get(host: str, port: int, target: str, addresses: list[str], tls: ssl.SSLContext | None, seconds: float) -> bytes:
    deadline_seconds = time.monotonic() + seconds
    raw = _connect(addresses, port, deadline_seconds)
    # A timeout of the socket begins anew with each byte; shutting it down at the deadline stops a slow drip too. TLS
    # takes the descriptor away from `raw`, so the alarm holds a duplicate, which shuts down the same connection.
    with raw, raw.dup() as handle:
        alarm = threading.Timer(max(deadline_seconds - time.monotonic(), 0.0), _shut_down, (handle,))
        alarm.daemon = True
        alarm.start()
        try:
            with tls.wrap_socket(raw, server_hostname=host) if tls else raw as connected:
                body = _exchange(connected, host, port, target)
        finally:
            alarm.cancel()
    if time.monotonic() >= deadline_seconds:
        raise TimeoutError("timed out")  # a body without a length would end here as if it were whole
    return body


def _connect(addresses: list[str], port: int, deadline_seconds: float) -> socket.socket:
    failure: OSError = OSError("the host has no address")
    for address in addresses:
        remaining_seconds = deadline_seconds - time.monotonic()
        if remaining_seconds <= 0:
            raise TimeoutError("timed out")
        try:
            return socket.create_connection((address, port), timeout=remaining_seconds)
        except OSError as error:
            failure = error
    raise failure


def _shut_down(handle: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the connection may have ended at this very moment
        handle.shutdown(socket.SHUT_RDWR)


def _exchange(connected: socket.socket, host: str, port: int, target: str) -> bytes:
    connection = http.client.HTTPConnection(host, port)
    connection.sock = connected
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "Connection": "close"}
    connection.request("GET", target, headers=headers)
    response = connection.getresponse()
    if response.status != 200:
        raise FetchError(f"the server answered {response.status}")
    body = response.read(DOCUMENT_BYTES_MAX + 1)
    if len(body) > DOCUMENT_BYTES_MAX:
        raise FetchError(f"the document is larger than {DOCUMENT_BYTES_MAX} bytes")
    if response.length:
        raise FetchError("the document was cut off")
    return body
