"""Who may do what, and to whom: the order of judgement of operators' routes."""

import pytest

from tests.api.admin.support import get, post, put, refused
from tests.api.support import ADMIN, Node

LIMITS = "/tenants/acme/limits"

PATHS = [
    ("GET", "/queues"),
    ("GET", "/queues/email"),
    ("POST", "/queues/email/pause"),
    ("POST", "/queues/email/resume"),
    ("PUT", "/queues/email/settings"),
    ("GET", "/queues/email/tasks"),
    ("GET", "/dlq"),
    ("POST", "/dlq/requeue"),
    ("POST", "/dlq/purge"),
    ("POST", "/tasks/cleanup"),
    ("GET", "/tasks/x"),
    ("POST", "/tasks/x/cancel"),
    ("POST", "/tasks/x/requeue"),
    ("POST", "/tasks/x/purge"),
    ("GET", LIMITS),
    ("PUT", LIMITS),
    ("GET", "/audit"),
    ("GET", "/node"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_every_path_wants_an_admin_of_the_producer_keys(method: str, path: str) -> None:
    node = Node()
    assert refused(node, method, path, token="").code == "unauthenticated"
    assert refused(node, method, path, token="worker").code == "unauthenticated"
    assert refused(node, method, path, token="producer").code == "permission-denied"
    assert refused(node, "DELETE", path).headers[b"Allow"]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_another_tenant_is_for_operators_only(method: str, path: str) -> None:
    node = Node()
    if path != "/node":
        path = path.replace("acme", "other")
        assert refused(node, method, path, query="tenant=other").code == "permission-denied"


@pytest.mark.parametrize(
    "path",
    ["", "/", "/queues/", "/queues//pause", "/queues/email/", "/queues/email/x", "/tasks", "/tenants/acme", "/x"],
)
def test_an_unknown_path_is_not_found(path: str) -> None:
    assert refused(Node(), "GET", path).code == "not-found"


def test_an_operator_names_the_tenant() -> None:
    node = Node()
    node.create()
    assert refused(node, "GET", "/queues/email", token="operator").code == "not-found"
    assert get(node, "/queues/email", "operator", "tenant=acme")["tenantId"] == "acme"
    post(node, "/queues/email/pause", {}, "operator", "tenant=acme")
    assert get(node, "/audit")["entries"][0]["subject"] == "olga of ops"


def test_an_operator_sees_the_queues_of_all() -> None:
    node = Node()
    node.create()
    node.create("sms", token="other-producer")
    seen = get(node, "/queues", "operator", "tenant=*")["queues"]
    assert [(queue["tenantId"], queue["command"]) for queue in seen] == [("acme", "email"), ("other", "sms")]
    assert [queue["command"] for queue in get(node, "/queues")["queues"]] == ["email"]
    assert refused(node, "GET", "/queues", query="tenant=*").code == "permission-denied"
    assert refused(node, "GET", "/dlq", token="operator", query="tenant=*").code == "validation-error"


def test_one_tenant_sees_nothing_of_another() -> None:
    node = Node()
    task = node.create()["id"]
    post(node, "/queues/email/pause", {})
    assert get(node, "/queues", "other-admin")["queues"] == []
    assert refused(node, "GET", "/queues/email", token="other-admin").code == "not-found"
    assert refused(node, "POST", "/queues/email/pause", token="other-admin").code == "not-found"
    assert refused(node, "GET", "/queues/email/tasks", token="other-admin").code == "not-found"
    assert refused(node, "GET", f"/tasks/{task}", token="other-admin").code == "not-found"
    for action in ("cancel", "requeue", "purge"):
        assert refused(node, "POST", f"/tasks/{task}/{action}", token="other-admin").code == "not-found"
    assert get(node, "/audit", "other-admin")["entries"] == []


def test_a_name_in_a_path_may_be_encoded() -> None:
    node = Node()
    node.create("a:b")
    assert get(node, "/queues/a%3Ab")["command"] == "a:b"


def test_limits_are_read_by_the_tenant_and_set_by_operators() -> None:
    node = Node()
    nothing = {"restPerSecond": None, "hellosPerSecond": None, "inFlight": None, "storedBytes": None}
    assert get(node, LIMITS) == nothing
    assert refused(node, "PUT", LIMITS, {"inFlight": 1}).code == "permission-denied"
    assert put(node, LIMITS, {"inFlight": 1, "restPerSecond": 7}, "operator") == {
        **nothing,
        "inFlight": 1,
        "restPerSecond": 7,
    }
    assert put(node, LIMITS, {"inFlight": None}, "operator") == {**nothing, "restPerSecond": 7}
    assert get(node, LIMITS)["restPerSecond"] == 7
    assert get(node, "/audit")["entries"][0]["detail"] == "in_flight_max default"


@pytest.mark.parametrize(
    "body",
    [{"inFlight": -1}, {"restPerSecond": 0}, {"hellosPerSecond": 1e9}, {"storedBytes": "1"}, {"storedBytes": 1 << 60}],
)
def test_limits_out_of_range_are_refused(body: dict[str, object]) -> None:
    assert refused(Node(), "PUT", LIMITS, body, "operator").code == "validation-error"


def test_a_tenant_that_cannot_be_is_refused() -> None:
    node = Node()
    assert refused(node, "PUT", "/tenants/%00/limits", {"inFlight": 1}, "operator").code == "validation-error"
    assert refused(node, "PUT", f"/tenants/{'x' * 300}/limits", {"inFlight": 1}, "operator").code == "validation-error"


def test_the_node_says_what_it_is() -> None:
    shown = get(Node(), "/node")
    assert shown["nodeId"] == "node-1" and shown["durability"] == "fsync" and shown["certificateDaysLeft"] is None


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "limit=1&limit=2", "cursor=!", "cursor=" + "a" * 200, "limit=%ff"]
)
def test_a_senseless_page_is_refused(query: str) -> None:
    node = Node()
    node.create()
    for path in ("/queues", "/queues/email/tasks", "/dlq", "/audit"):
        assert refused(node, "GET", path, query=query).code == "validation-error", path


def test_a_head_is_a_get_without_its_body() -> None:
    assert Node().call("HEAD", ADMIN + "/queues", token="admin").status == 200
