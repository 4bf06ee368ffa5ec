"""Trace context: passed through, and spans of OpenTelemetry around creates and handlers."""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags

from codeq import Fail, Producer, Task, Worker
from codeq import trace as codeq_trace
from tests.client.fake_server import TOKEN, WAIT_SECONDS, FakeServer


class FakeTracer:
    """Makes spans whose ids count up, and remembers them."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []

    @contextlib.contextmanager
    def start_as_current_span(self, name: str, context: Any = None, kind: Any = None, attributes: Any = None) -> Any:
        parent = trace.get_current_span(context).get_span_context()
        number = len(self.spans) + 1
        record = {"name": name, "kind": kind, "attributes": attributes, "parent": parent, "error": None}
        self.spans.append(record)
        own = SpanContext(parent.trace_id or number, number, is_remote=False, trace_flags=TraceFlags(1))
        try:
            with trace.use_span(NonRecordingSpan(own)):
                yield
        except Exception as error:
            record["error"] = error
            raise


@pytest.fixture
def tracer(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTracer]:
    one = FakeTracer()
    monkeypatch.setattr(codeq_trace, "_tracer", one)
    yield one


def test_a_create_and_its_handler_are_spans_of_one_trace(server: FakeServer, tracer: FakeTracer) -> None:
    worker = Worker(server.target, TOKEN, plaintext=True)
    seen: list[str] = []

    @worker.handler("mail")
    def mail(task: Task) -> None:
        seen.append(task.trace_parent)
        raise Fail("no")

    with Producer(server.target, TOKEN, plaintext=True) as producer:
        task_id = producer.create("mail")
    thread = threading.Thread(target=worker.run, kwargs={"signals": False})
    thread.start()
    server.wait_for(lambda: server.tasks[task_id].status == "FAILED")
    worker.stop()
    thread.join(WAIT_SECONDS)
    create, process = tracer.spans
    assert (create["name"], create["kind"]) == ("create mail", SpanKind.PRODUCER)
    assert (process["name"], process["kind"]) == ("process mail", SpanKind.CONSUMER)
    assert process["attributes"]["messaging.message.id"] == task_id
    assert process["parent"].trace_id == 1 and process["parent"].span_id == 1
    assert process["error"] is None, "Fail is an answer, not an error of the program"
    assert seen == ["00-00000000000000000000000000000001-0000000000000001-01"]


def test_trace_context_of_the_user_is_left_alone(server: FakeServer, tracer: FakeTracer) -> None:
    with Producer(server.target, TOKEN, plaintext=True) as producer:
        task_id = producer.create("mail", trace_parent="00-aa-bb-01")
    assert server.tasks[task_id].trace_parent == "00-aa-bb-01"
    assert tracer.spans == []


def test_without_a_trace_no_context_is_sent(server: FakeServer) -> None:
    with Producer(server.target, TOKEN, plaintext=True) as producer:
        task_id = producer.create("mail")
    assert server.tasks[task_id].trace_parent == ""


def test_the_current_trace_is_passed_on_with_the_plain_api(server: FakeServer) -> None:
    context = SpanContext(5, 6, is_remote=False, trace_flags=TraceFlags(1))
    with Producer(server.target, TOKEN, plaintext=True) as producer, trace.use_span(NonRecordingSpan(context)):
        task_id = producer.create("mail")
    assert server.tasks[task_id].trace_parent == f"00-{5:032x}-{6:016x}-01"


def test_it_works_without_opentelemetry() -> None:
    program = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "import codeq, codeq.trace as t\n"
        "task = codeq.NewTask(command='a')\n"
        "assert t.traced(task) is task\n"
        "with t.handling(None): print('fine')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "fine\n", done.stderr
