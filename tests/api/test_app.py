"""The order in which requests are judged, whatever they ask for."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.auth.caller import WORKER_SCOPES
from tests.api.limits import MISSING
from tests.api.support import TASKS, Node, caller
from tests.api.test_canonical import VALUES

SCOPED = [
    (TASKS + "/claim", "codeq:claim"),
    (TASKS + "/claim/batch", "codeq:claim"),
    (f"{TASKS}/{MISSING}/result", "codeq:result"),
    (TASKS + "/batch/results", "codeq:result"),
    (f"{TASKS}/{MISSING}/heartbeat", "codeq:heartbeat"),
    (f"{TASKS}/{MISSING}/nack", "codeq:nack"),
    (f"{TASKS}/{MISSING}/abandon", "codeq:abandon"),
]
PRODUCING = [TASKS, TASKS + "/batch"]
WRONG_TYPE = {b"content-type": b"text/plain"}


@pytest.mark.parametrize(("path", "scope"), SCOPED)
def test_path_then_token_then_scope_then_media_type_then_body(path: str, scope: str) -> None:
    node = Node()
    node.tokens.callers["lacking"] = caller(scopes=set(WORKER_SCOPES) - {scope})
    node.tokens.callers["narrow"] = caller(scopes=[scope])
    bad = b"{"

    def codes(method: str, path: str, token: str) -> str:
        return node.call(method, path, bad, token, headers=WRONG_TYPE).code

    assert codes("POST", path + "/nothing", "") == "not-found"
    assert codes("PUT", path, "") == "method-not-allowed"
    assert codes("POST", path, "") == "unauthenticated"
    assert codes("POST", path, "nonsense") == "unauthenticated"
    assert codes("POST", path, "producer") == "unauthenticated"
    assert codes("POST", path, "lacking") == "permission-denied"
    assert codes("POST", path, "narrow") == "unsupported-media-type"
    assert node.call("POST", path, bad, "narrow").code == "validation-error"


@pytest.mark.parametrize("path", PRODUCING)
def test_creates_take_a_producers_token(path: str) -> None:
    node = Node()
    assert node.call("POST", path, b"{", "worker", headers=WRONG_TYPE).status == 401
    assert node.call("POST", path, b"{", "producer", headers=WRONG_TYPE).status == 415
    assert node.call("POST", path, b"{", "producer").status == 400


def test_a_401_names_the_scheme_that_it_wants() -> None:
    answer = Node().call("GET", f"{TASKS}/{MISSING}")
    assert (answer.status, answer.headers[b"WWW-Authenticate"]) == (401, b"Bearer")


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        (TASKS, b"POST"),
        (f"{TASKS}/{MISSING}", b"GET, HEAD"),
        (f"{TASKS}/{MISSING}/result", b"GET, HEAD, POST"),
        ("/metrics", b"GET, HEAD"),
    ],
)
def test_a_405_lists_what_is_allowed(path: str, allow: bytes) -> None:
    answer = Node().call("PATCH", path)
    assert (answer.status, answer.headers[b"Allow"]) == (405, allow)


def test_names_that_are_no_ids_are_still_paths_of_tasks() -> None:
    node = Node()
    for text in ("x", MISSING[:-1], MISSING + "0", "%2e%2e", "019e7044_8800_7000_8000_00002265b1f5", "\u0660" * 36):
        assert node.call("GET", f"{TASKS}/{text}", token="worker").json["message"] == "no such task"


def test_the_id_of_a_task_may_be_written_in_capitals() -> None:
    node = Node()
    task = node.create()
    assert node.read(task["id"].upper()) == task


@settings(max_examples=300)
@given(
    st.sampled_from([*PRODUCING, *(path for path, _ in SCOPED)]),
    st.binary(max_size=40) | VALUES.map(lambda value: json.dumps(value).encode()),
)
def test_no_body_raises_or_gets_a_500(path: str, body: bytes) -> None:
    node = Node()
    answer = node.call("POST", path, body, "producer" if path in PRODUCING else "worker")
    assert 200 <= answer.status < 500
    if answer.status >= 400:
        assert set(answer.json) == {"code", "message"}


FIELDS = [
    "command", "commands", "payload", "priority", "maxAttempts", "webhook", "idempotencyKey", "runAt", "delaySeconds",
    "traceParent", "traceState", "leaseSeconds", "waitSeconds", "workerId", "leaseId", "count", "status", "result",
    "error", "artifacts", "extendSeconds", "reason", "taskId", "tasks", "results",
]  # fmt: skip


@settings(max_examples=300)
@given(
    st.sampled_from([*PRODUCING, *(path for path, _ in SCOPED)]),
    st.dictionaries(st.sampled_from(FIELDS), VALUES | st.just("COMPLETED") | st.just("a"), max_size=6),
    st.integers(0, 2),
)
def test_no_values_of_known_fields_raise_or_get_a_500(path: str, fields: dict[str, object], wrapped: int) -> None:
    node = Node()
    body: object = fields
    if wrapped and "batch" in path:
        body = [fields] if wrapped == 1 else {"tasks": [fields], "results": [fields]}
    client = node.begin("POST", path, body, "producer" if path in PRODUCING else "worker")
    node.pass_ms(30_000)
    assert 200 <= client.answer_once.status < 500


@given(st.text(max_size=30), st.sampled_from(["GET", "HEAD", "POST", "PUT", "", "OPTIONS"]), st.text(max_size=20))
def test_no_path_method_or_query_raises(path: str, method: str, query: str) -> None:
    node = Node()
    for start in ("/", TASKS, TASKS + "/", f"{TASKS}/{MISSING}/"):
        answer = node.call(method, start + path, b"", "worker", query=query)
        assert 200 <= answer.status < 500
