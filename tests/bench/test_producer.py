"""A producer stream against a server of a few lines: what it keeps in flight, when it sends, what it counts."""

from typing import Any

import pytest

from appliance.api.streams.wire import producer_pb2 as pb
from appliance.bench.http2 import Connection
from appliance.bench.plan import ProducerPlan
from appliance.bench.producer import Producer
from appliance.bench.tally import Tally

ID = "01890000-0000-7000-8000-000000000000"


class Script:
    """A producer whose messages are read with protobuf, and answered when the test says so."""

    def __init__(self, **plan: Any) -> None:
        self.plan = ProducerPlan("token", plan.pop("commands", ("a",)), **plan)
        self.connection = Connection("localhost", "http")
        self.connection.window = 1 << 30
        self.tally = Tally()
        self.producer = Producer(self.connection, self.plan, self.tally)
        self.stream = self.connection.streams[1]
        self.stream.window = 1 << 30
        self.events: list[pb.ProducerEvent] = []
        self.connection.take()
        self.answer([pb.ServerEvent(hello_ack=pb.HelloAck(tenant_id="t"))], 0.0)

    def answer(self, events: list[pb.ServerEvent], now: float) -> None:
        self.producer.messages([event.SerializeToString() for event in events], now)

    def sent(self) -> list[list[pb.CreateTask]]:
        """What was sent since the last look, by message."""
        data, content = self.connection.take(), b""
        while data:
            size = int.from_bytes(data[:3])
            content += data[9 : 9 + size]
            data = data[9 + size :]
        found = []
        while content:
            size = int.from_bytes(content[1:5])
            event = pb.ProducerEvent.FromString(content[5 : 5 + size])
            found.append(list(event.create_batch.tasks) or [event.create])
            content = content[5 + size :]
        return found

    def acknowledge(self, messages: list[list[pb.CreateTask]], now: float) -> None:
        for creates in messages:
            acks = [pb.CreateAck(seq=each.seq, ok=True, task_id=ID) for each in creates]
            if self.plan.batch == 1:
                self.answer([pb.ServerEvent(create_ack=acks[0])], now)
            else:
                self.answer([pb.ServerEvent(create_ack_batch=pb.CreateAckBatch(acks=acks))], now)


@pytest.mark.parametrize("batch", [1, 4])
def test_as_many_creates_are_in_flight_as_the_plan_allows(batch: int) -> None:
    script = Script(batch=batch, in_flight=12)
    script.producer.begin(1.0)
    first = script.sent()
    assert [len(creates) for creates in first] == [batch] * (12 // batch)
    assert len({creates[0].seq for creates in first}) == len(first)
    script.acknowledge(first[:2], 1.25)
    assert len(script.sent()) == 2
    assert script.tally.created == 2 * batch
    assert list(script.tally.acks) == [250_000, 250_000]


def test_commands_and_priorities_all_have_their_turn() -> None:
    script = Script(commands=("a", "b", "c"), priorities=(0, 1), batch=2, in_flight=2)
    script.producer.begin(1.0)
    seen = []
    for _ in range(3):
        creates = script.sent()
        seen += [(each.command, each.priority) for message in creates for each in message]
        script.acknowledge(creates, 1.0)
    assert seen == [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("b", 1), ("c", 1)]


def test_keys_differ_and_rise() -> None:
    script = Script(batch=3, in_flight=6, key_suffix="-%-key")
    script.producer.begin(5.0)
    first = script.sent()
    script.acknowledge(first, 5.0)
    keys = [each.idempotency_key for message in first + script.sent() for each in message]
    assert len(keys) == 12, "two messages, and two more once those were acknowledged"
    assert keys == sorted(set(keys))
    assert keys[0] == f"{5_000_000:014x}-%-key"


def test_sampled_tasks_carry_the_clock() -> None:
    script = Script(batch=2, in_flight=2)
    script.producer.begin(3.0)
    payloads = [each.payload for each in script.sent()[0]]
    assert payloads[0].startswith(b'{"at":1000000003000000000,')
    assert not payloads[1].startswith(b'{"at"')
    assert {len(payload) for payload in payloads} == {120}


def test_an_offered_load_is_timed_from_when_it_was_due() -> None:
    script = Script(in_flight=2, interval_seconds=0.1, phase_seconds=0.05)
    script.producer.begin(1.0)
    assert script.producer.due == 1.05
    script.producer.send_due(1.0)
    assert script.sent() == []
    script.producer.send_due(1.4)
    late = script.sent()
    assert len(late) == 2, "the third was due at 1.25, yet both slots are in flight"
    script.acknowledge(late, 1.45)
    assert list(script.tally.acks) == [400_000, 300_000]
    third = script.sent()
    script.acknowledge(third[:1], 1.5)
    assert script.tally.acks[2] == 250_000


def test_a_limit_ends_it() -> None:
    script = Script(batch=2, in_flight=4, limit=5)
    script.producer.begin(1.0)
    while creates := script.sent():
        script.acknowledge(creates, 1.0)
    assert script.producer.done
    assert script.tally.created == 6


def test_a_refusal_is_counted_and_its_slot_used_again() -> None:
    script = Script(in_flight=1)
    script.producer.begin(1.0)
    ((create,),) = script.sent()
    script.answer([pb.ServerEvent(create_ack=pb.CreateAck(seq=create.seq, error_message="full: disk"))], 1.0)
    assert (script.tally.created, script.tally.refused, script.tally.refusals) == (0, 1, ["full: disk"])
    assert len(script.sent()) == 1
