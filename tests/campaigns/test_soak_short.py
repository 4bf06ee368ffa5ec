"""Half a minute of what a soak does for an hour, and what it would complain about."""

import asyncio
from pathlib import Path

from appliance.api.streams.wire import producer_pb2 as pb
from appliance.api.streams.wire import worker_pb2 as wb
from tests.campaigns.account import Account
from tests.campaigns.soak import Campaign, Sample, growth
from tests.campaigns.soak_streams import CREATED, LINKS, SETTLED

SECONDS = 20.0


def test_nothing_grows_and_nothing_is_lost_in_half_a_minute(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, rate=400, every=2.0, tell=lambda _: None)
    assert asyncio.run(campaign.run(SECONDS)) == []
    assert len(campaign.samples) > 10 and len(campaign.events) > 3
    created, connections = campaign.streams.created, campaign.streams.connections
    assert created > campaign.account.acknowledged / 2 and connections > LINKS


def test_growth_is_what_the_last_third_has_over_the_second() -> None:
    flat = [Sample(number, 50 << 20, 10 << 20, 20, 0, 0) for number in range(30)]
    assert growth(flat) == []
    high = flat[-1]
    for worse in (
        high._replace(memory_bytes=90 << 20),
        high._replace(file_bytes=40 << 20),
        high._replace(descriptors=60),
    ):
        assert len(growth([*flat[:-1], worse])) == 1
    assert growth(flat[:2]) != []


def test_what_was_acknowledged_and_never_finished_stays_in_the_account() -> None:
    account = Account()
    account.created([b"a"])
    account.done([b"b"])
    account.created([b"b"])
    assert account.unfinished == 1
    account.done([b"a"])
    account.done([b"a"])
    assert account.unfinished == 0 and account.acknowledged == 2


def test_a_finish_waits_for_its_create_until_it_is_forgotten() -> None:
    account = Account()
    account.done([b"a", b"b"])
    account.forget()
    account.created([b"a"])
    assert account.unfinished == 0
    account.forget()
    account.created([b"b"])
    assert account.unfinished == 1


def test_a_result_without_an_answer_is_in_doubt_until_its_task_is_finished() -> None:
    account = Account()
    account.created([b"a", b"b"])
    account.doubt({b"a": 1.0, b"b": 2.0, b"unknown": 3.0})
    assert account.doubts() == [(b"a", 1.0), (b"b", 2.0)]
    account.done([b"a"])
    assert account.doubts() == [(b"b", 2.0)] and account.unfinished == 1


def test_acknowledgements_are_read_as_protobuf_reads_them() -> None:
    tasks = [f"01890000-0000-7000-8000-{number:012d}" for number in range(6)]
    creates = [pb.CreateAck(seq=number, ok=True, task_id=task) for number, task in enumerate(tasks[:2])]
    creates.append(pb.CreateAck(seq=9, error_message="unavailable: the node stops"))
    event = pb.ServerEvent(create_ack_batch=pb.CreateAckBatch(acks=creates))
    assert CREATED.findall(event.SerializeToString()) == [task.encode() for task in tasks[:2]]

    words = ("", "lease-lost: over", "not-found: no such task", "unavailable: " + "x" * 200, "not-claimed: no")
    results = [
        wb.ResultAck(task_id=task, ok=not word, error_message=word) for task, word in zip(tasks, words, strict=False)
    ]
    read = SETTLED.findall(wb.ServerEvent(result_ack_batch=wb.ResultAckBatch(acks=results)).SerializeToString())
    assert [(task.decode(), bool(ok), code.decode()) for task, ok, code in read] == [
        (tasks[0], True, ""), (tasks[1], False, ""), (tasks[2], False, "not-found"),
        (tasks[3], False, "unavailable"), (tasks[4], False, ""),
    ]  # fmt: skip
