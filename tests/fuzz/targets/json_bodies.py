"""Bodies of REST: any bytes are a body, or a Problem; what is kept of them can be compared and rendered."""

from typing import Final

from appliance.api import bodies
from appliance.api.bodies import BadItem, CreateBody
from appliance.api.canonical import canonical, same_json
from appliance.api.parse import new_task
from appliance.errors import Problem
from appliance.tasks.model import NewTask

NOW_MS: Final = 1_700_000_000_000
READERS: Final = (
    bodies.read_create, bodies.read_claim, bodies.read_claim_batch, bodies.read_owner, bodies.read_heartbeat,
    bodies.read_nack, bodies.read_result, bodies.read_create_batch, bodies.read_result_batch,
)  # fmt: skip
SEEDS: Final = (
    b'{"command":"a","payload":{"b":[1,2.5e3,"x\\u00e4"]},"priority":3,"maxAttempts":2,"webhook":"http://a/"}',
    b'{"command":"a","payload":null,"idempotencyKey":"k","runAt":"2027-01-01T00:00:00Z","traceParent":"00-a"}',
    b'{"commands":["a","b"],"leaseSeconds":5,"waitSeconds":0,"workerId":"w","count":3}',
    b'{"status":"COMPLETED","result":[[]],"artifacts":[{"name":"a","url":"http://a/"}],"leaseId":"x:1"}',
    b'[{"command":"a","payload":1},{"command":5},[],{"command":"b","payload":"\\ud83d\\ude08"}]',
    b'{"tasks":[{"command":"a","payload":1}],"more":{}}',
    b'{"results":[{"taskId":"a","status":"FAILED","error":"e"},1]}',
    b"",
)


def run(data: bytes) -> None:
    """Every reader; what is a create goes on to the state machine's form."""
    for read in READERS:
        try:
            value = read(data)
        except Problem:
            continue
        items = value[0] if isinstance(value, tuple) else [value]
        for item in items:
            if isinstance(item, CreateBody):
                _create(item)
            elif isinstance(item, BadItem):
                bodies.named_task(item.raw)


def _create(body: CreateBody) -> None:
    try:
        task = new_task(body, NOW_MS, 5, 262_144)
    except Problem:
        return
    assert isinstance(task, NewTask)
    assert same_json(task.payload, task.payload)
    assert same_json(canonical(task.payload), task.payload)
