"""What monitoring asks for."""

from tests.api.support import Node


def test_liveness_and_metrics_need_no_token() -> None:
    node = Node()
    assert node.call("GET", "/healthz").json == {"status": "ok"}
    metrics = node.call("GET", "/metrics")
    assert metrics.body == b"codeq_up 1\ncodeq_two 2\n"
    assert metrics.content_type.startswith(b"text/plain")


def test_readiness_follows_the_node() -> None:
    node = Node()
    assert node.call("GET", "/readyz").status == 200
    node.is_ready = False
    answer = node.call("GET", "/readyz")
    assert (answer.status, answer.code) == (503, "unavailable")
    assert node.call("HEAD", "/healthz").status == 200
