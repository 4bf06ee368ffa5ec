"""Every error that a client of the appliance can meet, in one place.

Owns the stable codes of the contract and the REST status that each of them fixes. A `Problem` is both an exception
(parsing and validation raise it) and a value (the state machine answers with it). It knows no protocol: each front
translates at one boundary.

    Problem ─ code, message, retry_after_seconds
"""

from typing import Final

VALIDATION_ERROR: Final = "validation-error"
UNAUTHENTICATED: Final = "unauthenticated"
PERMISSION_DENIED: Final = "permission-denied"
NOT_FOUND: Final = "not-found"
METHOD_NOT_ALLOWED: Final = "method-not-allowed"
IDEMPOTENCY_CONFLICT: Final = "idempotency-conflict"
NOT_CLAIMED: Final = "not-claimed"
LEASE_LOST: Final = "lease-lost"
CANCELLED: Final = "cancelled"
PAYLOAD_TOO_LARGE: Final = "payload-too-large"
UNSUPPORTED_MEDIA_TYPE: Final = "unsupported-media-type"
RATE_LIMITED: Final = "rate-limited"
INTERNAL: Final = "internal"
UNAVAILABLE: Final = "unavailable"
QUEUE_PAUSED: Final = "queue-paused"

STATUS: Final[dict[str, int]] = {
    VALIDATION_ERROR: 400,
    UNAUTHENTICATED: 401,
    PERMISSION_DENIED: 403,
    NOT_FOUND: 404,
    METHOD_NOT_ALLOWED: 405,
    IDEMPOTENCY_CONFLICT: 409,
    NOT_CLAIMED: 409,
    LEASE_LOST: 409,
    CANCELLED: 409,
    PAYLOAD_TOO_LARGE: 413,
    UNSUPPORTED_MEDIA_TYPE: 415,
    RATE_LIMITED: 429,
    INTERNAL: 500,
    UNAVAILABLE: 503,
    QUEUE_PAUSED: 503,
}
"""The REST status of each code. Framing errors that have no code of their own (408, 431, 501 …) use
`validation-error` with the status that HTTP gives them."""


class Problem(Exception):
    """A refusal with a stable `code`, a `message` for people, and where it helps the seconds to wait before a retry.

    `status` overrides the code's REST status for the few HTTP framing errors that share `validation-error`.
    """

    def __init__(self, code: str, message: str, *, retry_after_seconds: int = 0, status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_seconds = retry_after_seconds
        self.status = status or STATUS[code]

    def kept(self) -> "Problem":
        """This refusal as a value. One that was raised holds the frames that it came through, a whole body among their
        variables; where it goes into a list that such a frame knows, only the garbage collector ends that."""
        self.__traceback__ = self.__context__ = None
        return self

    def __repr__(self) -> str:
        return f"Problem({self.code!r}, {self.message!r})"


def invalid(message: str) -> Problem:
    """A `validation-error`: the request is wrong and nothing was changed."""
    return Problem(VALIDATION_ERROR, message)


def unavailable(message: str, retry_after_seconds: int = 1) -> Problem:
    """A 503: the node cannot do this now; the same request may succeed later."""
    return Problem(UNAVAILABLE, message, retry_after_seconds=retry_after_seconds)
