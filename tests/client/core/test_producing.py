"""The producer's core: nothing lost, nothing twice, whatever the connection does."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from codeq._core.keys import Keys
from codeq._core.link import State
from codeq._core.producing import BATCH_BYTES_MAX, BATCH_COUNT_MAX, OVERHEAD_BYTES, Producing
from codeq._core.requests import NewTask, encode_create
from codeq._wire import producer_pb2
from codeq.errors import Closed, DeadlineExceeded, Unauthenticated
from tests.client.core.model import Connection, ProducerModel

FAR = 1e9


def make(**options: Any) -> Producing:
    counter = iter(range(10**9))
    keys = Keys(lambda: 1_000, lambda size: next(counter).to_bytes(size, "big"))
    return Producing(
        ["a:1"],
        token_changes=False,
        keys=keys,
        jitter=lambda: 0.5,
        **{"count_max": 10_000, "bytes_max": 1 << 30, **options},
    )


def add(core: Producing, handle: object, payload: object = None, deadline: float = FAR) -> str:
    message = encode_create(NewTask(command="a", payload=payload))
    core.give_key(message)
    core.add(handle, message, deadline)
    return message.idempotency_key


class Play:
    """A core, a model, and a clock, moved step by step."""

    def __init__(self) -> None:
        self.core = make()
        self.model = ProducerModel()
        self.now = 0.0
        self.keys: dict[int, str] = {}
        self.answers: dict[int, object] = {}

    def create(self, count: int) -> None:
        for _ in range(count):
            handle = len(self.keys)
            self.keys[handle] = add(self.core, handle, handle)

    def write(self, count: int) -> None:
        if self.core.link.state is State.PAUSED and self.now >= self.core.link.pause_until:
            self.core.connecting(self.now, "token")
        for _ in range(count):
            message = self.core.next_message(self.now)
            if message is None:
                return
            self.model.connection.inbox.append(message)

    def serve(self, count: int) -> None:
        for _ in range(min(count, len(self.model.connection.inbox))):
            self.model.serve()

    def read(self, count: int) -> None:
        for _ in range(min(count, len(self.model.connection.outbox))):
            self.core.receive(self.now, self.model.connection.outbox.popleft())
        self.take()

    def cut(self, _: int) -> None:
        self.model.connection = Connection()
        if self.core.link.state is not State.PAUSED:
            self.core.ended(self.now, "UNAVAILABLE", "cut", "")

    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.core.tick(self.now)
        self.take()

    def refuse(self, count: int) -> None:
        self.model.unavailable = count % 2 == 1

    def take(self) -> None:
        for handle, answer in self.core.take_settled():
            assert isinstance(handle, int)
            assert handle not in self.answers, "settled twice"
            self.answers[handle] = answer

    def exchange(self, count: int) -> None:
        """A stretch of a good connection, which random single steps rarely make."""
        for _ in range(count):
            for step in (self.write, self.serve, self.read):
                step(count)

    def heal(self) -> None:
        self.model.unavailable = False
        for _ in range(100):
            if self.core.unsettled == 0:
                return
            self.wait(20)
            self.write(1_000)
            self.serve(1_000)
            self.read(1_000)
            self.write(1_000)
            self.serve(1_000)
            self.read(1_000)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["create", "write", "serve", "read", "exchange", "cut", "wait", "refuse"]), st.integers(1, 6)
    ),
    min_size=20,
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_no_create_is_lost_or_made_twice_whatever_the_connection_does(steps: list[tuple[str, int]]) -> None:
    play = Play()
    for name, count in steps:
        getattr(play, name)(count)
    play.heal()
    assert play.answers.keys() == play.keys.keys()
    for handle, key in play.keys.items():
        assert play.answers[handle] == play.model.ids[("a", key)]
        assert play.model.payloads[play.model.ids[("a", key)]] == b"%d" % handle
    assert len(play.model.ids) == len(play.keys)
    assert play.core.has_room(encode_create(NewTask(command="a", payload="x" * 1_000)))


def opened(core: Producing) -> None:
    core.connecting(0.0, "token")
    assert core.next_message(0.0) is not None
    core.receive(0.0, producer_pb2.ServerEvent(hello_ack=producer_pb2.HelloAck()))


def test_batches_are_bounded_in_count_and_bytes() -> None:
    core = make()
    opened(core)
    for number in range(1_000):
        add(core, number)
    for number in range(8):
        add(core, number, "x" * 400_000)
    sizes = []
    while (message := core.next_message(0.0)) is not None:
        event = producer_pb2.ProducerEvent.FromString(message)
        sizes.append(len(event.create_batch.tasks) or 1)
        assert len(message) <= BATCH_BYTES_MAX + OVERHEAD_BYTES
    assert max(sizes) == BATCH_COUNT_MAX
    assert sum(sizes) == 1_008


def test_nothing_is_sent_before_hello_is_answered() -> None:
    core = make()
    add(core, 1)
    core.connecting(0.0, "token")
    hello = core.next_message(0.0)
    assert hello is not None
    assert producer_pb2.ProducerEvent.FromString(hello).hello.token == "token"
    assert core.next_message(0.0) is None


def test_a_create_past_its_deadline_is_settled_and_its_late_answer_ignored() -> None:
    core = make()
    opened(core)
    key = add(core, "late", deadline=5.0)
    add(core, "other", deadline=50.0)
    assert core.next_message(0.0) is not None
    assert core.wake_at() == 5.0
    core.tick(5.0)
    [(handle, error)] = core.take_settled()
    assert handle == "late" and isinstance(error, DeadlineExceeded)
    assert error.idempotency_key == key
    core.receive(6.0, producer_pb2.ServerEvent(create_ack=producer_pb2.CreateAck(seq=1, ok=True, task_id="x")))
    assert core.take_settled() == []
    assert core.wake_at() == 50.0


def test_deadlines_of_settled_creates_do_not_pile_up() -> None:
    core = make()
    opened(core)
    for seq in range(1, 5_000):
        add(core, seq, deadline=1_000.0 + seq)
        core.next_message(0.0)
        core.receive(0.0, producer_pb2.ServerEvent(create_ack=producer_pb2.CreateAck(seq=seq, ok=True, task_id="x")))
    assert len(core._deadlines) < 200


def test_room_is_counted_in_creates_and_bytes() -> None:
    message = encode_create(NewTask(command="a", payload="x" * 1_000))
    core = make(count_max=2)
    add(core, 1)
    assert core.has_room(message)
    add(core, 2)
    assert not core.has_room(message)
    narrow = make(bytes_max=1_000)
    assert narrow.has_room(message), "one of any size fits where nothing is under way"
    add(narrow, 1)
    assert not narrow.has_room(message)


def test_a_refused_token_settles_everything_with_the_reason() -> None:
    core = make()
    add(core, 1)
    core.connecting(0.0, "bad")
    core.ended(0.0, "UNAUTHENTICATED", "expired", "")
    [(_, error)] = core.take_settled()
    assert isinstance(error, Unauthenticated)
    assert core.finished


def test_closing_ends_the_stream_after_the_last_answer() -> None:
    core = make()
    opened(core)
    add(core, 1)
    core.close()
    assert core.next_message(0.0) is not None
    assert core.next_message(0.0) is None
    core.receive(0.0, producer_pb2.ServerEvent(create_ack=producer_pb2.CreateAck(seq=1, ok=True, task_id="x")))
    assert core.next_message(0.0) is None
    assert core.link.ending
    core.ended(0.0, "OK", "", "")
    assert core.finished


def test_aborting_settles_everything_with_closed() -> None:
    core = make()
    add(core, 1)
    core.abort()
    [(_, error)] = core.take_settled()
    assert isinstance(error, Closed)
    assert core.finished
