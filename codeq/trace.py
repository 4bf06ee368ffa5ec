"""Trace context: passes W3C `traceparent` through tasks, and makes spans where OpenTelemetry is installed.

Owns the two spans ("create <command>" in the producer, "process <command>" around a handler) and the optional import.
Without OpenTelemetry everything here does nothing, and the trace fields of a task are the user's own.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

from codeq._core.requests import NewTask
from codeq.tasks import Task

try:
    from opentelemetry import trace as _trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator as _Propagator
except ImportError:
    _tracer: Any = None
    _propagator: Any = None
else:
    _tracer = _trace.get_tracer("codeq")
    _propagator = _Propagator()


def traced(task: NewTask) -> NewTask:
    """The create with the trace context of a span of its own, unless it brings one or there is no OpenTelemetry."""
    if _tracer is None or task.trace_parent:
        return task
    attributes = {"messaging.system": "codeq", "messaging.destination.name": task.command}
    with _tracer.start_as_current_span(f"create {task.command}", kind=_trace.SpanKind.PRODUCER, attributes=attributes):
        carrier: dict[str, str] = {}
        _propagator.inject(carrier)
    if "traceparent" not in carrier:
        return task
    return dataclasses.replace(
        task, trace_parent=carrier["traceparent"], trace_state=carrier.get("tracestate", task.trace_state)
    )


@contextlib.contextmanager
def handling(task: Task) -> Iterator[None]:
    """A span around a handler, a child of the task's trace context; an exception that leaves it is recorded."""
    if _tracer is None:
        yield
        return
    carrier = {"traceparent": task.trace_parent, "tracestate": task.trace_state}
    parent = _propagator.extract({name: value for name, value in carrier.items() if value})
    attributes = {
        "messaging.system": "codeq",
        "messaging.destination.name": task.command,
        "messaging.message.id": task.id,
    }
    with _tracer.start_as_current_span(
        f"process {task.command}", context=parent, kind=_trace.SpanKind.CONSUMER, attributes=attributes
    ):
        yield
