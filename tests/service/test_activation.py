"""Sockets from a service manager: which are taken, and which are refused."""

import os
import socket
from collections.abc import Iterator

import pytest

from appliance.service.activation import SOCKETS_MAX, ActivationError, take_sockets


@pytest.fixture
def listening() -> Iterator[int]:
    """A free descriptor number for which a listening socket was passed."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield os.dup(sock.fileno())


def passed(count: int, names: str = "", pid: int = 7) -> dict[str, str]:
    return {"LISTEN_PID": str(pid), "LISTEN_FDS": str(count), "LISTEN_FDNAMES": names, "PATH": "x"}


def test_a_listening_socket_is_taken_and_the_variables_are_gone(listening: int) -> None:
    environ = passed(1, "https")
    os.set_inheritable(listening, True)
    (found,) = take_sockets(environ, 7, first=listening)
    with found.socket as sock:
        assert environ == {"PATH": "x"}
        assert sock.fileno() == listening and not sock.get_inheritable() and not found.plaintext
        with socket.create_connection(sock.getsockname()):
            sock.accept()[0].close()


def test_a_socket_named_plaintext_is_for_plain_http(listening: int) -> None:
    (found,) = take_sockets(passed(1, "plaintext"), 7, first=listening)
    found.socket.close()
    assert found.plaintext


def test_sockets_without_names_are_for_tls(listening: int) -> None:
    (found,) = take_sockets(passed(1), 7, first=listening)
    found.socket.close()
    assert not found.plaintext


def test_what_was_meant_for_another_process_is_left_alone(listening: int) -> None:
    environ = passed(1, pid=8)
    assert take_sockets(environ, 7, first=listening) == []
    assert environ == {"PATH": "x"}, "a child must not take it either"
    os.close(listening)


def test_no_variables_are_no_sockets() -> None:
    assert take_sockets({}, 7) == []


@pytest.mark.parametrize("count", ["-1", "one", "", str(SOCKETS_MAX + 1)])
def test_a_count_out_of_bounds_is_refused(count: str) -> None:
    with pytest.raises(ActivationError, match="LISTEN_FDS"):
        take_sockets({"LISTEN_PID": "7", "LISTEN_FDS": count}, 7)


def test_a_file_is_no_socket() -> None:
    with open(os.devnull) as file, pytest.raises(ActivationError, match="no socket"):
        take_sockets(passed(1), 7, first=file.fileno())


@pytest.mark.parametrize(
    ("family", "kind"),
    [(socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_UNIX, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_STREAM)],
)
def test_a_socket_that_is_not_listening_tcp_is_refused(family: socket.AddressFamily, kind: socket.SocketKind) -> None:
    with socket.socket(family, kind) as sock, pytest.raises(ActivationError, match="no listening TCP socket"):
        take_sockets(passed(1), 7, first=sock.fileno())
