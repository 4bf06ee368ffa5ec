"""The worker stream: section 4 of the contract, one test for each of its sentences."""

import pytest

from appliance.api.streams.app import StreamSettings
from appliance.api.streams.settings import EXPOSED_TASKS
from appliance.api.streams.wire import worker_pb2 as wb
from appliance.mux import grpc_framing as status
from appliance.mux.grpc_call import UNSENT_MAX
from appliance.tasks.model import Abandon, Claim, FinishBatch
from appliance.tasks.settings import TaskSettings
from tests.api.streams.support import Producer, StreamNode, Worker, create
from tests.api.support import caller

NOBODY = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
def node() -> StreamNode:
    return StreamNode()


def ok(event: wb.ServerEvent) -> bool:
    """Whether an acknowledgement is a good one."""
    good: bool = getattr(event, event.WhichOneof("event") or "").ok
    return good


def refusal(event: wb.ServerEvent) -> str:
    """The code in an acknowledgement that is not a good one."""
    ack = getattr(event, event.WhichOneof("event") or "")
    assert not ack.ok
    code, _, message = ack.error_message.partition(": ")
    assert message
    return str(code)


# Hello.


def test_hello_is_acknowledged_with_worker_and_tenant(node: StreamNode) -> None:
    worker = Worker(node, token=None)
    worker.send(wb.WorkerEvent(hello=wb.Hello(token="worker", worker_id="w7")))
    assert worker.take() == [wb.ServerEvent(hello_ack=wb.HelloAck(worker_id="w7", tenant_id="acme"))]


def test_a_worker_without_an_id_is_its_subject(node: StreamNode) -> None:
    worker = Worker(node, token=None)
    worker.send(wb.WorkerEvent(hello=wb.Hello(token="worker-2")))
    assert worker.take()[0].hello_ack.worker_id == "worker-2"


def test_a_worker_id_that_is_too_long_ends_the_stream(node: StreamNode) -> None:
    worker = Worker(node, token=None)
    worker.send(wb.WorkerEvent(hello=wb.Hello(token="worker", worker_id="w" * 129)))
    assert worker.status() == status.INVALID_ARGUMENT


def test_a_first_event_that_is_not_hello_ends_the_stream(node: StreamNode) -> None:
    worker = Worker(node, token=None)
    worker.ready("email")
    assert worker.status() == status.FAILED_PRECONDITION


def test_a_producers_token_is_unauthenticated(node: StreamNode) -> None:
    worker = Worker(node, token=None)
    worker.send(wb.WorkerEvent(hello=wb.Hello(token="producer")))
    assert worker.call.ended == (status.UNAUTHENTICATED, "this stream takes a worker token")


def test_a_second_hello_and_an_event_with_nothing_in_it_are_server_errors(node: StreamNode) -> None:
    worker = Worker(node)
    worker.send(wb.WorkerEvent(hello=wb.Hello(token="worker")), wb.WorkerEvent())
    assert [event.error.code for event in worker.take()] == ["InvalidArgument"] * 2
    assert worker.status() is None


def test_an_event_that_cannot_be_decoded_ends_the_stream_after_what_came_before(node: StreamNode) -> None:
    worker = Worker(node)
    worker.send_raw(wb.WorkerEvent(abandon=wb.Abandon(task_id=NOBODY)).SerializeToString(), b"\xff")
    assert refusal(worker.event()) == "not-found"
    assert worker.call.ended == (status.INTERNAL, "an event cannot be decoded")


# Readys.


def test_a_task_has_every_field(node: StreamNode) -> None:
    node.create(
        priority=7, maxAttempts=3, webhook="https://example.com/", traceParent="00-x", traceState="a=b", payload=[1]
    )
    node.pass_ms(1_234)
    task = Worker(node).task(lease_seconds=60)
    assert task.id
    assert task == wb.Task(
        id=task.id,
        command="email",
        payload=b"[1]",
        priority=7,
        webhook="https://example.com/",
        max_attempts=3,
        status="CLAIMED",
        worker_id="w1",
        lease_until="2026-05-28T20:27:41.234Z",
        attempts=1,
        tenant_id="acme",
        created_at={"seconds": 1_780_000_000},
        updated_at={"seconds": 1_780_000_001, "nanos": 234_000_000},
        trace_parent="00-x",
        trace_state="a=b",
        lease_id=task.id + ":1",
    )


def test_tasks_of_one_batch_each_have_their_own_fields(node: StreamNode) -> None:
    first = node.create(priority=9, traceParent="00-x", webhook="https://example.com/")
    node.pass_ms(5)
    second = node.create(payload=None)
    worker = Worker(node)
    worker.ready("email", count=2)
    one, two = worker.event().task_batch.tasks
    assert [one.id, two.id] == [first["id"], second["id"]]
    assert (two.priority, two.trace_parent, two.webhook, two.payload) == (0, "", "", b"null")
    assert [task.created_at.nanos for task in (one, two)] == [0, 5_000_000]


def test_the_lease_lasts_five_minutes_unless_it_is_asked_for_otherwise(node: StreamNode) -> None:
    node.ready_tasks(1)
    assert Worker(node).task().lease_until == "2026-05-28T20:31:40.000Z"


def test_a_claim_is_durable_before_the_worker_sees_the_task(node: StreamNode) -> None:
    node.ready_tasks(1)
    worker = Worker(node)
    worker.ready("email")
    node.scheduler.pump(node.now)
    assert worker.take() == []
    assert worker.event().HasField("task")


def test_a_ready_waits_without_end_until_work_is_there(node: StreamNode) -> None:
    worker = Worker(node)
    worker.ready("email")
    node.pass_ms(40 * 86_400_000)
    assert worker.take() == []
    assert node.timers_set == 0
    node.create()
    assert worker.event().task.task.command == "email"


@pytest.mark.parametrize("count", [0, 1])
def test_a_count_of_nought_or_one_is_answered_with_one_task(node: StreamNode, count: int) -> None:
    node.ready_tasks(3)
    worker = Worker(node)
    worker.ready("email", count=count)
    assert worker.event().WhichOneof("event") == "task"


def test_a_greater_count_is_answered_with_a_batch_of_one_to_count(node: StreamNode) -> None:
    ids = node.ready_tasks(7)
    worker = Worker(node)
    worker.ready("email", count=5)
    assert [task.id for task in worker.event().task_batch.tasks] == ids[:5]
    worker.ready("email", count=100)
    assert [task.id for task in worker.event().task_batch.tasks] == ids[5:]
    worker.ready("email", count=2)
    assert worker.events() == []
    last = node.create()
    assert [task.id for task in worker.event().task_batch.tasks] == [last["id"]]


def test_each_ready_has_one_answer_and_is_then_spent(node: StreamNode) -> None:
    worker = Worker(node)
    worker.ready("email", times=3)
    ids = node.ready_tasks(5)
    assert [event.task.task.id for event in worker.events()] == ids[:3]
    assert node.statuses(ids) == ["CLAIMED"] * 3 + ["PENDING"] * 2


def test_readys_for_batches_that_arrive_together_are_answered_one_by_one(node: StreamNode) -> None:
    ids = node.ready_tasks(10)
    worker = Worker(node)
    worker.ready("email", times=5, count=4)
    answers = [[task.id for task in event.task_batch.tasks] for event in worker.events()]
    assert answers == [ids[:4], ids[4:8], ids[8:]]
    more = [node.ready_tasks(1) for _ in range(3)]
    assert [[task.id for task in event.task_batch.tasks] for event in worker.events()] == more[:2]


def test_readys_of_one_kind_share_a_claim(node: StreamNode) -> None:
    worker = Worker(node)
    worker.ready("email", times=100)
    worker.ready("email")
    node.settle()
    assert [claim.answers for claim in node.offers(Claim)] == [101]
    assert len(node.scheduler.tasks.waits) == 1


def test_streams_that_wait_are_served_in_turn(node: StreamNode) -> None:
    workers = [Worker(node, worker_id=f"w{number}") for number in range(3)]
    for worker in workers:
        worker.ready("email", times=10)
    node.settle()
    for _ in range(6):
        node.create()
    assert [len(worker.events()) for worker in workers] == [2, 2, 2]


def test_a_claim_over_several_commands_takes_the_highest_priority_then_the_oldest(node: StreamNode) -> None:
    low = node.create("a")["id"]
    lower = node.create("b")["id"]
    high = node.create("b", priority=9)["id"]
    worker = Worker(node)
    worker.ready("a", "b", times=3)
    assert [event.task.task.id for event in worker.events()] == [high, low, lower]


@pytest.mark.parametrize("commands", [["a", "b"], []])
def test_many_readys_over_several_queues_are_all_served(node: StreamNode, commands: list[str]) -> None:
    ids = node.ready_tasks(150, "a") + node.ready_tasks(150, "b")
    worker = Worker(node)
    worker.ready(*commands, times=300)
    assert {event.task.task.id for event in worker.events()} == set(ids)


def test_no_commands_mean_all_that_the_token_allows(node: StreamNode) -> None:
    node.create("sms")
    mail = node.create("email")["id"]
    assert Worker(node, "email-worker").task().id == mail


@pytest.mark.parametrize("token", ["idle", "powerless"])
def test_a_ready_without_scope_or_commands_ends_the_stream(node: StreamNode, token: str) -> None:
    worker = Worker(node, token)
    worker.ready()
    assert worker.status() == status.PERMISSION_DENIED


def test_a_ready_for_a_command_that_is_not_allowed_ends_the_stream(node: StreamNode) -> None:
    worker = Worker(node, "email-worker")
    worker.ready("email", "sms")
    assert worker.call.ended == (status.PERMISSION_DENIED, "the token's eventTypes do not allow sms")


@pytest.mark.parametrize(
    "ready",
    [
        wb.Ready(count=101),
        wb.Ready(count=2**31 - 1),
        wb.Ready(count=-1),
        wb.Ready(lease_seconds=86_401),
        wb.Ready(lease_seconds=-1),
        wb.Ready(commands=["a b"]),
        wb.Ready(commands=[""]),
        wb.Ready(commands=["a"] * 101),
    ],
)
def test_a_ready_out_of_range_ends_the_stream(node: StreamNode, ready: wb.Ready) -> None:
    worker = Worker(node)
    worker.send(wb.WorkerEvent(ready=ready))
    assert worker.status() == status.INVALID_ARGUMENT


def test_more_readys_than_a_stream_may_have_end_it(node: StreamNode) -> None:
    worker = Worker(node)
    worker.ready("email", times=9_999)
    worker.ready("sms")
    assert worker.events() == []
    assert worker.status() is None
    worker.ready("email")
    assert worker.status() == status.RESOURCE_EXHAUSTED


def test_readys_that_wait_leave_the_waits_of_other_claims_alone() -> None:
    node = StreamNode(tasks=TaskSettings(waiting_per_tenant_max=1))
    for _ in range(3):
        Worker(node).ready("email", "sms")
    node.settle()
    assert not node.begin("POST", "/v1/codeq/tasks/claim", {"waitSeconds": 1}, "worker").answered
    node.settle()
    assert node.call("POST", "/v1/codeq/tasks/claim", {"waitSeconds": 1}, "worker").status == 429


def test_readys_of_many_kinds_are_forgotten_when_they_are_answered(node: StreamNode) -> None:
    worker = Worker(node)
    for seconds in range(1, 200):
        node.create()
        worker.ready("email", lease_seconds=seconds)
        worker.event()
    assert len(worker.session._readys._kinds) <= 16  # type: ignore[attr-defined]


def test_readys_whose_claim_was_lost_are_asked_for_again(node: StreamNode) -> None:
    node.ready_tasks(2)
    worker = Worker(node)
    worker.ready("email", times=2)
    worker.ready("sms")
    node.fail()
    assert worker.events() == []
    node.pass_ms(1_000)
    assert len(worker.events()) == 2
    node.create("sms")
    assert len(worker.events()) == 1
    node.create("sms")
    assert worker.events() == []


def test_a_batch_stays_below_what_clients_take() -> None:
    node = StreamNode(StreamSettings(payload_bytes_max=2 << 20))
    producer, worker = Producer(node), Worker(node)
    for size in (500_000, (2 << 20) - 2, 500_000, 500_000, (2 << 20) - 2):
        producer.create(payload=b'"' + b"x" * (size - 2) + b'"')
        assert producer.acks()[0].ok
    worker.ready("email", count=100, times=3)
    assert [len(event.task_batch.tasks) for event in worker.events()] == [2, 2, 1]


# Backpressure.


def test_no_task_is_claimed_for_a_stream_whose_send_queue_is_full(node: StreamNode) -> None:
    worker = Worker(node)
    worker.ready("email", times=300)
    worker.call.reads = False
    worker.send(*[wb.WorkerEvent(abandon=wb.Abandon(task_id=NOBODY))] * (UNSENT_MAX + 1))
    node.settle()
    ids = node.ready_tasks(5)
    node.settle()
    assert node.statuses(ids) == ["PENDING"] * 5
    assert len(node.scheduler.tasks.waits) == 0
    worker.take()
    worker.read_again()
    assert [event.task.task.id for event in worker.events()] == ids


def test_a_peer_that_never_reads_is_given_a_bounded_number_of_tasks(node: StreamNode) -> None:
    producer, worker = Producer(node), Worker(node)
    producer.send(*(create(seq=number) for number in range(1_500)))
    producer.acks()
    worker.call.reads = False
    worker.ready("email", times=5_000)
    node.settle()
    assert UNSENT_MAX < worker.call.unsent <= UNSENT_MAX + EXPOSED_TASKS
    taken = worker.call.unsent
    worker.read_again()
    node.settle()
    assert len([event for event in worker.take() if event.HasField("task")]) == 1_500 > taken


# Results.


def test_a_result_is_acknowledged_and_recorded(node: StreamNode) -> None:
    (task_id,) = node.ready_tasks(1)
    worker = Worker(node)
    worker.task()
    worker.result(task_id, result_json=b'{"x": [1]}')
    assert worker.take() == []
    assert worker.event() == wb.ServerEvent(result_ack=wb.ResultAck(task_id=task_id, ok=True))
    record = node.call("GET", f"/v1/codeq/tasks/{task_id}/result", token="producer")
    assert record.json["result"] == {"x": [1]}
    assert record.json["status"] == "COMPLETED"


def test_a_failure_is_recorded(node: StreamNode) -> None:
    worker = Worker(node)
    node.ready_tasks(2)
    for error in ("boom", ""):
        task = worker.task()
        worker.result(task.id, "FAILED", error=error)
        assert ok(worker.event())
        assert (node.read(task.id)["status"], node.read(task.id).get("error", "")) == ("FAILED", error)


@pytest.mark.parametrize("text", [b"", b"null", b" null "])
def test_an_empty_result_is_null(node: StreamNode, text: bytes) -> None:
    node.ready_tasks(1)
    worker = Worker(node)
    task = worker.task()
    worker.result(task.id, result_json=text)
    assert ok(worker.event())
    worker.result(task.id, result_json=b"null")
    assert ok(worker.event())
    assert node.call("GET", f"/v1/codeq/tasks/{task.id}/result", token="producer").json["result"] is None


def test_the_same_result_again_is_ok_and_another_is_not(node: StreamNode) -> None:
    node.ready_tasks(1)
    worker = Worker(node)
    task = worker.task()
    for value in (b"1", b"1", b"2"):
        worker.result(task.id, result_json=value)
    acks = worker.events()
    assert [ok(ack) for ack in acks] == [True, True, False]
    assert refusal(acks[2]) == "not-claimed"


def test_results_that_arrive_together_are_one_commit(node: StreamNode) -> None:
    ids = node.ready_tasks(50)
    worker = Worker(node)
    worker.ready(times=50)
    worker.events()
    results = [wb.WorkerEvent(result=wb.Result(task_id=task_id, status="COMPLETED")) for task_id in ids]
    worker.send(*(event for result in results for event in (result, wb.WorkerEvent(ready=wb.Ready()))))
    assert [len(batch.items) for batch in node.offers(FinishBatch)] == [50]
    assert [event.result_ack.task_id for event in worker.events()] == ids


def test_a_result_batch_is_one_commit_and_one_answer_in_input_order(node: StreamNode) -> None:
    ids = node.ready_tasks(3)
    worker = Worker(node)
    worker.ready(count=3)
    worker.events()
    results = [wb.Result(task_id=task_id, status="COMPLETED") for task_id in (ids[2], NOBODY, ids[0], ids[1])]
    results[3].result_json = b"{"
    worker.send(wb.WorkerEvent(result_batch=wb.ResultBatch(results=results)))
    assert len(node.offers(FinishBatch)) == 1
    acks = worker.event().result_ack_batch.acks
    assert [(ack.task_id, ack.ok) for ack in acks] == [
        (ids[2], True),
        (NOBODY, False),
        (ids[0], True),
        (ids[1], False),
    ]
    assert acks[1].error_message.startswith("not-found: ")
    assert acks[3].error_message.startswith("validation-error: result_json")
    assert node.statuses(ids) == ["COMPLETED", "CLAIMED", "COMPLETED"]


def test_an_empty_result_batch_is_answered_with_an_empty_one(node: StreamNode) -> None:
    worker = Worker(node)
    worker.send(wb.WorkerEvent(result_batch=wb.ResultBatch()))
    assert worker.event().WhichOneof("event") == "result_ack_batch"


def test_a_long_result_batch_is_answered_in_parts(node: StreamNode) -> None:
    worker = Worker(node)
    results = [wb.Result(task_id=f"{number}", status="COMPLETED") for number in range(1_200)]
    worker.send(wb.WorkerEvent(result_batch=wb.ResultBatch(results=results)))
    acks = [event.result_ack_batch.acks for event in worker.events()]
    assert [len(part) for part in acks] == [1_000, 200]
    assert [ack.task_id for part in acks for ack in part] == [f"{number}" for number in range(1_200)]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"status": "DONE"}, "validation-error"),
        ({"status": ""}, "validation-error"),
        ({"result_json": b"{"}, "validation-error"),
        ({"result_json": b'"\xff"'}, "validation-error"),
        ({"result_json": b"[" * 65 + b"]" * 65}, "validation-error"),
        ({"result_json": b'"' + b"x" * 262_143 + b'"'}, "payload-too-large"),
        ({"error": "x" * 4_097}, "validation-error"),
        ({"error": "é" * 2_049}, "validation-error"),
        ({"task_id": ""}, "not-found"),
        ({"task_id": NOBODY}, "not-found"),
        ({"task_id": "x" * 100_000}, "not-found"),
        ({"lease_id": "nonsense"}, "lease-lost"),
    ],
)
def test_a_result_that_is_refused_has_its_own_acknowledgement(
    node: StreamNode, fields: dict[str, object], code: str
) -> None:
    node.ready_tasks(1)
    worker = Worker(node)
    task = worker.task()
    result = wb.Result(**{"task_id": task.id, "status": "COMPLETED", **fields})  # type: ignore[arg-type]
    worker.send(wb.WorkerEvent(result=result))
    event = worker.event()
    assert refusal(event) == code
    assert result.task_id.startswith(event.result_ack.task_id)
    worker.result(task.id)
    assert ok(worker.event())


def test_results_of_a_lost_group_are_acknowledged_as_unavailable_and_can_be_sent_again(node: StreamNode) -> None:
    node.ready_tasks(1)
    worker = Worker(node)
    task = worker.task()
    worker.result(task.id)
    node.fail()
    assert refusal(worker.event()) == "unavailable"
    worker.result(task.id)
    assert ok(worker.event())


def test_what_the_token_does_not_allow_is_refused_in_the_acknowledgement(node: StreamNode) -> None:
    worker = Worker(node, "powerless")
    worker.result(NOBODY)
    worker.heartbeat(NOBODY)
    worker.nack(NOBODY)
    worker.abandon(NOBODY)
    assert [refusal(event) for event in worker.events()] == ["permission-denied"] * 4
    assert worker.status() is None


# Heartbeat, nack, abandon.


def test_a_heartbeat_extends_the_lease(node: StreamNode) -> None:
    node.ready_tasks(1)
    worker = Worker(node)
    task = worker.task(lease_seconds=10)
    worker.heartbeat(task.id, extend_seconds=60)
    assert worker.event() == wb.ServerEvent(heartbeat_ack=wb.HeartbeatAck(task_id=task.id, ok=True))
    assert node.read(task.id)["leaseUntil"] == "2026-05-28T20:27:40.000Z"
    worker.heartbeat(task.id)
    assert ok(worker.event())
    assert node.read(task.id)["leaseUntil"] == "2026-05-28T20:31:40.000Z"


def test_a_nack_says_how_long_the_task_is_delayed(node: StreamNode) -> None:
    node.ready_tasks(2)
    worker = Worker(node)
    task = worker.task()
    worker.nack(task.id, delay_seconds=7, reason="busy")
    nacked = wb.NackAck(task_id=task.id, ok=True, applied_delay_seconds=7)
    assert worker.event() == wb.ServerEvent(nack_ack=nacked)
    assert node.read(task.id)["error"] == "busy"
    task = worker.task()
    worker.nack(task.id)
    assert worker.event().nack_ack.applied_delay_seconds == 5


def test_a_nack_that_ends_in_the_dead_letters_is_ok(node: StreamNode) -> None:
    node.create(maxAttempts=1)
    worker = Worker(node)
    worker.nack(worker.task().id)
    ack = worker.event().nack_ack
    assert (ack.ok, ack.dlq, ack.applied_delay_seconds) == (True, True, 0)


def test_an_abandon_gives_the_attempt_back(node: StreamNode) -> None:
    node.ready_tasks(1)
    worker = Worker(node)
    task = worker.task()
    worker.abandon(task.id)
    assert worker.event() == wb.ServerEvent(abandon_ack=wb.AbandonAck(task_id=task.id, ok=True))
    again = worker.task()
    assert (again.id, again.attempts, again.lease_id) == (task.id, 1, task.id + ":2")


@pytest.mark.parametrize("seconds", [-1, 86_401])
def test_a_heartbeat_out_of_range_is_refused(node: StreamNode, seconds: int) -> None:
    node.ready_tasks(1)
    worker = Worker(node)
    worker.heartbeat(worker.task().id, extend_seconds=seconds)
    assert refusal(worker.event()) == "validation-error"


@pytest.mark.parametrize("fields", [{"delay_seconds": -1}, {"delay_seconds": 31_536_001}, {"reason": "x" * 4_097}])
def test_a_nack_out_of_range_is_refused(node: StreamNode, fields: dict[str, object]) -> None:
    node.ready_tasks(1)
    worker = Worker(node)
    worker.nack(worker.task().id, **fields)
    assert refusal(worker.event()) == "validation-error"


def test_events_are_decided_in_the_order_in_which_they_arrive(node: StreamNode) -> None:
    node.ready_tasks(1)
    worker = Worker(node)
    task_id = worker.task().id
    worker.send(
        wb.WorkerEvent(heartbeat=wb.Heartbeat(task_id=task_id)),
        wb.WorkerEvent(result=wb.Result(task_id=task_id, status="COMPLETED")),
        wb.WorkerEvent(nack=wb.Nack(task_id=task_id)),
    )
    beat, finished, nacked = worker.events()
    assert ok(beat)
    assert ok(finished)
    assert refusal(nacked) == "not-claimed"


# Leases.


def test_an_old_lease_id_is_lost(node: StreamNode) -> None:
    node.ready_tasks(1)
    worker = Worker(node)
    old = worker.task()
    worker.abandon(old.id)
    worker.event()
    new = worker.task()
    worker.result(new.id, lease_id=old.lease_id)
    assert refusal(worker.event()) == "lease-lost"
    worker.result(new.id, lease_id=new.lease_id)
    assert ok(worker.event())


@pytest.mark.parametrize("leave", ["nack", "expire", "abandon"])
def test_an_event_without_a_lease_id_means_what_this_stream_received_last(node: StreamNode, leave: str) -> None:
    node.ready_tasks(1)
    slow, quick = Worker(node), Worker(node)
    task = slow.task(lease_seconds=10)
    if leave == "nack":
        slow.nack(task.id, delay_seconds=1)
    elif leave == "abandon":
        slow.abandon(task.id)
    node.pass_ms(20_000)
    slow.events()
    # The same subject and worker id: only the lease tells the two apart.
    assert quick.task().lease_id == task.id + ":2"
    slow.result(task.id)
    assert refusal(slow.event()) == "lease-lost"
    slow.result(task.id.upper())
    assert refusal(slow.event()) == "lease-lost"
    quick.result(task.id.upper())
    assert ok(quick.event())


def test_a_stream_that_received_no_lease_acts_by_subject_and_worker_id(node: StreamNode) -> None:
    node.ready_tasks(1)
    task = Worker(node).task()
    Worker(node, worker_id="w2").heartbeat(task.id)
    other = Worker(node, worker_id="w2")
    other.heartbeat(task.id)
    assert refusal(other.event()) == "permission-denied"
    stranger = Worker(node, "worker-2")
    stranger.heartbeat(task.id)
    assert refusal(stranger.event()) == "permission-denied"
    same = Worker(node)
    same.heartbeat(task.id)
    assert ok(same.event())


def test_a_task_that_comes_back_to_the_same_stream_has_its_new_lease(node: StreamNode) -> None:
    node.ready_tasks(1)
    worker = Worker(node)
    for number in (1, 2, 3):
        task = worker.task()
        assert task.lease_id == f"{task.id}:{number}"
        if number < 3:
            worker.nack(task.id, delay_seconds=1)
            assert ok(worker.event())
            node.pass_ms(1_000)
    worker.result(task.id)
    assert ok(worker.event())


# Ends.


def test_end_stream_abandons_what_was_delivered_here_and_ends_ok(node: StreamNode) -> None:
    done, held, kept = node.ready_tasks(3)
    worker, other = Worker(node), Worker(node)
    worker.ready(times=2)
    worker.events()
    assert other.task().id == kept
    worker.ready("never")
    worker.result(done)
    worker.session.half_closed()
    assert worker.status() is None
    assert worker.event().result_ack.ok
    assert worker.call.ended == (status.OK, "")
    assert node.statuses([done, held, kept]) == ["COMPLETED", "PENDING", "CLAIMED"]
    assert node.read(held)["attempts"] == 0
    assert len(node.scheduler.tasks.waits) == 0


def test_end_stream_then_reset_abandons_all_the_same(node: StreamNode) -> None:
    done, held = node.ready_tasks(2)
    worker = Worker(node)
    worker.ready(times=2)
    worker.events()
    worker.result(done)
    worker.session.half_closed()
    worker.leave()
    node.settle()
    assert node.statuses([done, held]) == ["COMPLETED", "PENDING"]


def test_a_task_that_is_claimed_while_the_stream_ends_goes_back(node: StreamNode) -> None:
    (task_id,) = node.ready_tasks(1)
    worker = Worker(node)
    worker.ready()
    node.scheduler.pump(node.now)
    worker.session.half_closed()
    assert worker.status() is None
    node.settle()
    assert worker.take() == []
    assert worker.call.ended == (status.OK, "")
    assert node.statuses([task_id]) == ["PENDING"]
    assert node.offers(Abandon)[0].undelivered


def test_a_reset_leaves_leases_to_expire(node: StreamNode) -> None:
    (task_id,) = node.ready_tasks(1)
    worker = Worker(node)
    worker.task(lease_seconds=10)
    worker.ready()
    worker.leave()
    node.settle()
    assert node.statuses([task_id]) == ["CLAIMED"]
    assert len(node.scheduler.tasks.waits) == 0
    node.pass_ms(10_000)
    assert node.statuses([task_id]) == ["PENDING"]


def test_a_task_whose_worker_left_before_its_claim_was_durable_is_abandoned_at_once(node: StreamNode) -> None:
    (task_id,) = node.ready_tasks(1)
    worker = Worker(node)
    worker.ready()
    node.scheduler.pump(node.now)
    worker.leave()
    node.settle()
    assert (node.read(task_id)["status"], node.read(task_id)["attempts"]) == ("PENDING", 0)


@pytest.mark.parametrize("count", [0, 2])
def test_a_task_that_was_never_written_is_abandoned_at_once(node: StreamNode, count: int) -> None:
    ids = node.ready_tasks(8)
    worker = Worker(node)
    worker.ready(times=4 // max(count, 1), count=count)
    node.settle()
    worker.call.reads = False
    worker.ready(times=4 // max(count, 1), count=count)
    node.settle()
    worker.abandon(ids[0])  # an acknowledgement that is never written either
    node.settle()
    worker.call.unsent -= 1  # the first of the messages was written
    worker.leave()
    node.settle()
    written = 4 + max(count, 1)
    assert node.statuses(ids) == ["PENDING"] + ["CLAIMED"] * (written - 1) + ["PENDING"] * (8 - written)


def test_drain_waits_for_the_leases_and_ends_unavailable(node: StreamNode) -> None:
    first, second, third = node.ready_tasks(3)
    worker = Worker(node)
    worker.ready(times=2)
    worker.events()
    worker.session.drain()
    worker.ready()
    worker.result(first)
    assert ok(worker.event())
    assert worker.status() is None
    worker.nack(second)
    assert ok(worker.event())
    assert worker.status() == status.UNAVAILABLE
    assert node.statuses([third]) == ["PENDING"]
    assert node.timers_set == 0


def test_drain_waits_for_a_bounded_time(node: StreamNode) -> None:
    node.ready_tasks(1)
    worker = Worker(node)
    worker.task()
    worker.session.drain()
    node.pass_ms(19_999)
    assert worker.status() is None
    node.pass_ms(1)
    assert worker.status() == status.UNAVAILABLE


def test_drain_of_a_stream_without_leases_ends_it_at_once(node: StreamNode) -> None:
    worker, silent = Worker(node), Worker(node, token=None)
    worker.ready("email")
    node.settle()
    worker.session.drain()
    silent.session.drain()
    for each in (worker, silent):
        assert each.status() == status.UNAVAILABLE
    assert len(node.scheduler.tasks.waits) == 0
    assert node.timers_set == 0


def test_end_stream_while_draining_is_never_ok(node: StreamNode) -> None:
    (task_id,) = node.ready_tasks(1)
    worker = Worker(node)
    worker.task()
    worker.session.drain()
    worker.session.half_closed()
    node.settle()
    assert worker.status() == status.UNAVAILABLE
    assert node.statuses([task_id]) == ["PENDING"]


def test_when_the_token_expires_leases_may_still_be_settled(node: StreamNode) -> None:
    node.ready_tasks(2)
    worker = Worker(node, node.expiring("short", 60))
    task = worker.task()
    node.pass_ms(60_000)
    worker.ready()
    worker.result(task.id)
    assert ok(worker.event())
    assert worker.call.ended == (status.UNAUTHENTICATED, "the token has expired")
    assert node.timers_set == 0


def test_a_refused_ready_ends_the_stream_after_what_was_owed(node: StreamNode) -> None:
    node.ready_tasks(1)
    worker = Worker(node)
    task = worker.task()
    finished = wb.WorkerEvent(result=wb.Result(task_id=task.id, status="COMPLETED"))
    worker.send(finished, wb.WorkerEvent(ready=wb.Ready(count=-1)), finished)
    assert ok(worker.event())
    assert worker.status() == status.INVALID_ARGUMENT


def test_tenants_do_not_see_each_other(node: StreamNode) -> None:
    (task_id,) = node.ready_tasks(1)
    other = Worker(node, "other-worker")
    other.ready()
    other.result(task_id)
    assert refusal(other.event()) == "not-found"
    assert node.statuses([task_id]) == ["PENDING"]


def test_a_scope_is_enough_for_its_own_events(node: StreamNode) -> None:
    node.tokens.callers["claims"] = caller("worker", subject="claims", scopes=["codeq:claim", "codeq:nack"])
    node.ready_tasks(1)
    worker = Worker(node, "claims")
    task = worker.task()
    worker.result(task.id)
    assert refusal(worker.event()) == "permission-denied"
    worker.nack(task.id)
    assert ok(worker.event())
