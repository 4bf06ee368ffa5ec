"""A request that is refused before it becomes a `Request`: by framing, by size, by time.

Owns the pairing of the word that is counted and the problem that the client is told. Pure values.
"""

from appliance import errors


class RefusedError(Exception):
    """Ends the request, and on HTTP/1.1 the connection after the answer: its framing can not be trusted any more."""

    def __init__(self, reason: str, problem: errors.Problem) -> None:
        super().__init__(problem.message)
        self.reason = reason
        self.problem = problem


def refused(reason: str, status: int, message: str) -> RefusedError:
    """A refusal with one of HTTP's own statuses; `reason` is a key of `limits.REASONS`."""
    code = errors.PAYLOAD_TOO_LARGE if status == 413 else errors.VALIDATION_ERROR
    return RefusedError(reason, errors.Problem(code, message, status=status))


def malformed(message: str) -> RefusedError:
    """A request that is not HTTP: 400."""
    return refused("malformed", 400, message)


def body_too_large(limit_bytes: int) -> RefusedError:
    """A body above the limit: 413."""
    return refused("body-too-large", 413, f"a request body may have at most {limit_bytes} bytes")


def memory_exhausted() -> RefusedError:
    """No room for the rest of a body: 503."""
    return RefusedError("memory", errors.unavailable("the node's buffers are full"))
