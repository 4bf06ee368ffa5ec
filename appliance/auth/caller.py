"""Who is calling, as the rest of the appliance sees it.

Owns the one value that a valid token becomes. Must not know how a token is written or verified, nor what the caller
asks for. Immutable, so it may be cached and shared by every request that carries the same token.
"""

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["producer", "worker"]

PRODUCER: Final = "producer"
WORKER: Final = "worker"

SCOPE_ADMIN: Final = "codeq:admin"
SCOPE_OPERATOR: Final = "codeq:operator"
WORKER_SCOPES: Final = (
    "codeq:claim",
    "codeq:result",
    "codeq:heartbeat",
    "codeq:nack",
    "codeq:abandon",
    "codeq:subscribe",
)
"""Every scope that an operation of a worker asks for."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A verified caller.

    `commands` None means every command; a worker token without `eventTypes` has the empty set and may claim nothing.
    `admin` opens the administration of the caller's own tenant, `operator` (which implies it) that of all tenants; both
    come from producer keys only. `expires` is in epoch seconds, the configured clock skew included: from that moment on
    the token is refused.
    """

    tenant: str
    subject: str
    kind: Kind
    commands: frozenset[str] | None
    scopes: frozenset[str]
    admin: bool
    operator: bool
    expires: float

    def has_scope(self, scope: str) -> bool:
        """Whether the token grants `scope`."""
        return scope in self.scopes
