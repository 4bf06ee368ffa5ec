"""Deliberate errors: each must be caught within a few seeds, or the simulation does not look where it should.

`python -m tests.simulation.mutants` prints how many seeds each took. A mutant is a patch of the production code for the
time of a run; what it breaks is its name.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from operator import itemgetter
from typing import Any, Final, NamedTuple
from unittest.mock import patch

from appliance.engine import rows, tables
from appliance.engine.group import Group, TableWrites
from appliance.engine.overlay import Overlay
from appliance.engine.rows import seal
from appliance.engine.tables import BODY, IDEM, LEASE, STATE, time_key
from appliance.tasks import interventions, judgement, machine, operators, queues, scheduler, table, timers
from appliance.tasks.clock import Clock
from appliance.tasks.deadlines import Deadlines
from appliance.tasks.heads import Heads
from appliance.tasks.ids import Ids
from appliance.tasks.inbox import Inbox, Inboxes
from appliance.tasks.lines import Waits
from appliance.tasks.machine import Tasks
from appliance.tasks.model import CreateBatch
from appliance.tasks.outbox import Outbox
from appliance.tasks.pauses import Pauses
from appliance.tasks.queues import Tenant
from appliance.tasks.reads import Reads
from appliance.tasks.scheduler import Scheduler
from appliance.tasks.subscriptions import Subscriptions
from appliance.tasks.watches import Watches
from appliance.tasks.window import Window
from tests.simulation.runner import run_seed
from tests.simulation.stream_mutants import STREAM_ERRORS

SEEDS_MAX: Final = 150
"""Within how many seeds every mutant must be caught."""


class Mutant(NamedTuple):
    """A deliberate error and the patches that make it."""

    name: str
    patches: Callable[[], list[Any]]


def _lease_forgotten() -> list[Any]:
    real = Deadlines.load

    def load(self: Deadlines, reader: Any, tenant: Any) -> None:
        if self._table != LEASE:
            real(self, reader, tenant)

    return [patch.object(Deadlines, "load", load)]


def _answer_before_durable() -> list[Any]:
    def release(self: Scheduler, sink: Callable[[Any], None], outcome: Any, *, wrote: bool) -> None:
        self._answer(sink, outcome)

    return [patch.object(Scheduler, "_release", release)]


def _reads_do_not_wait() -> list[Any]:
    real = Scheduler._release

    def release(self: Scheduler, sink: Callable[[Any], None], outcome: Any, *, wrote: bool) -> None:
        if wrote:
            real(self, sink, outcome, wrote=True)
        else:
            self._answer(sink, outcome)

    return [patch.object(Scheduler, "_release", release)]


def _sweep_of_a_live_task() -> list[Any]:
    def sweep(tasks: Tasks, now: int, key: bytes) -> None:
        task_id = key[12:]
        state = tasks.state_of(task_id)
        if state is None:
            return
        group = tasks.overlay.open
        group.delete(BODY, task_id)
        group.delete(STATE, task_id)
        if time_key(state.queue, state.expires, task_id) == key:
            queue = tasks.registry.by_prefix[state.queue]
            queue.swept += 1
            edge = table.TABLE[judgement.STATE_OF[state.status], table.SWEEP, table.PLAIN]
            tasks.move(edge, queue, task_id, state.priority, state.expires, 0, None)
        tasks.hot.drop(task_id)

    def sweep_all(tasks: Tasks, now: int, keys: list[bytes]) -> None:
        for key in keys:
            sweep(tasks, now, key)

    return [patch.object(timers, "sweep", sweep), patch.object(timers, "sweep_all", sweep_all)]


def _retention_forgotten() -> list[Any]:
    return [
        patch.object(timers, "sweep", lambda tasks, now, key: None),
        patch.object(timers, "sweep_all", lambda tasks, now, keys: None),
    ]


def _deletes_after_puts() -> list[Any]:
    """A row that is deleted and put again in one group is lost."""
    real, real_one = Group.delete_keys, Group.delete

    def delete_keys(self: Group, table_number: int, keys: list[bytes]) -> None:
        real(self, table_number, keys)
        deleted.setdefault(id(self), set()).update((table_number, key) for key in keys)

    def delete(self: Group, table_number: int, key: bytes) -> None:
        real_one(self, table_number, key)
        deleted.setdefault(id(self), set()).add((table_number, key))

    def close(self: Group) -> list[TableWrites]:
        gone = deleted.pop(id(self), set())
        closed = []
        for number, contents in enumerate(self.tables):
            lost = [key for key, content in contents.items() if content is not None and (number, key) in gone]
            dead = [key for key, content in contents.items() if content is None]
            fresh = self.fresh[number]
            dead += [key for key in lost if key not in fresh]
            puts = [
                (key, content or seal(number, key, b""))
                for key, content in contents.items()
                if content is not None and key not in lost
            ]
            if dead or puts:
                closed.append(TableWrites(number, sorted(dead), sorted(puts)))
        return closed

    deleted: dict[int, set[tuple[int, bytes]]] = {}
    return [
        patch.object(Group, "delete_keys", delete_keys),
        patch.object(Group, "delete", delete),
        patch.object(Group, "close", close),
    ]


def _always_fresh() -> list[Any]:
    """Put and delete vanish together also where an older row lies below."""

    real = Group.put_keys

    def put_keys(self: Group, table_number: int, keys: list[bytes]) -> None:
        real(self, table_number, keys)
        self.fresh[table_number].update(keys)

    return [patch.object(Group, "put_keys", put_keys)]


def _refill_ignores_the_overlay() -> list[Any]:
    real = Window.refill

    def refill(self: Window, reader: Any, keys: int) -> Any:
        return real(self, reader.store if isinstance(reader, Overlay) else reader, keys)

    return [patch.object(Window, "refill", refill)]


def _horizon_not_lowered() -> list[Any]:
    real = Window.push_all

    def push_all(self: Window, keys: Sequence[bytes]) -> bool:
        before = self.horizon
        first = real(self, keys)
        self.horizon = before
        return first

    return [patch.object(Window, "push_all", push_all)]


def _horizon_lost_by_a_refill() -> list[Any]:
    real = Window.refill

    def refill(self: Window, reader: Any, keys: int) -> Any:
        added = real(self, reader, keys)
        self.horizon = None
        return added

    return [patch.object(Window, "refill", refill)]


def _fencing_ignored() -> list[Any]:
    real = judgement.guard

    def guard(*arguments: Any) -> str:
        found = real(*arguments)
        return table.PLAIN if found == table.STALE else found

    return [patch.object(machine, "guard", guard)]


def _owner_not_checked() -> list[Any]:
    real = judgement.guard

    def guard(state: Any, *arguments: Any) -> str:
        found = real(state, *arguments)
        return table.PLAIN if found == table.STRANGER and state.status == rows.CLAIMED else found

    return [patch.object(machine, "guard", guard)]


def _attempt_not_given_back() -> list[Any]:
    changed = {key: edge._replace(attempts=0) for key, edge in table.TABLE.items() if edge.event == table.ABANDON}
    return [patch.dict(table.TABLE, changed)]


def _key_not_in_the_group() -> list[Any]:
    real = Group.put_all_new

    def put_all_new(self: Group, table_number: int, keys: list[bytes], contents: list[bytes]) -> None:
        if table_number != IDEM:
            real(self, table_number, keys, contents)

    return [patch.object(Group, "put_all_new", put_all_new)]


def _counters_survive_a_failure() -> list[Any]:
    real = Scheduler._begin_epoch

    def begin(self: Scheduler, now: int) -> None:
        before = self.tasks.registry.by_prefix if self.epoch else {}
        real(self, now)
        for prefix, queue in self.tasks.registry.by_prefix.items():
            if prefix in before:
                queue.counts = before[prefix].counts
                queue.created = before[prefix].created

    return [patch.object(Scheduler, "_begin_epoch", begin)]


def _waiting_claims_lost_by_a_failure() -> list[Any]:
    return [patch.object(Waits, "live_claims", lambda self: [])]


def _due_too_early() -> list[Any]:
    real = Deadlines.take

    def take(self: Deadlines, reader: Any, now_ms: int, quantum: int) -> list[bytes]:
        return real(self, reader, now_ms + (250 if self._table == tables.DUE else 0), quantum)

    return [patch.object(Deadlines, "take", take)]


def _ended_lease_not_noticed() -> list[Any]:
    return [patch.object(timers, "lease_ended", lambda tasks, now, key: None)]


def _lease_ends_early() -> list[Any]:
    def overdue(tasks: Tasks, now: int, key: bytes) -> None:
        state = tasks.state_of(key[12:])
        if state is not None and state.status == rows.CLAIMED:
            tasks.expire(now, key[12:], state)

    return [patch.object(timers, "lease_ended", overdue)]


def _first_queue_instead_of_the_best() -> list[Any]:
    def take(self: Heads, most: int) -> list[bytes]:
        taken: list[bytes] = []
        for _, _, queue in sorted(self._heads, key=itemgetter(1)):
            taken += queue.window.take(self._reader, most - len(taken))
        return taken

    return [patch.object(Heads, "take", take)]


def _priority_upside_down() -> list[Any]:
    return [patch.object(machine, "PRIORITY_BYTES", tables.PRIORITY_BYTES[::-1])]


def _id_of_another_tenant_accepted() -> list[Any]:
    return [patch.object(Tasks, "own_state", lambda self, tenant, task_id: self.state_of(task_id))]


def _wake_up_lost() -> list[Any]:
    real = timers.became_due

    def became_due(tasks: Tasks, now: int, key: bytes) -> None:
        woken = dict(tasks.woken)
        real(tasks, now, key)
        tasks.woken.clear()
        tasks.woken.update(woken)

    return [patch.object(timers, "became_due", became_due)]


def _ids_start_anew() -> list[Any]:
    real = Ids.__init__

    def init(self: Ids, last: bytes, shard: int, tag: int) -> None:
        real(self, bytes(16), shard, tag)

    return [patch.object(Ids, "__init__", init)]


def _clock_back_not_noticed() -> list[Any]:
    return [patch.object(scheduler, "_rebase_ranges", lambda tasks, now: [])]


def _clock_follows_the_wall() -> list[Any]:
    def read(self: Clock, wall_ms: int, monotonic_ms: int) -> int:
        self.now = max(self.now, wall_ms)
        return self.now

    return [patch.object(Clock, "read", read)]


def _other_result_accepted() -> list[Any]:
    def repeats(state: Any, action: Any, same_json: Any) -> bool:
        return bool(state.status == (rows.COMPLETED if action.completed else rows.FAILED))

    return [patch.object(judgement, "repeats", repeats)]


def _deliveries_not_bounded() -> list[Any]:
    return [patch.object(Tasks, "_deliveries_max", lambda self, state: 1 << 40)]


def _batch_in_two_commits() -> list[Any]:
    def create_batch(self: Scheduler, now: int, operation: Any) -> Any:
        outcomes = []
        for task in operation.tasks:
            outcomes.append(task if isinstance(task, Exception) else self.tasks.create(now, operation.tenant, task))
            if len(outcomes) * 2 == len(operation.tasks):
                self._hand_over(now)
        return outcomes

    return [patch.dict(scheduler._HANDLERS, {CreateBatch: create_batch})]


def _undurable_reads() -> list[Any]:
    real = Scheduler._begin_epoch

    def begin(self: Scheduler, now: int) -> None:
        real(self, now)
        self.reads = Reads(self.overlay, lambda: self.tasks.registry, self._on_error)

    return [patch.object(Scheduler, "_begin_epoch", begin)]


def _watch_not_told() -> list[Any]:
    return [patch.object(Watches, "ended", lambda self, task_id: None)]


def _sweep_leaves_the_key() -> list[Any]:
    real = Group.delete_keys

    def delete_keys(self: Group, table_number: int, keys: list[bytes]) -> None:
        if table_number != IDEM:
            real(self, table_number, keys)

    return [patch.object(Group, "delete_keys", delete_keys)]


def _stream_not_looked_at_again() -> list[Any]:
    return [patch.object(Tasks, "wake", lambda self, claim: None)]


def _stream_answers_not_spent() -> list[Any]:
    def spend(self: Scheduler, now: int, claim: Any, found: Any) -> None:
        if claim.answers > 1:
            self.tasks.wait(now, claim)
            self.tasks.wake(claim)

    return [patch.object(Scheduler, "_spend", spend)]


def _two_turns_for_one_inbox() -> list[Any]:
    def offer(self: Inboxes, operation: Any) -> bool:
        inbox = self._inboxes.setdefault(operation.tenant, Inbox(operation.tenant))
        if not inbox.operations:
            self._turns.append(operation.tenant)
        inbox.operations.append((operation, operation.cost, operation.size_bytes))
        return True

    return [patch.object(Inboxes, "offer", offer)]


def _webhook_of_a_dead_letter_forgotten() -> list[Any]:
    real = Outbox.add

    def add(self: Outbox, now: int, tenant: bytes, task_id: bytes, body: Any, state: Any) -> None:
        if state.status != rows.DLQ:
            real(self, now, tenant, task_id, body, state)

    return [patch.object(Outbox, "add", add)]


def _webhook_written_once_its_task_has_ended() -> list[Any]:
    real = Outbox.add

    def add(self: Outbox, *end: Any) -> None:
        def later(_outcome: Any) -> None:
            real(self, *end)
            self._overlay.open.transitions += 1

        self._overlay.open.answers.append((later, None))

    return [patch.object(Outbox, "add", add)]


def _webhook_sent_before_it_is_durable() -> list[Any]:
    real_place, real_take = Outbox._place, Outbox.take

    def place(self: Outbox, group: Any, delivery_id: bytes, delivery: Any) -> None:
        real_place(self, group, delivery_id, delivery)
        if not delivery.given_up:
            self.post.push(self._key(delivery_id, delivery))

    def take(self: Outbox, store: Any, *rest: Any) -> Any:
        return real_take(self, self._overlay, *rest)

    return [patch.object(Outbox, "_place", place), patch.object(Outbox, "take", take)]


def _webhooks_forgotten_at_a_start() -> list[Any]:
    return [patch.object(Outbox, "load", lambda self, tenants: None)]


def _failed_webhook_taken_for_delivered() -> list[Any]:
    real = Outbox.settle

    def settle(self: Outbox, now: int, action: Any) -> bool:
        action.delivered = True
        return real(self, now, action)

    return [patch.object(Outbox, "settle", settle)]


def _webhook_given_up_too_early() -> list[Any]:
    real = Outbox.settle

    def settle(self: Outbox, now: int, action: Any) -> bool:
        action.final |= not action.delivered
        return real(self, now, action)

    return [patch.object(Outbox, "settle", settle)]


def _attempt_of_a_lost_group_forgotten() -> list[Any]:
    real = Outbox.landed

    def landed(self: Outbox, delivery_id: bytes, *, settled: bool) -> None:
        if settled:
            real(self, delivery_id, settled=True)

    return [patch.object(Outbox, "landed", landed)]


def _webhook_of_another_tenant_sent_again() -> list[Any]:
    return [patch.object(Outbox, "_own", lambda self, tenant, delivery_id: self._row(delivery_id))]


def _subscription_that_never_ends() -> list[Any]:
    return [
        patch.object(Subscriptions, "expire", lambda self, now, most: False),
        patch.object(Subscriptions, "next_expiry", lambda self: None),
    ]


def _paused_queues_are_claimed_from() -> list[Any]:
    return [patch.object(Tenant, "dispatch", lambda self, queue, *, paused: None)]


def _paused_queues_take_creates() -> list[Any]:
    return [patch.object(machine, "refusal_by_queue", lambda now, queue, new: None)]


def _pauses_are_forgotten_by_a_restart() -> list[Any]:
    return [patch.object(queues, "decode_queue_control", lambda content: rows.QueueControl())]


def _pauses_do_not_end() -> list[Any]:
    return [patch.object(operators, "end_pauses", lambda tasks, now: False)]


def _ends_of_pauses_not_noted() -> list[Any]:
    return [patch.object(Pauses, "set", lambda self, prefix, *ends_ms: None)]


def _resume_wakes_nobody() -> list[Any]:
    real = operators._set_control

    def set_control(tasks: Tasks, queue: Any, control: Any) -> None:
        woken, risen = dict(tasks.woken), dict(tasks.risen)
        real(tasks, queue, control)
        tasks.woken, tasks.risen = woken, risen

    return [patch.object(operators, "_set_control", set_control)]


def _limit_in_flight_not_kept() -> list[Any]:
    return [patch.object(Tasks, "_count_in_flight", lambda self, tenant, leaving, entering, tasks: None)]


def _requeued_task_stays_among_the_dead() -> list[Any]:
    real = Group.delete

    def delete(self: Group, table_number: int, key: bytes) -> None:
        if table_number != tables.DEAD:
            real(self, table_number, key)

    return [patch.object(Group, "delete", delete)]


def _operators_are_not_audited() -> list[Any]:
    return [patch.object(operators, "note", lambda tasks, now, tenant, entry: 1)]


def _audit_without_bound() -> list[Any]:
    return [patch.object(operators, "_is_old", lambda *arguments: False)]


def _cancelled_owner_not_told() -> list[Any]:
    real = judgement.guard

    def guard(*arguments: Any) -> str:
        found = real(*arguments)
        return table.LAST_OWNER if found == table.WITHDRAWN else found

    return [patch.object(machine, "guard", guard)]


def _results_not_counted_as_stored() -> list[Any]:
    return [patch.object(rows.State, "stored_bytes", property(lambda self: self.payload_bytes))]


def _cleanup_takes_every_row_for_stale() -> list[Any]:
    return [patch.object(interventions, "stands_in_expire", lambda tasks, key: False)]


def _out_of_turn_at_the_cost_of_another() -> list[Any]:
    real = Inboxes.done

    def done(self: Inboxes, inbox: Inbox) -> Any:
        first = self._turns[0]
        resumed = real(self, inbox)
        if first != inbox.tenant:
            self._turns.popleft()
        return resumed

    return [patch.object(Inboxes, "done", done)]


MUTANTS: Final = tuple(
    Mutant(make.__name__.strip("_").replace("_", " "), make)
    for make in (
        _lease_forgotten,
        _answer_before_durable,
        _reads_do_not_wait,
        _sweep_of_a_live_task,
        _retention_forgotten,
        _deletes_after_puts,
        _always_fresh,
        _refill_ignores_the_overlay,
        _horizon_not_lowered,
        _horizon_lost_by_a_refill,
        _fencing_ignored,
        _owner_not_checked,
        _attempt_not_given_back,
        _key_not_in_the_group,
        _counters_survive_a_failure,
        _waiting_claims_lost_by_a_failure,
        _due_too_early,
        _ended_lease_not_noticed,
        _lease_ends_early,
        _first_queue_instead_of_the_best,
        _priority_upside_down,
        _id_of_another_tenant_accepted,
        _wake_up_lost,
        _ids_start_anew,
        _clock_back_not_noticed,
        _clock_follows_the_wall,
        _other_result_accepted,
        _deliveries_not_bounded,
        _batch_in_two_commits,
        _undurable_reads,
        _watch_not_told,
        _sweep_leaves_the_key,
        _stream_not_looked_at_again,
        _stream_answers_not_spent,
        _two_turns_for_one_inbox,
        _paused_queues_are_claimed_from,
        _paused_queues_take_creates,
        _pauses_are_forgotten_by_a_restart,
        _pauses_do_not_end,
        _ends_of_pauses_not_noted,
        _resume_wakes_nobody,
        _limit_in_flight_not_kept,
        _requeued_task_stays_among_the_dead,
        _operators_are_not_audited,
        _audit_without_bound,
        _cancelled_owner_not_told,
        _results_not_counted_as_stored,
        _cleanup_takes_every_row_for_stale,
        _out_of_turn_at_the_cost_of_another,
        _webhook_of_a_dead_letter_forgotten,
        _webhook_written_once_its_task_has_ended,
        _webhook_sent_before_it_is_durable,
        _webhooks_forgotten_at_a_start,
        _failed_webhook_taken_for_delivered,
        _webhook_given_up_too_early,
        _attempt_of_a_lost_group_forgotten,
        _webhook_of_another_tenant_sent_again,
        _subscription_that_never_ends,
        *STREAM_ERRORS,
    )
)


@contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    """The code with this error in it, for a while."""
    with ExitStack() as stack:
        for each in mutant.patches():
            stack.enter_context(each)
        yield


def catch(mutant: Mutant, seeds: int = SEEDS_MAX) -> tuple[int, str]:
    """How many seeds it took to catch a mutant, and by what; 0 where it got away."""
    with applied(mutant):
        for seed in range(seeds):
            outcome = run_seed(seed)
            if outcome.error:
                return seed + 1, outcome.error
    return 0, "got away"


def main() -> int:
    """The command; returns the exit status."""
    away = 0
    for mutant in MUTANTS:
        took, how = catch(mutant)
        away += took == 0
        print(f"{took:>4}  {mutant.name:<36}  {how[:110]}", flush=True)
    print(f"{len(MUTANTS)} deliberate errors, {away} got away")
    return 1 if away else 0


if __name__ == "__main__":
    sys.exit(main())
