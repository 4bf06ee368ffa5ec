"""Rates with a clock set by hand: exact to one request, bounded in number, and per subject."""

from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.api.rates import ADMIN_RATE, PRODUCER_RATE, WORKER_RATE, Buckets, Rate
from appliance.api.streams.wire import producer_pb2 as pb
from appliance.mux.grpc_framing import RESOURCE_EXHAUSTED
from tests.api.admin.support import get, put
from tests.api.streams.support import Producer, StreamNode
from tests.api.support import ADMIN, TASKS, Node

TEN_SECONDS_MS = 10_000


def accepted(rate: Rate, moments_ms: Iterator[int]) -> int:
    """How many requests at these moments get a token."""
    buckets = Buckets()
    return sum(buckets.take("key", rate, moment) == 0 for moment in moments_ms)


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(1, 100), st.integers(1, 40))
def test_over_ten_seconds_a_rate_is_exact_to_one_request(per_second: int, burst: int, every_ms: int) -> None:
    # A bucket that runs over between two moments would lose what it cannot hold.
    rate = Rate(per_second, burst + per_second * every_ms // 1_000 + 1)
    buckets, got, last_ms = Buckets(), 0, 0
    for now in range(0, TEN_SECONDS_MS + 1, every_ms):
        while buckets.take("key", rate, now) == 0:
            got += 1
        last_ms = now
    assert got == rate.burst + last_ms * per_second // 1_000


def test_a_steady_caller_at_its_rate_is_never_refused_and_one_above_it_just_once_too_often() -> None:
    assert accepted(Rate(100, 1), iter(range(0, TEN_SECONDS_MS, 10))) == 1_000
    assert accepted(Rate(100, 1), iter(range(0, TEN_SECONDS_MS, 5))) == 1_000
    assert accepted(Rate(3, 3), iter(range(TEN_SECONDS_MS))) in (32, 33)


@given(st.integers(1, 50), st.integers(1, 20), st.integers(0, 2**40))
def test_who_waits_as_long_as_told_gets_a_token_and_not_a_millisecond_earlier(
    per_second: int, burst: int, start_ms: int
) -> None:
    rate, buckets = Rate(per_second, burst), Buckets()
    now = start_ms
    for _ in range(burst):
        assert buckets.take("key", rate, now) == 0
    for _ in range(5):
        wait_ms = buckets.take("key", rate, now)
        assert wait_ms > 0
        assert buckets.take("key", rate, now + wait_ms - 1) > 0
        now += wait_ms
        assert buckets.take("key", rate, now) == 0


def test_the_number_of_buckets_is_bounded_and_the_busiest_are_kept() -> None:
    buckets, rate, rng = Buckets(100), Rate(1, 5), Random(1)
    for _ in range(5):
        buckets.take("busy", rate, 0)
    for number in range(10_000):
        buckets.take(number, rate, rng.randrange(3))
        assert len(buckets) <= 100
    assert buckets.take("busy", rate, 0) > 0


def test_buckets_that_are_full_again_make_room_first() -> None:
    buckets, rate = Buckets(10), Rate(1, 1)
    for number in range(9):
        buckets.take(number, rate, 0)
    buckets.take("young", rate, 1_500)
    buckets.take("new", rate, 2_000)
    assert len(buckets) == 2


def test_a_rate_that_changes_begins_anew() -> None:
    buckets = Buckets()
    assert [buckets.take("key", Rate(1, 1), 0) for _ in range(2)] == [0, 1_000]
    assert [buckets.take("key", Rate(2, 2), 0) for _ in range(3)] == [0, 0, 500]


def test_creates_are_limited_for_each_subject_and_a_batch_counts_once() -> None:
    node = Node(rates={PRODUCER_RATE: Rate(1, 2)})
    node.call("POST", TASKS + "/batch", [{"command": "a", "payload": 1}] * 50, "producer")
    node.create()
    answer = node.call("POST", TASKS, {"command": "a", "payload": 1}, "producer")
    assert (answer.status, answer.code, answer.headers[b"Retry-After"]) == (429, "rate-limited", b"1")
    assert node.call("POST", TASKS, {"command": "a", "payload": 1}, "other-producer").status == 201
    node.now += 1_000
    node.create()


def test_claims_are_limited_and_what_ends_a_lease_is_not() -> None:
    node = Node(rates={WORKER_RATE: Rate(1, 1)})
    task = node.create() and node.claim()
    assert node.call("POST", TASKS + "/claim", {}, "worker").status == 429
    assert node.call("POST", TASKS + "/claim/batch", {"count": 3}, "worker").status == 429
    for _ in range(5):
        assert node.act(task["id"], "heartbeat").status == 200
    assert node.act(task["id"], "result", {"status": "COMPLETED"}).status == 200


def test_administration_has_a_rate_of_its_own() -> None:
    node = Node(rates={ADMIN_RATE: Rate(1, 1)})
    get(node, "/queues")
    answer = node.call("GET", ADMIN + "/queues", token="admin")
    assert (answer.status, answer.headers[b"Retry-After"]) == (429, b"1")
    node.create()


def test_a_bad_token_takes_nothing_from_anybody() -> None:
    node = Node(rates={PRODUCER_RATE: Rate(1, 1)})
    for token in ("nobody", "worker"):
        assert node.call("POST", TASKS, {}, token).status == 401
    node.create()


def test_a_tenant_has_a_rate_over_all_its_subjects_but_not_over_its_administration() -> None:
    node = Node()
    put(node, "/tenants/acme/limits", {"restPerSecond": 2}, "operator")
    task = node.create()["id"]
    assert node.call("POST", TASKS + "/claim", {}, "worker").status == 200
    answer = node.call("GET", f"{TASKS}/{task}", token="producer")
    assert (answer.status, answer.code) == (429, "rate-limited")
    assert get(node, "/queues/email")["inProgress"] == 1
    assert node.call("POST", TASKS, {"command": "a", "payload": 1}, "other-producer").status == 201
    node.now += 500
    assert node.call("GET", f"{TASKS}/{task}", token="producer").status == 200


@pytest.mark.parametrize("by_tenant", [True, False])
def test_streams_are_limited_at_hello_and_never_per_event(by_tenant: bool) -> None:
    node = StreamNode(rates={} if by_tenant else {PRODUCER_RATE: Rate(1, 1)})
    if by_tenant:
        put(node, "/tenants/acme/limits", {"hellosPerSecond": 1}, "operator")
    stream = Producer(node)
    stream.creates(*(pb.CreateTask(command="email", seq=number) for number in range(20)))
    stream.create()
    assert len(stream.acks()) == 21
    refused = Producer(node, None)
    refused.send(pb.ProducerEvent(hello=pb.Hello(token="producer")))
    assert refused.call.ended is not None
    status, message = refused.call.ended
    assert status == RESOURCE_EXHAUSTED and "come again in 1 s" in message
    node.now += 1_000
    assert Producer(node).status() is None
