"""What the tests of operators' routes share."""

from typing import Any

from tests.api.support import ADMIN, Answer, Node


def get(node: Node, path: str, token: str = "admin", query: str = "") -> Any:
    """What a GET shows."""
    answer = node.call("GET", ADMIN + path, token=token, query=query)
    assert answer.status == 200, answer.body
    return answer.json


def post(node: Node, path: str, body: Any = b"", token: str = "admin", query: str = "") -> Any:
    """What a POST answers."""
    answer = node.call("POST", ADMIN + path, body, token, query=query)
    assert answer.status == 200, answer.body
    return answer.json


def put(node: Node, path: str, body: Any, token: str = "admin", query: str = "") -> Any:
    """What a PUT answers."""
    answer = node.call("PUT", ADMIN + path, body, token, query=query)
    assert answer.status == 200, answer.body
    return answer.json


def refused(node: Node, method: str, path: str, body: Any = b"", token: str = "admin", query: str = "") -> Answer:
    """A refusal."""
    answer = node.call(method, ADMIN + path, body, token, query=query)
    assert answer.status >= 400, answer.body
    return answer


def dead_letters(node: Node, count: int, command: str = "email") -> list[str]:
    """Ids of so many new dead letters, the oldest first."""
    ids = [node.create(command, maxAttempts=1)["id"] for _ in range(count)]
    for _ in ids:
        task = node.claim(commands=[command])
        assert node.act(task["id"], "nack", {"reason": "broken"}).json["status"] == "dlq"
        node.now += 1
    return ids


def ids_of(page: dict[str, Any]) -> list[str]:
    """The ids on a page of tasks."""
    return [task["id"] for task in page["tasks"]]


def audited(node: Node, token: str = "admin", query: str = "") -> list[tuple[str, str, str, str]]:
    """The audit, newest first."""
    entries = get(node, "/audit", token, query)["entries"]
    return [(each["subject"], each["action"], each["target"], each["detail"]) for each in entries]
