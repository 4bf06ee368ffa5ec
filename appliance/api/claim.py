"""Claiming tasks: what a token allows, how long to wait, and what to do when the caller has gone.

Owns the way from the two bodies to a `Claim`. A lease that its caller never heard of is given back at once. Runs on
the event loop's thread.
"""

from appliance.api.bodies import ClaimBody, read_claim, read_claim_batch
from appliance.api.context import Context, answering
from appliance.api.parse import claim_commands, claim_count, claim_wait_ms, lease_ms, worker_id
from appliance.api.render import claimed, claimed_batch
from appliance.auth.caller import Caller
from appliance.errors import PERMISSION_DENIED, Problem
from appliance.mux.exchange import Request
from appliance.tasks.model import Abandon, Claim, Claimed, Returned, Task


class Claiming:
    """The routes by which workers get tasks."""

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context

    def claim(self, request: Request, caller: Caller, _task_id: bytes) -> None:
        """`POST /tasks/claim`."""
        self._ask(request, caller, read_claim(request.body), 1, batch=False)

    def claim_batch(self, request: Request, caller: Caller, _task_id: bytes) -> None:
        """`POST /tasks/claim/batch`."""
        body = read_claim_batch(request.body)
        self._ask(request, caller, body, claim_count(body.count), batch=True)

    def _ask(self, request: Request, caller: Caller, body: ClaimBody, count: int, *, batch: bool) -> None:
        lease = lease_ms(body.lease_seconds, "leaseSeconds")
        wait = claim_wait_ms(body.wait_seconds)
        worker = worker_id(body.worker_id)
        commands = allowed_commands(caller, claim_commands(body.commands))
        tenant, subject = caller.tenant, caller.subject

        answer = answering(request, claimed_batch if batch else claimed, tenant)

        def sink(outcome: Claimed | Problem) -> None:
            if request.closed and isinstance(outcome, Claimed):
                for task in outcome.tasks:
                    self._give_back(tenant, subject, worker, task)
                outcome = Claimed([])
            answer(outcome)

        claim = Claim(tenant, sink, subject, worker, commands, lease, count, wait)
        if wait:

            def gone() -> None:
                claim.gone = True

            request.on_closed = gone
        self._context.ask(request, claim)

    def _give_back(self, tenant: str, subject: str, worker: str, task: Task) -> None:
        lease = task.state.lease_number
        self._context.scheduler.offer(Abandon(tenant, _nobody, task.id, subject, worker, lease, undelivered=True))


def allowed_commands(caller: Caller, named: tuple[str, ...]) -> tuple[str, ...] | None:
    """The commands to claim from, None for all of the tenant's; raises `permission-denied`."""
    allowed = caller.commands
    if allowed is None:
        return named or None
    if not allowed:
        raise Problem(PERMISSION_DENIED, "the token's eventTypes allow no command")
    if not named:
        return tuple(sorted(allowed))
    for command in named:
        if command not in allowed:
            raise Problem(PERMISSION_DENIED, f"the token's eventTypes do not allow {command}")
    return named


def _nobody(_outcome: Returned | Problem) -> None:
    """The caller has gone; a lease that could not be given back ends by itself."""
