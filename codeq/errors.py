"""Every error that this client raises, with the server's stable codes.

Owns the codes' names and their classes, and how an acknowledgement's `code: message` becomes one of them. Must not know
how anything travels.

    CodeqError ─ code, message
    ├── ValidationError          the request is wrong; nothing was changed
    ├── Unauthenticated          the token is missing, wrong or expired
    ├── PermissionDenied         the token does not allow this
    ├── NotFound                 no such task, or another tenant's
    ├── IdempotencyConflict      the key was used with another request
    ├── LeaseError               the task is not this worker's (any more)
    │   ├── NotClaimed
    │   ├── LeaseLost
    │   └── TaskCancelled
    ├── PayloadTooLarge
    ├── RateLimited
    ├── Unavailable              the server can't do it now
    │   └── QueuePaused
    ├── InternalError            the server failed, or its answer makes no sense
    ├── DeadlineExceeded         no answer in time: it may have happened or not
    └── Closed                   this client was closed
"""

from typing import Final


class CodeqError(Exception):
    """An operation failed. `code` is stable and for programs, `message` is for people."""

    code = "unknown"

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class ValidationError(CodeqError):
    """The request is wrong; nothing was changed."""

    code = "validation-error"


class Unauthenticated(CodeqError):
    """The token is missing, wrong or expired."""

    code = "unauthenticated"


class PermissionDenied(CodeqError):
    """The token does not allow this."""

    code = "permission-denied"


class NotFound(CodeqError):
    """There is no such task for this tenant."""

    code = "not-found"


class IdempotencyConflict(CodeqError):
    """The idempotency key was used with another request."""

    code = "idempotency-conflict"


class LeaseError(CodeqError):
    """The task is not this worker's, or not any more."""


class NotClaimed(LeaseError):
    """Nobody holds the task."""

    code = "not-claimed"


class LeaseLost(LeaseError):
    """The lease ended, or somebody else holds the task now."""

    code = "lease-lost"


class TaskCancelled(LeaseError):
    """The task was cancelled."""

    code = "cancelled"


class PayloadTooLarge(CodeqError):
    """The payload or the result is larger than the server takes."""

    code = "payload-too-large"


class RateLimited(CodeqError):
    """Too many requests of this tenant or token."""

    code = "rate-limited"


class Unavailable(CodeqError):
    """The server can't be reached or can't do it now; the same request may succeed later."""

    code = "unavailable"


class QueuePaused(Unavailable):
    """The queue takes no tasks at the moment."""

    code = "queue-paused"


class InternalError(CodeqError):
    """The server failed, or its answer makes no sense."""

    code = "internal"


class DeadlineExceeded(CodeqError):
    """No answer in time. A create may have happened or may still happen: repeat it with `idempotency_key`.

    `__cause__` is the latest trouble with the connection, if there was one.
    """

    code = "deadline-exceeded"

    def __init__(self, message: str, *, idempotency_key: str = "") -> None:
        super().__init__(message)
        self.idempotency_key = idempotency_key


class Closed(CodeqError):
    """This client was closed before the operation was answered."""

    code = "closed"

    def __init__(self, message: str, *, idempotency_key: str = "") -> None:
        super().__init__(message)
        self.idempotency_key = idempotency_key


_BY_CODE: Final[dict[str, type[CodeqError]]] = {
    each.code: each
    for each in (
        ValidationError,
        Unauthenticated,
        PermissionDenied,
        NotFound,
        IdempotencyConflict,
        NotClaimed,
        LeaseLost,
        TaskCancelled,
        PayloadTooLarge,
        RateLimited,
        Unavailable,
        QueuePaused,
        InternalError,
    )
}


def from_code(code: str, message: str) -> CodeqError:
    """The error for a code of the server; a code that this version does not know is kept in a plain `CodeqError`."""
    kind = _BY_CODE.get(code, CodeqError)
    return kind(message, code=code)


def from_ack(error_message: str) -> CodeqError:
    """The error in an acknowledgement's `code: message`."""
    code, separator, message = error_message.partition(": ")
    if not separator:
        return InternalError(error_message or "refused without a reason")
    return from_code(code, message)


_BY_STATUS: Final[dict[str, type[CodeqError]]] = {
    "UNAUTHENTICATED": Unauthenticated,
    "PERMISSION_DENIED": PermissionDenied,
    "INVALID_ARGUMENT": ValidationError,
    "FAILED_PRECONDITION": ValidationError,
    "RESOURCE_EXHAUSTED": RateLimited,
    "INTERNAL": InternalError,
    "UNIMPLEMENTED": InternalError,
}


def from_status(status: str, details: str) -> CodeqError:
    """The error for the name of a gRPC status that ended a stream."""
    kind = _BY_STATUS.get(status, Unavailable)
    return kind(details or f"the stream ended with {status}")
