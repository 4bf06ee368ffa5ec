"""The Python client of codeq: create tasks, work on them, read their results, and administer queues.

`Producer` and `Worker` keep one gRPC stream each, `Admin` uses REST. Here they block or use threads; `codeq.aio` has
the same names for an event loop. What uses streams needs grpcio and protobuf (`pip install 'codeq[client]'`) and is
loaded when it is first named; `Admin` needs nothing but Python.
"""

import importlib
from typing import TYPE_CHECKING, Final

from codeq._admin import Admin
from codeq._records import (
    AuditEntry,
    Event,
    NodeInfo,
    Page,
    Queue,
    Result,
    Step,
    TaskHistory,
    TaskInfo,
    TenantLimits,
    WebhookDelivery,
)
from codeq.errors import (
    Closed,
    CodeqError,
    DeadlineExceeded,
    IdempotencyConflict,
    InternalError,
    LeaseError,
    LeaseLost,
    NotClaimed,
    NotFound,
    PayloadTooLarge,
    PermissionDenied,
    QueuePaused,
    RateLimited,
    TaskCancelled,
    Unauthenticated,
    Unavailable,
    ValidationError,
)
from codeq.tasks import Abandon, Fail, Nack, Task

if TYPE_CHECKING:
    from codeq import aio
    from codeq._core.requests import NewTask
    from codeq._producer import Producer
    from codeq._worker import Worker

__all__ = [
    "Abandon",
    "Admin",
    "AuditEntry",
    "Closed",
    "CodeqError",
    "DeadlineExceeded",
    "Event",
    "Fail",
    "IdempotencyConflict",
    "InternalError",
    "LeaseError",
    "LeaseLost",
    "Nack",
    "NewTask",
    "NodeInfo",
    "NotClaimed",
    "NotFound",
    "Page",
    "PayloadTooLarge",
    "PermissionDenied",
    "Producer",
    "Queue",
    "QueuePaused",
    "RateLimited",
    "Result",
    "Step",
    "Task",
    "TaskCancelled",
    "TaskHistory",
    "TaskInfo",
    "TenantLimits",
    "Unauthenticated",
    "Unavailable",
    "ValidationError",
    "WebhookDelivery",
    "Worker",
    "aio",
]

_STREAMS: Final = {"NewTask": "codeq._core.requests", "Producer": "codeq._producer", "Worker": "codeq._worker"}


def __getattr__(name: str) -> object:
    if name != "aio" and name not in _STREAMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        if name == "aio":
            return importlib.import_module("codeq.aio")
        found: object = getattr(importlib.import_module(_STREAMS[name]), name)
    except ImportError as missing:
        raise ImportError("this part of codeq needs grpcio and protobuf: pip install 'codeq[client]'") from missing
    globals()[name] = found
    return found
