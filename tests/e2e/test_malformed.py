"""Bad requests of every kind against a real node: each gets what the contract says and changes nothing.

The tables are `bad_http1`, `bad_http2`, `bad_tokens` and the limits of the REST contract in `tests.api.limits`.
"""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from appliance.auth.caller import WORKER_SCOPES
from tests.api import limits
from tests.e2e import bad_http1, bad_http2, bad_tokens
from tests.e2e.bad_tokens import TENANT, Keys, Token
from tests.e2e.frames import PREFACE, Outcome, Peer, settings
from tests.e2e.node import Node
from tests.e2e.raw import answers, read_answer, send
from tests.e2e.user import BASE, User, parsed, refusal

PROBE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
SLACK_MS = 60_000


class Canary:
    """A tenant with one task in each state that a request could touch, and what the node knows of it."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.user = User(node, TENANT)
        self.waiting = self.user.created("waiting", {"canary": True}, idempotencyKey="canary")["id"]
        self.claimed = self.user.created("claimed")["id"]
        self.user.claimed("claimed", leaseSeconds=86_400)
        self.finished = self.user.created("finished")["id"]
        self.user.claimed("finished")
        self.user.act("result", self.finished, status="COMPLETED", result=1)
        self.state = self.look()

    def look(self) -> Any:
        """The tasks and the counts of all queues of the tenant."""
        tasks = [self.user.task(task) for task in (self.waiting, self.claimed, self.finished)]
        text = self.user.client.get("/metrics").text
        return tasks, sorted(line for line in text.splitlines() if f'tenant="{TENANT}"' in line)


@pytest.fixture(scope="module")
def shared_canary(plain_node: Node) -> Iterator[Canary]:
    """One canary for all tables: nothing in them may change it."""
    canary = Canary(plain_node)
    yield canary
    canary.user.client.close()


@pytest.fixture
def canary(shared_canary: Canary) -> Iterator[Canary]:
    """The canary, which must be as it was after the test."""
    yield shared_canary
    assert shared_canary.look() == shared_canary.state


def names(table: Any) -> list[str]:
    """Test ids of a table's rows."""
    return [row[0].replace(" ", "-")[:70] for row in table]


# HTTP/1.1.


def with_token(data: bytes, canary: Canary) -> bytes:
    """Bytes of the HTTP/1.1 table with the line of the token filled in."""
    return data.replace(b"@\r\n", f"Authorization: Bearer {canary.user.producer}\r\n".encode())


@pytest.mark.parametrize("bad", bad_http1.TABLE, ids=names(bad_http1.TABLE))
def test_bad_http1_is_refused(canary: Canary, bad: bad_http1.Bad) -> None:
    data = with_token(bad.data, canary)
    with contextlib.closing(canary.node.connect()) as sock:
        if bad.lives:
            stream = send(sock, data)
            answer = read_answer(stream)
            assert answer is not None and (answer.status, answer.code) == (bad.status, bad.code)
            send(sock, PROBE)
            after = read_answer(stream)
            assert after is not None and after.status == 200
            return
        found = answers(sock, data)
    if bad.status == bad_http1.NOTHING:
        assert found == []
        return
    answer = found[-1]
    assert (answer.status, answer.code) == (bad.status, bad.code), found
    assert answer.headers["connection"] == "close" and answer.headers["x-request-id"]
    assert [each.status for each in found[:-1]] in ([], [200], [400])


@pytest.mark.parametrize(("where", "data"), bad_http1.CUT_OFF, ids=names(bad_http1.CUT_OFF))
def test_a_request_that_breaks_off_changes_nothing(canary: Canary, where: str, data: bytes) -> None:
    with contextlib.closing(canary.node.connect()) as sock:
        sock.sendall(with_token(data, canary))
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1_000) == b"", where


def test_plaintext_on_a_tls_address_is_told_so(tls_node: Node) -> None:
    with contextlib.closing(tls_node.connect(tls=False)) as sock:
        (answer,) = answers(sock, PROBE)
    assert (answer.status, answer.code) == (400, "validation-error")
    with contextlib.closing(tls_node.connect(tls=False)) as sock:
        assert Peer(sock).outcome(0) == Outcome("closed")


def test_a_protocol_that_is_not_offered_is_refused_in_the_handshake(tls_node: Node) -> None:
    with pytest.raises(OSError, match=r"(?i)application.protocol"):
        tls_node.connect(alpn=("ftp",))


@pytest.mark.parametrize(("alpn", "data"), [("h2", PROBE), ("http/1.1", PREFACE + settings())])
def test_the_first_bytes_must_be_the_agreed_protocol(tls_node: Node, alpn: str, data: bytes) -> None:
    with contextlib.closing(tls_node.connect(alpn=(alpn,))) as sock:
        sock.sendall(data)
        assert sock.recv(1_000) == b""


# HTTP/2.


@pytest.mark.parametrize("bad", bad_http2.TABLE, ids=names(bad_http2.TABLE))
def test_bad_http2_is_refused(canary: Canary, bad: bad_http2.Bad) -> None:
    usual = bad_http2.good(canary.user.producer)
    with contextlib.closing(canary.node.connect()) as sock:
        peer = Peer(sock)
        bad.send(peer, usual)
        assert peer.outcome(bad.stream) == bad.outcome
        if bad.outcome.kind == "goaway":
            assert peer.outcome(0).kind == "goaway", "the connection is closed behind it"
        else:
            peer.request(101, [(":method", "GET"), *usual[1:2], (":path", "/healthz"), *usual[3:4]])
            assert peer.outcome(101) == Outcome("status", 200, "")


def test_a_bad_preface_is_closed(canary: Canary) -> None:
    with contextlib.closing(canary.node.connect()) as sock:
        assert Peer(sock, greeting=PREFACE[:-4] + b"XX\r\n").outcome(0).kind == "closed"


def test_the_stream_above_the_advertised_number_is_refused_alone(canary: Canary) -> None:
    usual = bad_http2.good(canary.user.producer)
    with contextlib.closing(canary.node.connect()) as sock:
        peer = Peer(sock)
        for number in range(101):
            peer.send(peer.headers(2 * number + 1, usual, end=False))
        assert peer.outcome(201) == Outcome("reset", 7)


# Tokens.


@pytest.fixture(scope="module")
def keys(plain_node: Node) -> Keys:
    """The node's private keys."""
    return Keys.load(plain_node.key("producer"), plain_node.key("worker"))


@pytest.mark.parametrize("bad", bad_tokens.TABLE, ids=names(bad_tokens.TABLE))
def test_a_bad_token_is_refused(canary: Canary, keys: Keys, bad: Token) -> None:
    token = bad.make(keys)
    for _ in range(2):
        response = canary.user.post("/tasks", bad_http1.GOOD, token=token)
        assert refusal(response) == (401, "unauthenticated")
        assert response.headers["www-authenticate"] == "Bearer"
        assert len(token) < 10 or token not in response.text


@pytest.mark.parametrize("good", bad_tokens.ACCEPTED, ids=names(bad_tokens.ACCEPTED))
def test_a_token_at_the_limit_is_accepted(canary: Canary, keys: Keys, good: Token) -> None:
    assert canary.user.get(f"/tasks/{canary.waiting}", token=good.make(keys)).status_code == 200


@pytest.mark.parametrize(("name", "header"), bad_tokens.HEADERS, ids=names(bad_tokens.HEADERS))
def test_a_bad_authorization_header_is_refused(canary: Canary, name: str, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.replace("{}", canary.user.producer)}
    response = canary.user.client.post(f"{BASE}/tasks", content=bad_http1.GOOD, headers=headers)
    assert refusal(response) == (401, "unauthenticated"), name


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "bEaReR"])
def test_the_scheme_is_matched_without_case(canary: Canary, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {canary.user.producer}"}
    assert canary.user.client.get(f"{BASE}/tasks/{canary.waiting}", headers=headers).status_code == 200


@pytest.mark.parametrize("scope", [scope for scope in WORKER_SCOPES if scope != "codeq:subscribe"])
def test_a_worker_without_the_scope_is_refused(canary: Canary, scope: str) -> None:
    scopes = tuple(each for each in WORKER_SCOPES if each != scope)
    token = canary.node.mint("worker", TENANT, subject=f"{TENANT}-worker", scopes=scopes)
    action = scope.partition(":")[2]
    path = "/tasks/claim" if action == "claim" else f"/tasks/{canary.claimed}/{action}"
    assert refusal(canary.user.post(path, {"status": "COMPLETED"}, token=token)) == (403, "permission-denied")


@pytest.mark.parametrize(
    ("commands", "asked"), [((), []), ((), ["waiting"]), (("other",), ["waiting"]), (("other",), ["other", "waiting"])]
)
def test_a_worker_may_claim_only_its_commands(canary: Canary, commands: tuple[str, ...], asked: list[str]) -> None:
    token = canary.node.mint("worker", TENANT, commands=commands)
    response = canary.user.post("/tasks/claim", {"commands": asked}, token=token)
    assert refusal(response) == (403, "permission-denied")


def test_a_worker_that_names_no_command_gets_its_own_only(canary: Canary) -> None:
    token = canary.node.mint("worker", TENANT, commands=("other",))
    assert canary.user.post("/tasks/claim", {}, token=token).status_code == 204


# Bodies and limits.


ALL_CASES = limits.cases(int(time.time() * 1000), SLACK_MS)
GOOD_NAMES = [case.name for case in ALL_CASES if case.status < 400]
BAD_NAMES = [case.name for case in ALL_CASES if case.status >= 400]


@pytest.fixture(scope="module")
def cases() -> dict[str, limits.Case]:
    """The table by name, made when its tests begin: some limits count from now."""
    return {case.name: case for case in limits.cases(int(time.time() * 1000), SLACK_MS)}


@pytest.fixture(scope="module", params=[False, True], ids=["http1", "http2"])
def client(plain_node: Node, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """A client for the tables, over either protocol."""
    with plain_node.client(http2=request.param) as one:
        yield one


def run(case: limits.Case, client: httpx.Client, user: User, claimed: str, finished: str) -> None:
    """Send one case and hold the answer against it."""
    headers = dict(case.headers)
    if case.token:
        headers["Authorization"] = f"Bearer {user.producer if case.token == limits.PRODUCER else user.worker}"
    path = case.path.replace("{claimed}", claimed).replace("{finished}", finished)
    response = client.request(case.method, path, content=case.body, headers=headers)
    if case.status >= 400:
        assert refusal(response) == (case.status, case.code)
        assert "allow" in response.headers or case.status != 405
    else:
        assert response.status_code == case.status, response.text


@pytest.mark.parametrize("name", BAD_NAMES, ids=[name[:70] for name in BAD_NAMES])
def test_one_past_a_limit_is_refused(
    canary: Canary, client: httpx.Client, cases: dict[str, limits.Case], name: str
) -> None:
    run(cases[name], client, canary.user, canary.claimed, canary.finished)


@pytest.mark.parametrize("name", GOOD_NAMES, ids=[name[:70] for name in GOOD_NAMES])
def test_at_a_limit_is_accepted(
    plain_node: Node,
    client: httpx.Client,
    cases: dict[str, limits.Case],
    name: str,
    request: pytest.FixtureRequest,
) -> None:
    case = cases[name]
    user = User(plain_node, request.node.name[:200], client=client)
    task = ""
    if "{" in case.path or case.name == "claim: an empty body":
        task = user.created("leased")["id"]
    if "{" in case.path:
        user.claimed("leased")
    if "{finished}" in case.path:
        user.act("result", task, status="COMPLETED")
    run(case, client, user, task, task)


def test_the_longest_wait_is_accepted(user: User) -> None:
    user.created("wait")
    assert user.claim("wait", waitSeconds=30).status_code == 200


def test_the_largest_body_is_read_and_one_byte_more_is_not(canary: Canary) -> None:
    whole = b'{"command":"bad command","payload":1}'.ljust(bad_http1.LIMITS.body_bytes)
    assert refusal(canary.user.post("/tasks", whole, token=canary.user.producer)) == (400, "validation-error")
    response = canary.user.post("/tasks", whole + b" ", token=canary.user.producer)
    assert refusal(response) == (413, "payload-too-large")


def test_a_bad_item_fails_alone(user: User) -> None:
    good = {"command": "item", "payload": 1}
    bad: list[Any] = [
        1,
        None,
        [],
        {},
        {**good, "priority": 256},
        {**good, "payload": "x" * limits.PAYLOAD_BYTES_MAX},
        {**good, "idempotencyKey": "k" * 257},
    ]
    items = parsed(user.post("/tasks/batch", json.loads(json.dumps([good, *bad, good])), token=user.producer))
    codes = ["" if "task" in item else item["error"]["code"] for item in items]
    assert codes == ["", *["validation-error"] * 5, "payload-too-large", "validation-error", ""]


def test_the_same_key_twice_in_a_batch_makes_one_task(user: User) -> None:
    keyed = {"command": "twice", "payload": 1, "idempotencyKey": "k"}
    items = parsed(user.post("/tasks/batch", [keyed, keyed, {**keyed, "payload": 2}], token=user.producer))
    assert items[0]["task"]["id"] == items[1]["task"]["id"] and items[1]["replayed"] is True
    assert items[2]["error"]["code"] == "idempotency-conflict"
