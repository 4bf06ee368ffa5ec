"""The Python client of codeq: create tasks, work on them, and read their results.

`Producer` and `Worker` keep one gRPC stream each, `Admin` uses REST. Here they block or use threads; `codeq.aio` has
the same names for an event loop. Needs grpcio and protobuf (`pip install 'codeq[client]'`).
"""

try:
    import google.protobuf as _protobuf  # noqa: F401
    import grpc as _grpc  # noqa: F401
except ImportError as _missing:
    raise ImportError("the codeq client needs grpcio and protobuf: pip install 'codeq[client]'") from _missing

from codeq import aio
from codeq._admin import Admin, Result, TaskInfo
from codeq._core.requests import NewTask
from codeq._producer import Producer
from codeq._worker import Worker
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

__all__ = [
    "Abandon",
    "Admin",
    "Closed",
    "CodeqError",
    "DeadlineExceeded",
    "Fail",
    "IdempotencyConflict",
    "InternalError",
    "LeaseError",
    "LeaseLost",
    "Nack",
    "NewTask",
    "NotClaimed",
    "NotFound",
    "PayloadTooLarge",
    "PermissionDenied",
    "Producer",
    "QueuePaused",
    "RateLimited",
    "Result",
    "Task",
    "TaskCancelled",
    "TaskInfo",
    "Unauthenticated",
    "Unavailable",
    "ValidationError",
    "Worker",
    "aio",
]
