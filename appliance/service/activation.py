"""Listening sockets that the service manager opened and passed on.

Owns the protocol of sd_listen_fds(3), and the check that what was passed can be served. Must not know who serves it.
The port of such a socket stays open while the node restarts: connections wait in the kernel for the next process.
"""

import os
import socket
from collections.abc import MutableMapping
from typing import Final, NamedTuple

FIRST_DESCRIPTOR: Final = 3
SOCKETS_MAX: Final = 64
"""As many as addresses in `listen`."""
PLAINTEXT_NAME: Final = "plaintext"
"""`FileDescriptorName=` of a socket for plain HTTP; every other name means TLS."""


class ActivationError(Exception):
    """What was passed can't be served; the message says which and why."""


class Passed(NamedTuple):
    """One listening TCP socket, and whether it is for plain HTTP."""

    socket: socket.socket
    plaintext: bool


def take_sockets(environ: MutableMapping[str, str], pid: int, first: int = FIRST_DESCRIPTOR) -> list[Passed]:
    """The sockets passed to process `pid` as descriptors from `first` on; their variables leave `environ`.

    Raises ActivationError for more than SOCKETS_MAX, and for one that is no listening TCP socket.
    """
    count_text = environ.pop("LISTEN_FDS", "0")
    meant_for = environ.pop("LISTEN_PID", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if meant_for != str(pid):
        return []
    if not (count_text.isascii() and count_text.isdigit() and int(count_text) <= SOCKETS_MAX):
        raise ActivationError(f"LISTEN_FDS must be 0 to {SOCKETS_MAX}")
    count = int(count_text)
    names += [""] * (count - len(names))
    return [Passed(_listening(first + index), names[index] == PLAINTEXT_NAME) for index in range(count)]


def _listening(descriptor: int) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ActivationError(f"descriptor {descriptor} from the service manager is no socket: {error}") from error
    if (
        sock.family not in (socket.AF_INET, socket.AF_INET6)
        or sock.type != socket.SOCK_STREAM
        or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    ):
        sock.detach()
        raise ActivationError(f"descriptor {descriptor} from the service manager is no listening TCP socket")
    return sock
