"""Tasks as messages. What their fields hold is tested with the worker stream."""

from pathlib import Path

from appliance.api.streams.tasks import Deliveries
from appliance.engine.rows import CLAIMED, Body, State
from appliance.tasks.model import Task


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_what_was_delivered_is_not_kept() -> None:
    deliveries = Deliveries("acme", "w1")
    body = Body("email", b'"' + b"x" * 20_000 + b'"', 1)
    task = Task(bytes(16), body, State(CLAIMED, bytes(8), 0, 5, 1, lease_until=2, lease_number=1))
    before = resident_bytes()
    for _ in range(100):
        deliveries.one_by_one([task] * 50, [])
        deliveries.batches([task] * 50, 10, [])
    assert resident_bytes() - before < 50 << 20, "200 MB went through"
