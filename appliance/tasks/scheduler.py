"""The scheduler: what is decided when, in which group it goes, and who is answered once that group is durable.

Owns the inboxes, the pump, the waiting claims' wake-ups, the hand-over of groups to the seam and the one failure path.
Sans-IO: `wake` asks for a call of `pump` soon, the seam makes groups durable, time comes in with each call. It must not
know what a task is beyond handing operations to the state machine, nor what an answer looks like.

The pump runs once per turn of the loop and when the seam is free. It takes a quantum from each source in turn (ends of
leases, ends of delays, every tenant's inbox, the sweep) until the group is full. Webhooks that are due and durable go
to the courier, if there is one and it has room. Whatever does not fit waits where it
is bounded: in the inboxes, and then at the clients.

While a noisy and a quiet tenant share the node (see `shares`), everything happens in slices, so that the loop soon
reads again what the quiet one has sent: a turn of the loop decides a little, tells a little of what is durable, and
has a few of those read again who wait for room. What a quiet tenant wants and is told comes first in each.

Invariant: an outcome leaves only when every write it was derived from is durable. An outcome that wrote nothing waits
for the newest group with writes, since the decision may have read any of them.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from random import Random
from typing import Any, Final, Protocol

from appliance.engine.group import Group, TableWrites
from appliance.engine.overlay import Overlay, Reader
from appliance.engine.rows import DamagedRow
from appliance.engine.tables import BODY, DUE, LEASE, POST, QUEUE_BYTES, STATE, prefix_end
from appliance.errors import INTERNAL, RATE_LIMITED, Problem, unavailable
from appliance.tasks import operators, timers
from appliance.tasks.deadlines import Deadlines
from appliance.tasks.ids import id_time_ms
from appliance.tasks.inbox import Inbox, Inboxes, Resume
from appliance.tasks.judgement import SameRequest
from appliance.tasks.lists import Lists
from appliance.tasks.machine import Tasks
from appliance.tasks.model import (
    FOREVER_MS,
    Abandon,
    Claim,
    Claimed,
    Cleanup,
    Create,
    CreateBatch,
    Finish,
    FinishBatch,
    Heartbeat,
    Nack,
    Operation,
    Poll,
    Prepare,
    PurgeDead,
    RequeueDead,
    Settle,
    Step,
    Subscribe,
    Task,
)
from appliance.tasks.moves import Timings
from appliance.tasks.outgoing import Outgoing
from appliance.tasks.queues import Queue
from appliance.tasks.reads import Reads
from appliance.tasks.settings import TaskSettings
from appliance.tasks.shares import (
    FILLING_MS,
    GROUPS_PASSED,
    INBOX_OPERATIONS,
    KEPT_DIVISOR,
    RESUMED,
    RESUMED_LOOKS,
    SLICE_ANSWERS,
    SLICE_TRANSITIONS,
    SLICE_TURNS,
    WOKEN_LOOKS,
    Shares,
)
from appliance.tasks.table import READY as READY_STATE
from appliance.tasks.watches import Watch, Watches

INBOX_QUANTUM: Final = 64
"""Transitions that one tenant decides before the next has its turn."""

TIMER_QUANTUM: Final = 64
"""Ends of leases or delays of one tenant before the next has its turn."""

SWEEP_QUANTUM: Final = 250
"""Tasks swept per group: about a millisecond of decisions and deletes, so a sweep never dominates a group."""

STEP_QUANTUM: Final = 20
"""Tasks that operators' steps change per group: a million take a while and hardly slow down what goes on."""

STEPS_MAX: Final = 100
"""Steps that wait at once; each holds a request."""

BROKEN_OFF: Final = unavailable("the change was broken off; a part of it has happened, and it can be asked for again")
"""What the operator hears whose step was under way when a group failed."""

SWEEP_SHARE_DIVISOR: Final = 4
TURN_SHARE_DIVISOR: Final = 8
"""What one turn may take of a group at most, however small the groups are made: a quarter for the sweep, an eighth each
for ends of leases, ends of delays and an inbox. So the rest is left for claims that wait."""

REFILL_KEYS: Final = 512
"""Ready keys read at once into a window: about a millisecond when warm, six pages when cold."""

REFILL_QUEUES: Final = 4
"""Windows refilled per group. What a claim needs beyond that it reads itself, a few keys at a time."""

NEVER: Final = (1 << 64) - 1

PARKED_MS_MAX: Final = 4.0
"""Past this the groups are made smaller, so that a slow disk does not become a slow loop."""

GROUP_TRANSITIONS_MIN: Final = 64

REBASE_ROWS: Final = 250

TOUCH_AGE_MS: Final = 600_000
"""Rows younger than this are taken to be in memory still: touching them would cost more than it saves."""


class Seam(Protocol):
    """What makes groups durable: the local committer, or consensus. It calls back `durable` or `failed`, in order."""

    def ready(self) -> bool:
        """Whether another group can be handed over now."""
        ...

    def submit(self, number: int, writes: list[TableWrites]) -> None:
        """Take over a closed group."""
        ...


Touch = Callable[[Sequence[int], Sequence[bytes], Callable[[], None]], bool]
"""Asks for the rows with these keys in each of some tables to be brought into memory, and for a call when they are;
False where it will not. Correctness never depends on it."""

_OF_A_TASK: Final = (STATE, BODY)


class Scheduler:
    """One shard's decisions, from offered operations to answers."""

    def __init__(
        self,
        store: Reader,
        seam: Seam,
        settings: TaskSettings,
        rng: Random,
        *,
        wake: Callable[[], None],
        now: int,
        same_json: Callable[[bytes, bytes], bool],
        same_request: SameRequest,
        on_error: Callable[[BaseException], None],
        touch: Touch | None = None,
        shard: int = 0,
        timings: Timings | None = None,
    ) -> None:
        """`now` is the clock at start (ms); `same_json` compares two JSON texts as values,
        `same_request` two creates; `on_error` hears of an
        answer that could not be given, which is our own mistake, and of damaged rows."""
        self.settings = settings
        self.inboxes = Inboxes(settings.inbox_operations_max, settings.inbox_bytes_max)
        self.watches = Watches()
        self.epoch = 0
        self.group_limit = settings.group_transitions_max
        self.accepts_creates = True
        self._shares = Shares()
        self._quiet: dict[str, None] = {}
        self._untold: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._unread: deque[tuple[str, Resume]] = deque()
        self._cut = False
        self._fills_until = 0
        self._passed = 0
        self._passed_in = 0
        self.hurried = False
        """Whether an answer is given right now that should leave at once."""
        self._keep_room()
        self._store = store
        self._seam = seam
        self._rng = rng
        self._wake = wake
        self._same_json = same_json
        self._same_request = same_request
        self._on_error = on_error
        self._touch = touch
        self._shard = shard
        self._timings = timings
        self._edges_before: list[int] = []
        self._sweep_ready: list[bytes] = []
        self._sweep_touching = False
        self._sweep_quota = self._share(SWEEP_QUANTUM, SWEEP_SHARE_DIVISOR)
        self._steps: deque[Step] = deque()
        self._step_quota = self._share(STEP_QUANTUM, TURN_SHARE_DIVISOR)
        self._rebase: list[tuple[int, bytes, bytes]] = []
        self._too_large = False
        self._unserved = False
        self._served_in = 0
        self._first_number = 1
        self._now = now
        self.reads = Reads(store, lambda: self.tasks.registry, on_error)
        self.lists = Lists(store, lambda: self.tasks.registry, on_error)
        self.outgoing = Outgoing(store, lambda: self.tasks, self.reads, wake=wake, on_error=on_error)
        self._begin_epoch(now)

    # What fronts call.

    def offer(self, operation: Operation) -> bool:
        """Ask for an operation; its sink is called once. False: stop reading for this tenant (see `when_room`)."""
        self._wake()
        has_room = self.inboxes.offer(operation)
        if self._shares.uneven:
            if self._shares.is_quiet(operation.tenant):
                self._quiet[operation.tenant] = None
            else:
                inbox = self.inboxes.of(operation.tenant)
                return has_room and inbox is not None and len(inbox.operations) < INBOX_OPERATIONS
        return has_room

    @property
    def sliced(self) -> bool:
        """Whether a noisy and a quiet tenant share the node now: turns of the loop are to be short."""
        return self._shares.uneven

    def withdraw(self, claim: Claim) -> None:
        """The caller of a waiting claim wants no more answers. What is decided already still comes, then at most an
        empty outcome."""
        claim.gone = True
        self.tasks.waits.leave(claim)

    def leave(self, poll: Poll) -> None:
        """The caller of a poll has gone."""
        self.tasks.subscriptions.leave(poll)

    def when_room(self, tenant: str, resume: Resume) -> None:
        """Call `resume` once when this tenant may be read again."""
        self.inboxes.when_room(tenant, resume)

    def watch(self, task_id: bytes, watch: Watch, deadline_ms: int) -> Callable[[], None]:
        """Tell `watch` once the task's end is durable, or at the deadline. The returned function ends it untold."""
        self._wake()  # the deadline may be the next thing to happen
        return self.watches.add(task_id, watch, deadline_ms)

    def set_accepts_creates(self, accepts: bool) -> None:
        """Whether there is disk space for new tasks; claims and results go on either way."""
        self.accepts_creates = self.tasks.accepts_creates = accepts

    def edge_counts(self) -> list[int]:
        """How often each edge of the state table was taken since the start, by its number."""
        if not self._edges_before:
            return list(self.tasks.edges)
        return [before + now for before, now in zip(self._edges_before, self.tasks.edges, strict=True)]

    # What the driver calls.

    def next_time(self) -> int:
        """The next moment (ms) at which `pump` has something to do without being woken."""
        tasks = self.tasks
        times = [
            tasks.waits.next_deadline(),
            self.watches.next_deadline(),
            tasks.subscriptions.next_deadline(),
            self.outgoing.next_time(),
        ]
        # What is left out here goes on when the group is durable or the rows are in memory: both wake the pump.
        if not self._full(self.overlay.open):
            if self._rebase or (self._steps and self._step_quota > 0):
                return 0
            times += (
                tasks.leases.next_time(),
                tasks.delays.next_time(),
                tasks.outbox.lapsed.next_time(),
                tasks.pauses.next_time(),
                tasks.subscriptions.next_expiry(),
            )
            if self._may_sweep():
                times.append(tasks.retention.next_time())
        first = NEVER
        for time in times:
            if time is not None and time < first:
                first = time
        return first

    def pump(self, now: int) -> None:
        """Decide what there is to decide until the group is full or nothing is left, then hand the group over."""
        self._now = now
        self.watches.run_out(now)
        self.outgoing.run(now)
        if self._untold:
            self._tell(SLICE_ANSWERS)
        while True:
            self._end_waits(now)
            self._decide(now)
            handed_over = self._hand_over(now)
            if not handed_over or not self._has_work(now):
                break
            if self._shares.uneven:
                self._cut = True
                break
        if self._unread:
            self._read_on()
        if self._cut or self._untold or self._fills_until:
            self._wake()
        self._store.release()

    @property
    def quiet_waits(self) -> bool:
        """Whether a quiet tenant has something undecided."""
        return bool(self._quiet)

    def hurry(self, now: int) -> None:
        """Decide what quiet tenants have asked for, and hand it over if the seam is free, without waiting for the pump,
        which still has to come."""
        group = self.overlay.open
        if self._too_large and group.transitions == 0 and not self._lets_pass(group):
            return  # this group begins with what was too large for those before
        self._now = now
        self._quiet_turns(now, group)
        self._match(now, group, group.transitions + SLICE_TRANSITIONS)
        self._announce(now)
        self._hand_over(now)
        self._store.release()

    def durable(self, number: int, now: int, parked_ms: float = 0.0) -> None:
        """Group `number` is durable: the next one is handed over, then everybody it concerns is answered."""
        if number < self._first_number:
            return
        self._now = now
        self._adapt(parked_ms)
        group = self.overlay.durable(number)
        if group.first_answers:
            self.hurried = True
            for sink, outcome in group.first_answers:
                self._answer(sink, outcome)
            self.hurried = False
        self._hand_over(now)
        if self._untold:
            # Those of the group before: no more than one group's wait.
            self._tell(len(self._untold))
        if self._shares.uneven:
            self._untold.extend(group.answers)
        else:
            for sink, outcome in group.answers:
                self._answer(sink, outcome)
        self.watches.ended(group.finished)
        self._wake()

    def failed(self, number: int, now: int, problem: Problem | None = None) -> None:
        """Group `number` and all after it are lost: memory is thrown away and built anew from the store.

        Whoever was decided hears that the outcome is unknown; whoever was not, and claims that wait, are offered again.
        """
        if number < self._first_number:
            return
        answer = problem or unavailable("the write could not be made durable; it may or may not have happened")
        lost = self.overlay.all_groups()
        waiting = [*self.tasks.waits.live_claims(), *self.tasks.subscriptions.live_polls()]
        steps, self._steps = self._steps, deque()
        self._edges_before = self.edge_counts()
        self._first_number = self.overlay.open.number + 1
        self.epoch += 1
        self._begin_epoch(now)
        self.inboxes.put_back(waiting)
        self._tell(len(self._untold))
        for group in lost:
            for sink, _ in (*group.first_answers, *group.answers):
                self._answer(sink, answer)
        for step in steps:
            self._answer(step.sink, BROKEN_OFF if step.done else answer)
        self._wake()

    def _begin_epoch(self, now: int) -> None:
        self._store.release()
        self.overlay = Overlay(self._store, self._first_number)
        self.tasks = Tasks(
            self.overlay,
            self.settings,
            self._rng,
            same_request=self._same_request,
            on_damage=self._on_error,
            shard=self._shard,
            timings=self._timings,
            in_flight=self.outgoing.in_flight,
        )
        self.outgoing.begin(self.tasks)
        # Nobody knows which calls were made: each queue with ready tasks counts as one that turned non-empty.
        for prefix in self.tasks.subscriptions.with_callbacks():
            queues = self.tasks.registry.by_number[prefix].queues.values()
            self.tasks.risen.update(dict.fromkeys(queue for queue in queues if queue.counts[READY_STATE]))
        self.tasks.accepts_creates = self.accepts_creates
        self._sweep_ready = []
        self._sweep_touching = False
        self._sweep_quota = self._share(SWEEP_QUANTUM, SWEEP_SHARE_DIVISOR)
        self._step_quota = self._share(STEP_QUANTUM, TURN_SHARE_DIVISOR)
        self._rebase = _rebase_ranges(self.tasks, now)
        self._store.release()

    # Deciding.

    def _has_work(self, now: int) -> bool:
        return bool(
            self.inboxes.tenants_waiting
            or self.tasks.woken
            or self.tasks.risen
            or self._sweep_ready
            or self._rebase
            or (self._steps and self._step_quota > 0)
            or self.next_time() <= now
        )

    def _decide(self, now: int) -> None:
        group = self.overlay.open
        if self._unserved:
            # Operations as large as a group would fill one after another.
            self._match(now, group)
        if self._too_large and group.transitions == 0:
            # Timers and the sweep have something for every group under load: it would never fit after them.
            self._one_turn(now, group)
        if self._quiet:
            self._quiet_turns(now, group)
        if self._rebase and not self._full(group):
            self._rebase_some(now)
        if not self._full(group):
            # Before the inboxes: a load that fills every group would leave no room for it after them.
            self._sweep(now)
            self._take_steps(now)
        end, turns = (group.transitions + SLICE_TRANSITIONS, SLICE_TURNS) if self._shares.uneven else (NEVER, NEVER)
        busy = True
        while busy and turns and group.transitions < end and not self._full(group):
            busy = self._timers(now)
            busy |= self._one_turn(now, group)
            self._match(now, group, end)
            turns -= 1
        self._cut = not self._full(group) and (group.transitions >= end or (busy and not turns))
        self._take_steps(now)
        self._announce(now)
        self._unserved = bool(self.tasks.woken) and self._served_in != group.number

    def _share(self, quantum: int, divisor: int) -> int:
        return min(quantum, max(1, self.group_limit // divisor))

    def _full(self, group: Group) -> bool:
        return group.transitions >= self.group_limit or group.bytes_count >= self._bytes_limit

    def _timers(self, now: int) -> bool:
        tasks = self.tasks
        quantum = self._share(TIMER_QUANTUM, TURN_SHARE_DIVISOR)
        ended = self._run_out(tasks.leases, partial(timers.lease_ended, tasks), now, quantum)
        due = self._run_out(tasks.delays, partial(timers.became_due, tasks), now, quantum)
        lapsed = self._run_out(tasks.outbox.lapsed, tasks.outbox.forget, now, quantum)
        resumed = operators.end_pauses(tasks, now)
        expired = tasks.subscriptions.expire(now, quantum)
        return bool(ended or due or lapsed or resumed or expired)

    def _run_out(self, deadlines: Deadlines, decide: Callable[[int, bytes], None], now: int, quantum: int) -> bool:
        """One tenant's quantum of these. False where nothing has run out."""
        if not deadlines.is_due(now):
            return False
        keys = self._take(deadlines, now, quantum)
        if not keys:
            return False
        group = self.overlay.open
        transitions, bytes_count = group.transitions, group.bytes_count
        self._each(decide, now, keys)
        tenant = self.tasks.registry.by_number[keys[0][:4]].name
        self._shares.took(tenant, group.transitions - transitions, group.bytes_count - bytes_count)
        return True

    def _take(self, deadlines: Deadlines, now: int, quantum: int) -> list[bytes]:
        try:
            return deadlines.take(self.overlay, now, quantum)
        except DamagedRow as damage:
            # This tenant's timers rest until the store is repaired; nobody else's do.
            self._on_error(damage)
            return []

    def _each(self, decide: Callable[[int, bytes], None], now: int, keys: list[bytes]) -> None:
        for key in keys:
            try:
                decide(now, key)
            except DamagedRow as damage:
                self._on_error(damage)

    def _one_turn(self, now: int, group: Group) -> bool:
        """One tenant's quantum. False when every inbox is empty, or the next operation does not fit this group."""
        inbox = self.inboxes.turn()
        if inbox is None:
            return False
        fits = self._serve_inbox(now, group, inbox, self.group_limit, self._bytes_limit)
        # Otherwise the turn stays: the next group begins with the operation that was too large for this one. A tenant
        # that got something in must not keep it, or large operations in a row would shut out all others.
        self._too_large = not fits
        if fits:
            self._passed = self._passed_in = 0
        return fits

    def _quiet_turns(self, now: int, group: Group) -> None:
        """What quiet tenants have asked for goes into the open group before all else, into what is kept for them.

        Whoever finds no room there has its turn like all others. Nobody else's turn changes: a tenant with large
        operations still begins the next group.
        """
        quiet, self._quiet = self._quiet, {}
        for tenant in quiet:
            inbox = self.inboxes.of(tenant)
            if inbox is None:
                continue
            transitions, bytes_count = group.transitions, group.bytes_count
            transitions_max, bytes_max = transitions + self._kept_transitions, bytes_count + self._kept_bytes
            self._serve_inbox(now, group, inbox, transitions_max, bytes_max)
            self._kept_transitions -= group.transitions - transitions
            self._kept_bytes -= group.bytes_count - bytes_count

    def _keep_room(self) -> None:
        self._bytes_limit = self._shares.bytes_limit(self.settings.group_bytes_max)
        self._kept_transitions = self.group_limit // KEPT_DIVISOR
        self._kept_bytes = self.settings.group_bytes_max // KEPT_DIVISOR

    def _serve_inbox(self, now: int, group: Group, inbox: Inbox, transitions_max: int, bytes_max: int) -> bool:
        """A quantum of this inbox. False: nothing of it fits this group, and its turn is not over."""
        operations, bytes_before = inbox.operations, group.bytes_count
        most = quantum = self._share(INBOX_QUANTUM, TURN_SHARE_DIVISOR)
        fits, applied = True, False
        while operations and quantum > 0:
            operation, cost, size_bytes = operations[0]
            # An operation goes into a group whole; one that is larger than any group gets one for itself.
            fits = (
                not self._put_off(group, size_bytes)
                if group.transitions == 0
                else group.transitions + cost <= transitions_max and group.bytes_count + size_bytes <= bytes_max
            )
            if not fits:
                break
            operations.popleft()
            inbox.bytes_count -= size_bytes
            quantum -= cost
            self._apply(now, operation)
            applied = True
        if not fits and not applied:
            return False
        self._shares.took(inbox.tenant, most - quantum, group.bytes_count - bytes_before)
        for resume in self.inboxes.done(inbox):
            if self._shares.uneven:
                self._unread.append((inbox.tenant, resume))
            else:
                resume()
        return True

    def _put_off(self, group: Group, size_bytes: int) -> bool:
        """Whether an operation is to wait until the seam is free, so that small ones of quiet tenants, which come
        meanwhile, need not share its long commit."""
        return self._shares.comes_alone(size_bytes) and not self._seam.ready() and self._lets_pass(group)

    def _lets_pass(self, group: Group) -> bool:
        """Whether what needs a group of its own, or nearly, lets others have this one; so it does a few times."""
        if group.number != self._passed_in:
            if self._passed == GROUPS_PASSED:
                return False
            self._passed += 1
            self._passed_in = group.number
        return True

    def _read_on(self) -> None:
        """Have a few of those read again who wait for room, as long as there is some; all once no quiet one is there.

        Who has gone meanwhile is none of the few, and whom no room is left for keeps nobody else waiting. It needs no
        wake-up here: what keeps the inbox from being served ends with one.
        """
        uneven = self._shares.uneven
        left = RESUMED if uneven else len(self._unread)
        called = False
        for _ in range(min(len(self._unread), RESUMED_LOOKS) if uneven else left):
            tenant, resume = self._unread.popleft()
            inbox = self.inboxes.of(tenant)
            if uneven and inbox is not None and len(inbox.operations) * 2 > INBOX_OPERATIONS:
                self._unread.append((tenant, resume))
                continue
            called = True
            left -= resume() is not False
            if not left:
                break
        if self._unread and called:
            self._wake()

    def _tell(self, most: int) -> None:
        """Give answers that are durable already, the oldest first."""
        for _ in range(min(most, len(self._untold))):
            self._answer(*self._untold.popleft())

    def _apply(self, now: int, operation: Operation) -> None:
        before = self.overlay.open.transitions
        outcome = self._outcome(_HANDLERS[type(operation)], now, operation)
        if outcome is None:
            return  # a claim that now waits, or a step that has just begun
        wrote = self.overlay.open.transitions != before
        # The courier's own: its delivery may be due again in the next turn, and must not seem to be on its way still.
        first = self._is_first(operation.tenant) or isinstance(operation, Settle)
        self._release(operation.sink, outcome, wrote=wrote, first=first)

    def _outcome(self, decide: Callable[["Scheduler", int, Any], Any], now: int, operation: Operation) -> Any:
        try:
            return decide(self, now, operation)
        except DamagedRow as damage:
            return self.tasks.damaged(damage)

    def _release(self, sink: Callable[[Any], None], outcome: Any, *, wrote: bool, first: bool = False) -> None:
        group = self.overlay.open if wrote else self.overlay.newest_written()
        if group is not None:
            (group.first_answers if first else group.answers).append((sink, outcome))
        else:
            self._answer(sink, outcome)

    def _is_first(self, tenant: str) -> bool:
        return self._shares.uneven and self._shares.is_quiet(tenant)

    def _answer(self, sink: Callable[[Any], None], outcome: Any) -> None:
        try:
            sink(outcome)
        except Exception as error:  # noqa: BLE001  # one caller's mistake must not leave the others unanswered
            self._on_error(error)

    def _prepared(self, prepare: Prepare | None, outcome: Any) -> Any:
        if prepare is None:
            return outcome
        try:
            return prepare(outcome)
        except Exception as error:  # noqa: BLE001  # one caller's mistake must not stop the decisions of all
            self._on_error(error)
            return Problem(INTERNAL, "the answer could not be made; what was asked may have happened")

    def _leased(self, claim: Claim, tasks: list[Task]) -> Any:
        return Claimed(tasks) if claim.prepare is None else self._prepared(claim.prepare, tasks)

    def _create(self, now: int, operation: Create) -> Any:
        return self.tasks.create(now, operation.tenant, operation.task)

    def _create_batch(self, now: int, operation: CreateBatch) -> Any:
        outcomes = self.tasks.create_all(now, operation.tenant, operation.tasks)
        return self._prepared(operation.prepare, outcomes)

    def _claim(self, now: int, claim: Claim) -> Any:
        if claim.gone:
            return Claimed([])
        tasks = self.tasks.claim(now, claim)
        if tasks:
            self._spend(now, claim, tasks)
            return self._leased(claim, tasks)
        if (claim.deadline or now + claim.wait_ms) <= now:
            return Claimed(tasks)
        waiting = self.tasks.waits.waiting(claim.tenant)
        if claim.wait_ms < FOREVER_MS and waiting >= self.settings.waiting_per_tenant_max:
            return Problem("rate-limited", "too many claims of this tenant are waiting", retry_after_seconds=1)
        self.tasks.wait(now, claim)
        return None

    def _heartbeat(self, now: int, operation: Heartbeat) -> Any:
        return self.tasks.heartbeat(now, operation)

    def _nack(self, now: int, operation: Nack) -> Any:
        return self.tasks.nack(now, operation)

    def _abandon(self, now: int, operation: Abandon) -> Any:
        return self.tasks.abandon(now, operation)

    def _finish(self, now: int, operation: Finish) -> Any:
        return self.tasks.finish(now, operation, self._same_json)

    def _finish_batch(self, now: int, operation: FinishBatch) -> Any:
        outcomes = self.tasks.finish_all(now, operation.items, self._same_json)
        return self._prepared(operation.prepare, outcomes)

    def _operate(self, now: int, operation: Operation) -> Any:
        return operators.HANDLERS[type(operation)](self.tasks, now, operation)

    # Operators' steps: a few tasks per group, one step after the other in turn.

    def _begin_step(self, _now: int, step: Step) -> Any:
        if len(self._steps) >= STEPS_MAX:
            return Problem(RATE_LIMITED, "too many changes of many tasks are under way", retry_after_seconds=1)
        self._steps.append(step)
        return None

    def _take_steps(self, now: int) -> None:
        while self._steps and self._step_quota > 0 and not self._full(self.overlay.open):
            step = self._steps.popleft()
            before = self.overlay.open.transitions
            outcome = operators.advance(self.tasks, now, step, self._step_quota)
            changed = self.overlay.open.transitions - before
            self._step_quota -= changed
            if outcome is None:
                self._steps.append(step)
            else:
                self._release(step.sink, outcome, wrote=changed > 0)

    def _settle(self, now: int, operation: Settle) -> Any:
        return self.tasks.outbox.settle(now, operation)

    def _subscribe(self, now: int, operation: Subscribe) -> Any:
        return self.tasks.subscriptions.subscribe(now, operation)

    def _poll(self, now: int, operation: Poll) -> Any:
        subscriptions = self.tasks.subscriptions
        outcome = subscriptions.poll(now, operation)
        while subscriptions.displaced:
            older = subscriptions.displaced.pop()
            self._release(older.sink, subscriptions.answer(older), wrote=False)
        return outcome

    # Subscriptions.

    def _announce(self, now: int) -> None:
        """Queues that turned non-empty, and that the claims which waited have not emptied again."""
        tasks, subscriptions = self.tasks, self.tasks.subscriptions
        for queue in tasks.risen:
            if not queue.counts[READY_STATE] or queue.command not in queue.tenant.dispatching:
                continue
            for poll in subscriptions.woken_by(queue):
                self._release(poll.sink, subscriptions.answer(poll), wrote=False)
            self._release(self._risen, queue.prefix, wrote=False)
        tasks.risen.clear()

    def _risen(self, prefix: bytes | Problem) -> None:
        if not isinstance(prefix, Problem):
            self.outgoing.rose(self._now, prefix)

    # Waking those who wait.

    def _match(self, now: int, group: Group, end: int = NEVER) -> None:
        """Give ready tasks to the claims that wait for them, until the group has so many transitions.

        Within a queue in order of arrival. Queues take turns: one that fills every group must not keep the claims of
        all others waiting. Those of quiet tenants come before, into what is kept for them.
        """
        woken = self.tasks.woken
        while woken:
            queue = self._next_woken()
            first = self._is_first(queue.tenant.name) and self._kept_transitions > 0
            if not first and (group.transitions >= end or self._full(group)):
                return
            before = group.transitions
            del woken[queue]
            if self._serve(now, queue):
                self._served_in = group.number
                woken[queue] = None
            if first:
                self._kept_transitions -= group.transitions - before

    def _next_woken(self) -> Queue:
        woken = self.tasks.woken
        if self._shares.uneven:
            for queue in islice(woken, WOKEN_LOOKS):
                if self._is_first(queue.tenant.name):
                    return queue
        return next(iter(woken))

    def _serve(self, now: int, queue: Queue) -> bool:
        tasks = self.tasks
        waiter = tasks.next_waiter(queue)
        try:
            if waiter is None or queue.window.head(self.overlay) is None:
                return False
        except DamagedRow as damage:
            self._on_error(damage)
            return False
        claim = waiter.claim
        if claim.gone:
            tasks.waits.finish(waiter)
            return True
        found = tasks.claim(now, claim)
        if found:
            tasks.waits.finish(waiter)
            self._spend(now, claim, found)
            first = self._is_first(claim.tenant)
            self._release(claim.sink, self._leased(claim, found), wrote=True, first=first)
        # Nothing found: every key of the queue was out of date, and has been thrown out by looking.
        return bool(found)

    def _spend(self, now: int, claim: Claim, found: list[Task]) -> None:
        """One answer for each `count` tasks begun; with what is left the claim stands in line anew."""
        claim.answers -= -(-len(found) // claim.count)
        if claim.answers:
            self.tasks.wait(now, claim)
            self.tasks.wake(claim)

    def _end_waits(self, now: int) -> None:
        for waiter in self.tasks.waits.take_ended(now):
            sink = waiter.claim.sink
            self.tasks.waits.finish(waiter)
            self._release(sink, Claimed([]), wrote=False)
        for poll, outcome in self.tasks.subscriptions.take_ended(now):
            self._release(poll.sink, outcome, wrote=False)

    # Sweeping, and times that lie too far ahead.

    def _may_sweep(self) -> bool:
        return self._sweep_quota > 0 and not self._sweep_touching

    def _sweep(self, now: int) -> None:
        if not self._may_sweep():
            return
        if not self._sweep_ready:
            retention = self.tasks.retention
            keys = self._take(retention, now, self._sweep_quota) if retention.is_due(now) else []
            if not keys or self._touch_first(now, keys):
                return
            self._sweep_ready = keys
        keys, self._sweep_ready = self._sweep_ready, []
        before = self.overlay.open.transitions
        timers.sweep_all(self.tasks, now, keys)
        # Keys that meant nothing any more are not counted: on a node that writes nothing else they would use up the
        # quota of a group that never ends.
        self._sweep_quota -= self.overlay.open.transitions - before

    def _touch_first(self, now: int, keys: list[bytes]) -> bool:
        """Have old rows brought into memory before the loop needs them. False: they are to be swept right away."""
        if self._touch is None or id_time_ms(keys[-1][12:]) > now - TOUCH_AGE_MS:
            return False
        epoch = self.epoch

        def touched() -> None:
            if epoch == self.epoch:
                self._sweep_touching = False
                self._sweep_ready = keys
                self._wake()

        self._sweep_touching = self._touch(_OF_A_TASK, [key[12:] for key in keys], touched)
        return self._sweep_touching

    def _rebase_some(self, now: int) -> None:
        table_number, low, high = self._rebase[-1]
        try:
            rows = self.overlay.scan(table_number, low, high, REBASE_ROWS)
        except DamagedRow as damage:
            # What lies behind it cannot be reached; it ends later than it should.
            self._on_error(damage)
            rows = []
        self._each(lambda at, key: timers.shorten(self.tasks, at, table_number, key), now, [key for key, _ in rows])
        if len(rows) < REBASE_ROWS:
            self._rebase.pop()
        else:
            self._rebase[-1] = (table_number, rows[-1][0] + b"\0", high)

    # Handing over.

    def _hand_over(self, now: int) -> bool:
        """Close the open group and give it to the seam, if it has writes and the seam is free."""
        # A step of which nothing came true has its entry in the audit and no transition.
        if not (self.overlay.open.transitions or self.overlay.open.has_writes) or not self._seam.ready():
            # A group that was filling may be gone, with one before it that failed.
            self._fills_until = 0
            return False
        if self._fills(now):
            return False
        # Until the last time that lies too far ahead is dealt with, the mark must go on to say that there are some.
        self.tasks.close_group(max(now, self.tasks.mark.last_time) if self._rebase else now)
        group = self.overlay.close()
        self._shares.closed(now, group.transitions, group.bytes_count)
        self._keep_room()
        self._sweep_quota = self._share(SWEEP_QUANTUM, SWEEP_SHARE_DIVISOR)
        self._step_quota = self._share(STEP_QUANTUM, TURN_SHARE_DIVISOR)
        self._seam.submit(group.number, group.close())
        self._read_ahead()
        return True

    def _fills(self, now: int) -> bool:
        """Whether the open group is to wait for more, since nobody in it is in a hurry and a noisy tenant has more to
        decide: of few and full groups fewer are in the way of a quiet tenant."""
        group = self.overlay.open
        more = self._shares.uneven and (self._cut or self._unread)
        until = self._fills_until or now + FILLING_MS
        # A clock that went back must not make it wait for long.
        in_time = 0 < until - now <= FILLING_MS
        fills = bool(more and in_time and not (self._too_large or group.first_answers or self._full(group)))
        self._fills_until = until if fills else 0
        return fills

    def _read_ahead(self) -> None:
        """While the group is on its way, refill the windows that were claimed from and touch what they hold."""
        low = self.tasks.low_windows
        for queue in list(low)[:REFILL_QUEUES]:
            del low[queue]
            try:
                keys = queue.window.refill(self.overlay, REFILL_KEYS)
            except DamagedRow as damage:
                self._on_error(damage)
                continue
            if keys and self._touch is not None:
                self._touch(_OF_A_TASK, [key[QUEUE_BYTES + 1 :] for key in keys], _nothing)

    def _adapt(self, parked_ms: float) -> None:
        most = self._shares.limit(self.settings.group_transitions_max)
        if parked_ms > PARKED_MS_MAX:
            self.group_limit = max(min(GROUP_TRANSITIONS_MIN, most), self.group_limit // 2)
        else:
            self.group_limit = min(most, self.group_limit + self.group_limit // 4 + 1)


_HANDLERS: Final[dict[type[Operation], Callable[[Scheduler, int, Any], Any]]] = {
    Create: Scheduler._create,
    CreateBatch: Scheduler._create_batch,
    Claim: Scheduler._claim,
    Heartbeat: Scheduler._heartbeat,
    Nack: Scheduler._nack,
    Abandon: Scheduler._abandon,
    Finish: Scheduler._finish,
    FinishBatch: Scheduler._finish_batch,
    Settle: Scheduler._settle,
    Subscribe: Scheduler._subscribe,
    Poll: Scheduler._poll,
    **dict.fromkeys(operators.HANDLERS, Scheduler._operate),
    **dict.fromkeys((RequeueDead, PurgeDead, Cleanup), Scheduler._begin_step),
}


def _nothing() -> None:
    """Nobody waits for rows that were only read ahead."""


def _rebase_ranges(tasks: Tasks, now: int) -> list[tuple[int, bytes, bytes]]:
    """What to look through after a clock that went back while the process was down: times far ahead of now."""
    if tasks.mark.last_time <= now:
        return []
    return [
        (table_number, tenant.prefix, prefix_end(tenant.prefix))
        for table_number in (LEASE, DUE, POST)
        for tenant in tasks.registry.by_number.values()
    ]
