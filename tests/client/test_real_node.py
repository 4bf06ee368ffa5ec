"""The client against a real node, over TLS and plaintext, and through its death."""

import asyncio
import datetime
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import codeq
from tests.campaigns.client_restarts import Campaign
from tests.e2e.node import ROOT, Node

WAIT_SECONDS = 20
RESTARTS = 3
SEED = 20_261


@pytest.fixture(scope="module", params=["tls", "plaintext"])
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node whose nacked tasks come back at once; its store is checked at the end."""
    environ = {"CODEQ_TASKS_BACKOFF_BASE_SECONDS": "0"}
    one = Node(tmp_path_factory.mktemp("node"), plaintext=request.param == "plaintext", environ=environ).up()
    try:
        yield one
        one.stop()
        assert one.check().returncode == 0
    finally:
        one.kill()


class Client:
    """One tenant's clients."""

    def __init__(self, node: Node, tenant: str) -> None:
        self.node = node
        self.tenant = tenant
        trust: dict[str, Any] = {"plaintext": True} if node.plaintext else {"ca": node.folder / "ca.pem"}
        self.trust = trust
        self.target = f"localhost:{node.port}"
        self.producer = codeq.Producer(self.target, node.producer(tenant), **trust)
        self.admin = codeq.Admin(node.url, node.producer(tenant), **trust)

    def worker(self, **options: Any) -> codeq.Worker:
        return codeq.Worker(self.target, self.node.worker(self.tenant), **self.trust, **options)


@pytest.fixture
def client(node: Node, request: pytest.FixtureRequest) -> Iterator[Client]:
    one = Client(node, request.node.originalname)
    yield one
    one.producer.close()


class Running:
    """A worker in a thread, stopped at the end."""

    def __init__(self, worker: codeq.Worker) -> None:
        self.worker = worker
        self.thread = threading.Thread(target=worker.run, kwargs={"signals": False})

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.worker.stop()
        self.thread.join(WAIT_SECONDS)
        assert not self.thread.is_alive()


def test_a_task_is_created_handled_and_its_result_read(client: Client) -> None:
    worker = client.worker(concurrency=32)
    worker.handler("double")(lambda task: task.payload * 2)
    with Running(worker):
        futures = [client.producer.submit("double", number) for number in range(300)]
        ids = [future.result(WAIT_SECONDS) for future in futures]
        results = [client.admin.result(each, wait_seconds=WAIT_SECONDS) for each in ids]
    assert [result.result for result in results] == [number * 2 for number in range(300)]
    task = client.admin.task(ids[7])
    assert (task.command, task.payload, task.status, task.attempts) == ("double", 7, "COMPLETED", 1)
    assert task.created_at <= datetime.datetime.now(datetime.UTC)


def test_a_handler_that_takes_longer_than_its_lease_keeps_it(client: Client) -> None:
    worker = client.worker(lease_seconds=1)
    worker.handler("slow")(lambda task: task.lost.wait(1.6))
    task_id = client.producer.create("slow")
    with Running(worker):
        result = client.admin.result(task_id, wait_seconds=WAIT_SECONDS)
    assert (result.status, result.result) == ("COMPLETED", False)
    assert client.admin.task(task_id).attempts == 1


def test_outcomes_arrive_as_they_were_chosen(client: Client) -> None:
    worker = client.worker(concurrency=4)

    @worker.handler("work")
    async def work(task: codeq.Task) -> object:
        if task.payload == "fail":
            raise codeq.Fail("no such address")
        if task.payload == "once more" and task.attempts == 1:
            raise codeq.Nack(reason="not yet")
        if task.payload == "never":
            raise RuntimeError("a surprise")
        return task.attempts

    ids = [client.producer.create("work", payload, max_attempts=2) for payload in ("fail", "once more", "never")]
    with Running(worker):
        failed, again, dead = (client.admin.result(each, wait_seconds=WAIT_SECONDS) for each in ids)
    assert (failed.status, failed.error) == ("FAILED", "no such address")
    assert (again.status, again.result) == ("COMPLETED", 2)
    assert (dead.status, dead.error) == ("DLQ", "RuntimeError: a surprise")


def test_errors_of_the_node_have_their_types(client: Client) -> None:
    first = client.producer.create("charge", 1, idempotency_key="order-1")
    assert client.producer.create("charge", 1, idempotency_key="order-1") == first
    with pytest.raises(codeq.IdempotencyConflict):
        client.producer.create("charge", 2, idempotency_key="order-1")
    with pytest.raises(codeq.ValidationError):
        client.producer.create("no command")
    with pytest.raises(codeq.ValidationError):
        client.producer.create("charge", b"{no json")
    with pytest.raises(codeq.PayloadTooLarge):
        client.producer.create("charge", "x" * 300_000)
    with pytest.raises(codeq.NotFound):
        client.admin.task("01890000-0000-7000-8000-000000000000")


def test_tokens_that_do_not_fit_are_refused_for_good(client: Client) -> None:
    with (
        codeq.Producer(client.target, client.node.worker(client.tenant), **client.trust) as producer,
        pytest.raises(codeq.Unauthenticated),
    ):
        producer.create("a")
    narrow = client.node.mint("worker", client.tenant, commands=("other",))
    worker = codeq.Worker(client.target, narrow, **client.trust)
    worker.handler("a")(lambda _task: None)
    with pytest.raises(codeq.PermissionDenied):
        worker.run(signals=False)
    with pytest.raises(codeq.Unauthenticated):
        codeq.Admin(client.node.url, "x", **client.trust).task("a")


def test_a_node_that_is_not_trusted_gets_no_token(client: Client) -> None:
    # The plaintext address takes TLS as well, with the same certificate.
    with (
        codeq.Producer(client.target, client.node.producer(client.tenant), timeout_seconds=0.5) as producer,
        pytest.raises(codeq.DeadlineExceeded) as caught,
    ):
        producer.create("a")
    assert isinstance(caught.value.__cause__, codeq.Unavailable)
    with pytest.raises(codeq.Unavailable):
        codeq.Admin(client.target, client.node.producer(client.tenant)).task("a")


def test_a_worker_that_stops_gives_its_task_back(client: Client) -> None:
    worker = client.worker(drain_seconds=0.1)
    begun = threading.Event()

    @worker.handler("work")
    async def work(_task: codeq.Task) -> None:
        begun.set()
        await asyncio.sleep(WAIT_SECONDS)

    task_id = client.producer.create("work")
    with Running(worker):
        assert begun.wait(WAIT_SECONDS)
    task = client.admin.task(task_id)
    assert (task.status, task.attempts) == ("PENDING", 0)


def test_a_program_is_a_worker(client: Client, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(client.node.worker(client.tenant))
    trust = [] if client.node.plaintext else ["--ca", str(client.node.folder / "ca.pem")]
    arguments = ["worker", "run", "--commands", "add", "--url", client.node.url, "--token-file", str(token), *trust]
    program = "import json,sys; print(sum(json.load(sys.stdin)['payload']))"
    command = [sys.executable, "-m", "appliance.cli.main", *arguments, "--", sys.executable, "-c", program]
    task_id = client.producer.create("add", [1, 2])
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        assert client.admin.result(task_id, wait_seconds=WAIT_SECONDS).result == 3
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 0
    finally:
        process.kill()
        process.wait()


def test_a_node_that_stops_takes_the_result_of_the_handler_that_runs(tmp_path: Path) -> None:
    node = Node(tmp_path / "node").up()
    try:
        client = Client(node, "stopping")
        worker = client.worker()
        begun, go_on = threading.Event(), threading.Event()

        @worker.handler("work")
        def work(_task: codeq.Task) -> str:
            begun.set()
            go_on.wait(WAIT_SECONDS)
            return "done"

        first = client.producer.create("work")
        with Running(worker):
            assert begun.wait(WAIT_SECONDS)
            node.signal(signal.SIGTERM)
            node.wait_for_log("drain")
            go_on.set()
            assert node.wait() == 0
            node.up()
            result = client.admin.result(first)
            assert (result.status, result.result) == ("COMPLETED", "done")
            second = client.producer.create("work")
            assert client.admin.result(second, wait_seconds=WAIT_SECONDS).status == "COMPLETED"
            assert client.admin.task(first).attempts == 1
        client.producer.close()
        node.stop()
    finally:
        node.kill()


def test_nothing_is_lost_or_twice_through_restarts_of_the_node(tmp_path: Path) -> None:
    outcome = asyncio.run(Campaign(tmp_path / "node", SEED, plaintext=False).run(RESTARTS))
    assert not outcome.violations, "\n".join(outcome.violations[:10])
    assert outcome.created > 100
