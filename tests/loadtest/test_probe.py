"""The probe feels what holds a server up."""

import socket
import threading
import time

from appliance.bench.servers import Address
from loadtest.probe import probing

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
STALL_SECONDS = 0.3
WAIT_SECONDS = 30


def test_a_stall_of_the_server_shows_in_the_slowest_answer() -> None:
    stalled = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            for number, _ in enumerate(iter(lambda: connection.recv(65_536), b"")):
                if number == 3:
                    time.sleep(STALL_SECONDS)
                    stalled.set()
                connection.sendall(ANSWER)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        with probing(Address(listener.getsockname()[1])) as probe:
            assert stalled.wait(WAIT_SECONDS)
        thread.join(WAIT_SECONDS)
    assert probe.max_ms >= STALL_SECONDS * 1000
    assert probe.count >= 3
