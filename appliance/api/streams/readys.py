"""Readys that wait: how they become claims, and how outcomes become their answers.

Owns the count of waiting Readys and the bound on what is under way for one kind of them; for all kinds of a stream
together, the groups that are decided before the first answer is sent are the bound. Readys of one kind (same commands,
lease and count) share one claim for several answers, so a Ready that joins those already waiting costs an addition.
Must not know messages. Runs on the event loop's thread.

A kind's Readys are `waiting` until answered. Of these `exposed` have been put into claims; the claim's `answers` are
the exposed ones that no decision has been made for yet.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from appliance.api.claim import allowed_commands
from appliance.api.parse import CLAIM_COUNT_MAX, LEASE_SECONDS, LEASE_SECONDS_MAX, claim_commands
from appliance.api.streams.leases import Delivered
from appliance.api.streams.settings import (
    ANSWER_PAYLOAD_BYTES,
    EXPOSED_TASKS,
    READYS_MAX,
    RETRY_SECONDS,
)
from appliance.api.streams.stream import World
from appliance.api.streams.values import seconds_ms
from appliance.auth.caller import Caller
from appliance.errors import PERMISSION_DENIED, Problem
from appliance.mux.grpc_framing import INVALID_ARGUMENT, RESOURCE_EXHAUSTED, GrpcError
from appliance.mux.grpc_framing import PERMISSION_DENIED as PERMISSION_DENIED_STATUS
from appliance.tasks.model import FOREVER_MS, Claim, Claimed, Operation, Task

SCOPE: Final = "codeq:claim"
_KINDS_KEPT: Final = 16

_SEEN_MAX: Final = 64
_SEEN_BYTES_MAX: Final = 256

Key = tuple[tuple[str, ...], int, int]
"""Commands, lease seconds and count of a Ready, as the worker sent them."""


Answer = tuple[Sequence[bytes], Delivered]
"""A message for each Ready that is answered, and what they deliver, in order."""


class Kind:
    """Readys that ask for the same."""

    __slots__ = ("claim", "commands", "count", "exposed", "exposed_max", "lease_ms", "single", "waiting")

    def __init__(self, commands: tuple[str, ...] | None, lease_ms: int, count: int) -> None:
        self.commands = commands
        self.lease_ms = lease_ms
        self.single = count <= 1
        self.count = max(count, 1)
        self.exposed_max = max(1, EXPOSED_TASKS // self.count)
        self.waiting = 0
        self.exposed = 0
        self.claim: Claim | None = None


class Readys:
    """All Readys of one stream.

    `encode` makes an answer of tasks, with the decision; `deliver` is called with it once it is durable, `give_back`
    with what no Ready waits for any more, and `settled` when an outcome that came after `shut` has been dealt with.
    """

    __slots__ = (
        "_caller",
        "_deliver",
        "_encode",
        "_fresh",
        "_give_back",
        "_kinds",
        "_offer",
        "_paused",
        "_purge_at",
        "_seen",
        "_settled",
        "_shut",
        "_worker",
        "_world",
        "waiting",
    )

    def __init__(
        self,
        world: World,
        caller: Caller,
        worker: str,
        offer: Callable[[Operation], None],
        encode: Callable[[Kind, Sequence[Task]], Answer],
        deliver: Callable[[Kind, Sequence[bytes], Delivered], None],
        give_back: Callable[[Delivered], None],
        settled: Callable[[], None],
    ) -> None:
        self._world = world
        self._caller = caller
        self._worker = worker
        self._offer = offer
        self._encode = encode
        self._deliver = deliver
        self._give_back = give_back
        self._settled = settled
        self._kinds: dict[Key, Kind] = {}
        self._seen: dict[bytes, Kind] = {}
        self._fresh: dict[Kind, None] = {}
        self._purge_at = _KINDS_KEPT
        self._paused = False
        self._shut = False
        self.waiting = 0

    def repeats(self, message: bytes) -> bool:
        """Whether this event is a Ready that came before, byte for byte, as most are; then it joins that one."""
        kind = self._seen.get(message) if len(message) <= _SEEN_BYTES_MAX else None
        if kind is None:
            return False
        self._join(kind)
        return True

    def add(self, commands: Sequence[str], lease_seconds: int, count: int, message: bytes) -> None:
        """A Ready came, as this event; `expose` must follow. Raises GrpcError for one that can never be answered."""
        key = (tuple(commands), lease_seconds, count)
        kind = self._kinds.get(key) or self._new_kind(key)
        if len(message) <= _SEEN_BYTES_MAX and len(self._seen) < _SEEN_MAX:
            self._seen[message] = kind
        self._join(kind)

    def _join(self, kind: Kind) -> None:
        if self._shut:
            return
        if self.waiting >= READYS_MAX:
            raise GrpcError(RESOURCE_EXHAUSTED, f"more than {READYS_MAX} readys wait on this stream")
        self.waiting += 1
        kind.waiting += 1
        self._fresh[kind] = None

    def expose(self) -> None:
        """Put the Readys that came into claims."""
        if self._fresh:
            fresh, self._fresh = self._fresh, {}
            for kind in fresh:
                self._expose(kind)

    def pause(self) -> None:
        """Claim nothing for now: the send queue is full."""
        if not self._paused:
            self._paused = True
            self._withdraw_all()

    def resume(self) -> None:
        """There is room again."""
        self._paused = False
        for kind in self._kinds.values():
            self._expose(kind)

    def shut(self) -> None:
        """Drop all that wait. What is decided already comes and is given back."""
        self._shut = True
        self._withdraw_all()
        self.waiting = 0
        for kind in self._kinds.values():
            kind.waiting = 0

    @property
    def under_way(self) -> bool:
        """Whether a claim was decided and its outcome has not come yet."""
        return any(kind.exposed for kind in self._kinds.values())

    def _new_kind(self, key: Key) -> Kind:
        commands, lease_seconds, count = key
        if SCOPE not in self._caller.scopes:
            raise GrpcError(PERMISSION_DENIED_STATUS, f"the token lacks the scope {SCOPE}")
        if not 0 <= count <= CLAIM_COUNT_MAX:
            raise GrpcError(INVALID_ARGUMENT, f"count must be from 0 to {CLAIM_COUNT_MAX}")
        try:
            named = allowed_commands(self._caller, claim_commands(list(commands)))
            lease_ms = seconds_ms(lease_seconds, 1, LEASE_SECONDS_MAX, LEASE_SECONDS, "lease_seconds")
        except Problem as problem:
            denied = problem.code == PERMISSION_DENIED
            status = PERMISSION_DENIED_STATUS if denied else INVALID_ARGUMENT
            raise GrpcError(status, problem.message) from None
        if len(self._kinds) >= self._purge_at:
            self._kinds = {each: kind for each, kind in self._kinds.items() if kind.waiting or kind.exposed}
            self._seen.clear()
            self._purge_at = max(_KINDS_KEPT, 2 * len(self._kinds))
        kind = self._kinds[key] = Kind(named, lease_ms, count)
        return kind

    def _expose(self, kind: Kind) -> None:
        more = min(kind.waiting, kind.exposed_max) - kind.exposed
        if more <= 0 or self._paused:
            return
        kind.exposed += more
        claim = kind.claim
        if claim is not None and claim.answers:
            claim.answers += more
            return
        caller = self._caller
        kind.claim = Claim(
            caller.tenant,
            partial(self._claimed, kind),
            caller.subject,
            self._worker,
            kind.commands,
            kind.lease_ms,
            kind.count,
            FOREVER_MS,
            answers=more,
            enough_bytes=ANSWER_PAYLOAD_BYTES,
            prepare=partial(self._encode, kind),
        )
        self._offer(kind.claim)

    def _claimed(self, kind: Kind, outcome: Answer | Claimed | Problem) -> None:
        if isinstance(outcome, Problem):
            self._lost(kind)
        elif not isinstance(outcome, Claimed):  # which has no tasks: it was withdrawn before it was decided
            self._answer(kind, *outcome)
        if self._shut:
            self._settled()

    def _answer(self, kind: Kind, messages: Sequence[bytes], delivered: Delivered) -> None:
        used = len(messages)
        kind.exposed -= min(used, kind.exposed)
        answered = min(used, kind.waiting)
        kind.waiting -= answered
        self.waiting -= answered
        if answered < used:
            self._give_back(delivered[answered * kind.count :])
            messages, delivered = messages[:answered], delivered[: answered * kind.count]
        if delivered:
            self._deliver(kind, messages, delivered)
        if kind.claim is not None and not kind.claim.answers:
            kind.claim = None
        self._expose(kind)

    def _lost(self, kind: Kind) -> None:
        """What was under way for this kind is lost, all of it; its Readys wait on."""
        if kind.claim is not None:
            self._world.scheduler.withdraw(kind.claim)
            kind.claim = None
        kind.exposed = 0
        if kind.waiting:
            self._world.later(RETRY_SECONDS, partial(self._expose, kind))

    def _withdraw_all(self) -> None:
        for kind in self._kinds.values():
            claim, kind.claim = kind.claim, None
            if claim is not None and claim.answers:
                self._world.scheduler.withdraw(claim)
                kind.exposed -= claim.answers
