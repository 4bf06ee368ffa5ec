"""What the table of routes does not say of an operation: a summary, its body, its query, its answers.

Owns that list, with an entry for every method of every path. The types are those that the handlers read and write.
"""

from typing import Any, Final, NamedTuple

from appliance import errors
from appliance.api import bodies, parse, read, render
from appliance.api.admin import asking, webhooks
from appliance.api.admin import bodies as operators
from appliance.api.admin import render as shown
from appliance.api.openapi import fields
from appliance.api.openapi.fields import Schema
from appliance.api.probes import HealthJson

TEXT: Final = "text"
"""Stands for an answer that is no JSON."""

V1: Final = "/v1/codeq"


class Query(NamedTuple):
    """A parameter of a query."""

    name: str
    schema: Schema
    text: str


class Operation(NamedTuple):
    """One method of one path.

    `answers` has the type of each good status, None where it has no content. `refusals` are the codes that only this
    operation gives; those that many share follow from its token and its body. `link` names the operation that the id
    in the answer can be given to.
    """

    id: str
    summary: str
    answers: dict[int, Any]
    body: Any = None
    optional_body: bool = False
    query: tuple[Query, ...] = ()
    refusals: tuple[str, ...] = ()
    tag: str = "tasks"
    link: str = ""


CreateBatch = bodies.CreateList | list[bodies.CreateBody]
ResultBatch = bodies.ResultList | list[bodies.ResultItem]
CreatedBatch = render.CreatedBatchJson | list[render.TaskItem]
RecordBatch = render.RecordBatchJson | list[render.RecordItem]

_WAIT: Final = Query(
    "waitSeconds",
    {"type": "integer", **fields.number(0, parse.RESULT_WAIT_SECONDS_MAX)},
    "how long to wait for the result; the answer comes the moment it is there",
)
_ANOTHER: Final = "another tenant, with the scope codeq:operator; empty for the token's own"
_TENANT: Final = Query("tenant", {"type": "string", "not": {"const": asking.EVERY_TENANT}}, _ANOTHER)
_TENANTS: Final = Query("tenant", {"type": "string"}, f"{_ANOTHER}, {asking.EVERY_TENANT} for all")
_LIMIT: Final = Query("limit", {"type": "integer", **fields.number(1, asking.PAGE_ITEMS_MAX)}, "items of a page")
_CURSOR: Final = Query(
    "cursor",
    {"type": "string", "maxLength": asking.CURSOR_CHARS_MAX, "pattern": "^([A-Za-z0-9_-]{4})*$"},
    "where a page begins, as the one before it said",
)
_COMMAND: Final = Query("command", {"type": "string", **fields.COMMAND}, "of this command only")
_BEFORE: Final = Query("before", {"type": "string", **fields.TIME}, "that ended before this time")
_STATUS: Final = Query(
    "status", {"enum": ["ready", "delayed", "claimed", "completed", "failed", "dlq"], "default": "ready"}, "which tasks"
)
_DELIVERY: Final = Query("state", {"enum": [webhooks.GIVEN_UP, webhooks.WAITING]}, "which deliveries")
_PAGE: Final = (_TENANT, _LIMIT, _CURSOR)

_OWNER: Final = (errors.NOT_FOUND, errors.NOT_CLAIMED)
_FULL: Final = (errors.QUEUE_PAUSED,)
OPERATORS: Final = "operators"

OPERATIONS: Final[dict[tuple[str, str], Operation]] = {
    ("POST", f"{V1}/tasks"): Operation(
        "createTask", "Create a task", {200: render.TaskJson, 201: render.TaskJson}, bodies.CreateBody,
        refusals=(errors.IDEMPOTENCY_CONFLICT, errors.PAYLOAD_TOO_LARGE, *_FULL), link="getTask",
    ),
    ("POST", f"{V1}/tasks/batch"): Operation(
        "createTasks", "Create many tasks in one commit", {200: CreatedBatch}, CreateBatch,
        refusals=(errors.PAYLOAD_TOO_LARGE,),
    ),
    ("POST", f"{V1}/tasks/claim"): Operation(
        "claimTask", "Claim a task", {200: render.TaskJson, 204: None}, bodies.ClaimBody, optional_body=True,
        link="submitResult",
    ),
    ("POST", f"{V1}/tasks/claim/batch"): Operation(
        "claimTasks", "Claim many tasks", {200: render.ClaimedBatchJson, 204: None}, bodies.ClaimBatchBody,
    ),
    ("POST", f"{V1}/tasks/batch/results"): Operation(
        "submitResults", "Record many results in one commit", {200: RecordBatch}, ResultBatch,
        refusals=(errors.PAYLOAD_TOO_LARGE,),
    ),
    ("POST", f"{V1}/workers/subscriptions"): Operation(
        "subscribe", "Subscribe to work", {200: render.SubscriptionJson}, bodies.SubscribeBody, optional_body=True,
        tag="subscriptions",
    ),
    ("POST", f"{V1}/workers/subscriptions/{{id}}/heartbeat"): Operation(
        "pollSubscription", "Renew a subscription, and wait for work", {200: render.PolledJson}, bodies.PollBody,
        optional_body=True, refusals=(errors.NOT_FOUND,), tag="subscriptions",
    ),
    ("GET", f"{V1}/raft/status"): Operation(
        "raftStatus", "This node's place in a cluster", {200: read.RaftStatusJson}, tag="node"
    ),
    ("GET", f"{V1}/tasks/{{id}}"): Operation(
        "getTask", "A task", {200: render.TaskJson}, refusals=(errors.NOT_FOUND,)
    ),
    ("GET", f"{V1}/tasks/{{id}}/result"): Operation(
        "getResult", "The result of a task, waiting for it where wanted", {200: render.RecordWithTaskJson},
        query=(_WAIT,), refusals=(errors.NOT_FOUND, errors.RATE_LIMITED),
    ),
    ("POST", f"{V1}/tasks/{{id}}/result"): Operation(
        "submitResult", "Record the result of a claimed task", {200: render.RecordJson}, bodies.ResultBody,
        refusals=(*_OWNER, errors.PAYLOAD_TOO_LARGE),
    ),
    ("POST", f"{V1}/tasks/{{id}}/heartbeat"): Operation(
        "extendLease", "Extend the lease of a claimed task", {200: render.ExtendedJson}, bodies.HeartbeatBody,
        optional_body=True, refusals=_OWNER,
    ),
    ("POST", f"{V1}/tasks/{{id}}/nack"): Operation(
        "nackTask", "Give a claimed task back for another attempt", {200: render.NackedJson}, bodies.NackBody,
        optional_body=True, refusals=_OWNER,
    ),
    ("POST", f"{V1}/tasks/{{id}}/abandon"): Operation(
        "abandonTask", "Give a claimed task back as if it had not been claimed", {200: render.AbandonedJson},
        bodies.OwnerBody, optional_body=True, refusals=_OWNER,
    ),
    ("GET", "/metrics"): Operation("metrics", "Prometheus metrics", {200: TEXT}, tag="node"),
    ("GET", "/healthz"): Operation("alive", "Whether the process answers", {200: HealthJson}, tag="node"),
    ("GET", "/readyz"): Operation("ready", "Whether the node can do its work", {200: HealthJson}, tag="node"),
    ("GET", "/openapi.json"): Operation("describe", "This description", {200: dict[str, Any]}, tag="node"),
    ("GET", f"{V1}/admin/queues"): Operation(
        "listQueues", "Queues", {200: shown.QueuesJson}, query=(_TENANTS, _LIMIT, _CURSOR), tag=OPERATORS
    ),
    ("GET", f"{V1}/admin/queues/{{name}}"): Operation(
        "getQueue", "A queue", {200: shown.QueueJson}, query=(_TENANT,), refusals=(errors.NOT_FOUND,), tag=OPERATORS
    ),
    ("POST", f"{V1}/admin/queues/{{name}}/pause"): Operation(
        "pauseQueue", "Pause a queue's dispatch or intake", {200: shown.QueueJson}, operators.PauseBody,
        optional_body=True, query=(_TENANT,), refusals=(errors.NOT_FOUND,), tag=OPERATORS,
    ),
    ("POST", f"{V1}/admin/queues/{{name}}/resume"): Operation(
        "resumeQueue", "Resume a queue", {200: shown.QueueJson}, operators.ResumeBody,
        optional_body=True, query=(_TENANT,), refusals=(errors.NOT_FOUND,), tag=OPERATORS,
    ),
    ("PUT", f"{V1}/admin/queues/{{name}}/settings"): Operation(
        "setQueue", "Change a queue's settings", {200: shown.QueueJson}, operators.SettingsBody,
        optional_body=True, query=(_TENANT,), refusals=(errors.NOT_FOUND,), tag=OPERATORS,
    ),
    ("GET", f"{V1}/admin/queues/{{name}}/tasks"): Operation(
        "listTasks", "A queue's tasks of one status", {200: shown.TasksJson}, query=(_STATUS, *_PAGE),
        refusals=(errors.NOT_FOUND,), tag=OPERATORS,
    ),
    ("GET", f"{V1}/admin/dlq"): Operation(
        "listDeadLetters", "Dead letters", {200: shown.TasksJson}, query=(_COMMAND, _BEFORE, *_PAGE), tag=OPERATORS
    ),
    ("POST", f"{V1}/admin/dlq/requeue"): Operation(
        "requeueDeadLetters", "Requeue dead letters, one bounded step", {200: shown.RequeuedJson},
        operators.StepBody, optional_body=True, query=(_TENANT,), tag=OPERATORS,
    ),
    ("POST", f"{V1}/admin/dlq/purge"): Operation(
        "purgeDeadLetters", "Purge dead letters, one bounded step", {200: shown.PurgedStepJson},
        operators.StepBody, optional_body=True, query=(_TENANT,), tag=OPERATORS,
    ),
    ("POST", f"{V1}/admin/tasks/cleanup"): Operation(
        "cleanUp", "Run the retention sweep now", {200: shown.CleanedJson}, operators.CleanupBody,
        optional_body=True, query=(_TENANT,), tag=OPERATORS,
    ),
    ("GET", f"{V1}/admin/tasks/{{name}}"): Operation(
        "operatorGetTask", "A task with its history", {200: shown.OperatorTaskJson}, query=(_TENANT,),
        refusals=(errors.NOT_FOUND,), tag=OPERATORS,
    ),
    ("POST", f"{V1}/admin/tasks/{{name}}/cancel"): Operation(
        "cancelTask", "Cancel a task that has not ended", {200: render.TaskJson}, operators.CancelBody,
        optional_body=True, query=(_TENANT,), refusals=_OWNER, tag=OPERATORS,
    ),
    ("POST", f"{V1}/admin/tasks/{{name}}/requeue"): Operation(
        "requeueTask", "Requeue a dead letter", {200: render.TaskJson}, operators.NoBody,
        optional_body=True, query=(_TENANT,), refusals=_OWNER, tag=OPERATORS,
    ),
    ("POST", f"{V1}/admin/tasks/{{name}}/purge"): Operation(
        "purgeTask", "Forget a dead letter", {200: shown.PurgedJson}, operators.NoBody,
        optional_body=True, query=(_TENANT,), refusals=_OWNER, tag=OPERATORS,
    ),
    ("GET", f"{V1}/admin/tenants/{{name}}/limits"): Operation(
        "getLimits", "A tenant's limits", {200: shown.LimitsJson}, tag=OPERATORS
    ),
    ("PUT", f"{V1}/admin/tenants/{{name}}/limits"): Operation(
        "setLimits", "Set a tenant's limits", {200: shown.LimitsJson}, operators.LimitsBody, optional_body=True,
        tag=OPERATORS,
    ),
    ("GET", f"{V1}/admin/audit"): Operation(
        "listAudit", "What operators did, newest first", {200: shown.AuditJson}, query=_PAGE, tag=OPERATORS
    ),
    ("GET", f"{V1}/admin/webhooks"): Operation(
        "listWebhooks", "Deliveries that wait or were given up", {200: webhooks.DeliveriesJson},
        query=(_DELIVERY, *_PAGE), tag=OPERATORS,
    ),
    ("POST", f"{V1}/admin/webhooks/retry"): Operation(
        "retryWebhooks", "Send deliveries again that were given up, one bounded step", {200: webhooks.RetriedJson},
        operators.ResendBody, optional_body=True, query=(_TENANT,), tag=OPERATORS,
    ),
    ("POST", f"{V1}/admin/webhooks/{{name}}/retry"): Operation(
        "retryWebhook", "Send a delivery again that was given up", {200: webhooks.RetriedJson}, operators.NoBody,
        optional_body=True, query=(_TENANT,), refusals=_OWNER, tag=OPERATORS,
    ),
    ("GET", f"{V1}/admin/node"): Operation("getNode", "The node", {200: shown.NodeJson}, tag=OPERATORS),
}  # fmt: skip
"""By method and path. HEAD is GET without its content and has no entry."""
