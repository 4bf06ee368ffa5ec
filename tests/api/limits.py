"""Every limit of the REST contract, at it and one past it, as a table that any way of sending requests can run.

`{claimed}` in a path stands for the id of a task that the worker token has claimed, fresh for each case; `{finished}`
for that of a finished one. A case with status below 400 must succeed; every other one must change nothing.
"""

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

TASKS = "/v1/codeq/tasks"
MISSING = "01900000-0000-7000-8000-000000000000"
YEAR_SECONDS = 31_536_000
PAYLOAD_BYTES_MAX = 262_144

PRODUCER = "producer"
WORKER = "worker"
NOBODY = ""

VALIDATION = "validation-error"


class Case(NamedTuple):
    """One request and what must come of it; `code` is empty for a success. `token` is producer, worker or empty."""

    name: str
    method: str
    path: str
    token: str
    body: bytes
    status: int
    code: str
    headers: tuple[tuple[str, str], ...] = ()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _create(name: str, status: int, code: str, /, **fields: Any) -> Case:
    return Case(
        f"create: {name}", "POST", TASKS, PRODUCER, _json({"command": "limits", "payload": 1, **fields}), status, code
    )


def _raw(name: str, body: bytes, status: int = 400, code: str = VALIDATION, **more: Any) -> Case:
    return Case(f"create: {name}", "POST", TASKS, PRODUCER, body, status, code, **more)


def _claim(name: str, status: int, code: str, /, **fields: Any) -> Case:
    body = _json({"commands": ["nothing-here"], **fields})
    return Case(f"claim: {name}", "POST", TASKS + "/claim", WORKER, body, status, code)


def _claim_batch(name: str, status: int, code: str, /, **fields: Any) -> Case:
    body = _json({"commands": ["nothing-here"], **fields})
    return Case(f"claim batch: {name}", "POST", TASKS + "/claim/batch", WORKER, body, status, code)


def _act(action: str, name: str, status: int, code: str, /, **fields: Any) -> Case:
    if action == "result":
        fields = {"status": "COMPLETED", **fields}
    return Case(f"{action}: {name}", "POST", f"{TASKS}/{{claimed}}/{action}", WORKER, _json(fields), status, code)


def _nested(depth: int) -> bytes:
    """A create body with this many arrays and objects within each other."""
    return b'{"command":"limits","payload":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def _rfc(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{ms % 1000:03d}Z"


def cases(now_ms: int, slack_ms: int = 0) -> list[Case]:
    """The table for a node whose clock shows `now_ms`, give or take `slack_ms`, with default settings."""
    return [*_creates(now_ms, slack_ms), *_bodies(), *_claims(), *_owners(), *_reads(), *_routes()]


def _creates(now_ms: int, slack_ms: int) -> list[Case]:
    year = now_ms + YEAR_SECONDS * 1000
    quoted = PAYLOAD_BYTES_MAX - 2
    return [
        _create("all defaults", 201, ""),
        _create("command of 128", 201, "", command="a" * 128),
        _create("command of 129", 400, VALIDATION, command="a" * 129),
        _create("command empty", 400, VALIDATION, command=""),
        _create("command with every legal sign", 201, "", command="aZ09._:-"),
        _create("command with a space", 400, VALIDATION, command="a b"),
        _create("command with a line break at the end", 400, VALIDATION, command="a\n"),
        _create("command with a NUL", 400, VALIDATION, command="a\0"),
        _create("command with a letter beyond ASCII", 400, VALIDATION, command="é"),
        _create("command null", 400, VALIDATION, command=None),
        _create("command a number", 400, VALIDATION, command=1),
        _create("payload null", 201, "", payload=None),
        _create("payload at the limit", 201, "", payload="x" * quoted),
        _create("payload one past", 413, "payload-too-large", payload="x" * (quoted + 1)),
        _create("priority 0", 201, "", priority=0),
        _create("priority 255", 201, "", priority=255),
        _create("priority 256", 400, VALIDATION, priority=256),
        _create("priority -1", 400, VALIDATION, priority=-1),
        _create("priority null", 201, "", priority=None),
        _create("priority true", 400, VALIDATION, priority=True),
        _create("priority text", 400, VALIDATION, priority="5"),
        _create("priority 1.5", 400, VALIDATION, priority=1.5),
        _create("priority beyond 64 bits", 400, VALIDATION, priority=1 << 70),
        _create("maxAttempts 1", 201, "", maxAttempts=1),
        _create("maxAttempts 1000", 201, "", maxAttempts=1000),
        _create("maxAttempts 1001", 400, VALIDATION, maxAttempts=1001),
        _create("maxAttempts 0", 400, VALIDATION, maxAttempts=0),
        _create("delaySeconds 0", 201, "", delaySeconds=0),
        _create("delaySeconds a year", 201, "", delaySeconds=YEAR_SECONDS),
        _create("delaySeconds past a year", 400, VALIDATION, delaySeconds=YEAR_SECONDS + 1),
        _create("delaySeconds negative", 400, VALIDATION, delaySeconds=-1),
        _create("runAt a year ahead", 201, "", runAt=_rfc(year - slack_ms)),
        _create("runAt past a year", 400, VALIDATION, runAt=_rfc(year + slack_ms + 1)),
        _create("runAt in the past", 201, "", runAt="1969-01-01T00:00:00+01:00"),
        _create("runAt without offset", 400, VALIDATION, runAt="2026-05-18T12:00:00"),
        _create("runAt that is no date", 400, VALIDATION, runAt="2026-02-30T12:00:00Z"),
        _create("runAt empty", 400, VALIDATION, runAt=""),
        _create("runAt a number", 400, VALIDATION, runAt=1780000000),
        _create("webhook of 2048", 201, "", webhook="https://example.com/".ljust(2048, "a")),
        _create("webhook of 2049", 400, VALIDATION, webhook="https://example.com/".ljust(2049, "a")),
        _create("webhook of another scheme", 400, VALIDATION, webhook="ftp://example.com/"),
        _create("webhook without host", 400, VALIDATION, webhook="http:///path"),
        _create("webhook with a bad port", 400, VALIDATION, webhook="http://example.com:99999/"),
        _create("webhook with a line break", 400, VALIDATION, webhook="http://example.com/\r\nHost: x"),
        _create("idempotencyKey of 256", 201, "", idempotencyKey="k" * 256),
        _create("idempotencyKey of 257", 400, VALIDATION, idempotencyKey="k" * 257),
        _create("idempotencyKey empty", 400, VALIDATION, idempotencyKey=""),
        _create("traceParent of 128", 201, "", traceParent="t" * 128),
        _create("traceParent of 129", 400, VALIDATION, traceParent="t" * 129),
        _create("traceParent with a line break", 400, VALIDATION, traceParent="t\r\nx"),
        _create("traceState of 512", 201, "", traceState="t" * 512),
        _create("traceState of 513", 400, VALIDATION, traceState="t" * 513),
        _create("an unknown field", 201, "", colour="blue"),
        Case("create batch: 1000", "POST", TASKS + "/batch", PRODUCER, _json(_thousand()), 200, ""),
        Case("create batch: 1001", "POST", TASKS + "/batch", PRODUCER, _json([*_thousand(), 1]), 400, VALIDATION),
        Case("create batch: none", "POST", TASKS + "/batch", PRODUCER, b"[]", 200, ""),
        Case("create batch: no list", "POST", TASKS + "/batch", PRODUCER, b"{}", 400, VALIDATION),
        Case("create batch: a text", "POST", TASKS + "/batch", PRODUCER, b'"x"', 400, VALIDATION),
    ]


def _thousand() -> list[Any]:
    return [{"command": "limits", "payload": 1}] * 1000


def _bodies() -> list[Case]:
    good = b'{"command":"limits","payload":1}'

    def typed(value: str, status: int, code: str) -> Case:
        return _raw(f"Content-Type {value}", good, status, code, headers=(("Content-Type", value),))

    unsupported = "unsupported-media-type"
    return [
        _raw("depth 64", _nested(64), 201, ""),
        _raw("depth 65", _nested(65)),
        _raw("depth 100,000", _nested(100_000)),
        _raw("brackets within a text", b'{"command":"limits","payload":"' + b"[" * 100 + b'\\""}', 201, ""),
        _raw("no body", b""),
        _raw("no JSON", b"command=limits"),
        _raw("half a JSON", good[:-1]),
        _raw("two JSONs", good + good),
        _raw("an array", b"[" + good + b"]"),
        _raw("null", b"null"),
        _raw("a byte order mark", b"\xef\xbb\xbf" + good),
        _raw("no payload", b'{"command":"limits"}'),
        _raw("NaN", b'{"command":"limits","payload":NaN}'),
        _raw("invalid UTF-8 in the payload", b'{"command":"limits","payload":"\xff"}'),
        _raw("an overlong encoding", b'{"command":"limits","payload":"\xc0\xaf"}'),
        _raw("a lone surrogate", b'{"command":"limits","payload":"\\ud800"}'),
        _raw("a lone surrogate in the key", b'{"command":"limits","payload":1,"idempotencyKey":"\\ud800"}'),
        _raw("a control character in a text", b'{"command":"limits","payload":"\x01"}'),
        _raw("a number out of range in the payload", b'{"command":"limits","payload":1.5e400}', 201, ""),
        typed("application/json", 201, ""),
        typed("Application/JSON; Charset=UTF-8", 201, ""),
        typed('application/json;charset="utf-8"', 201, ""),
        typed("application/json; charset=latin-1", 415, unsupported),
        typed("text/plain", 415, unsupported),
        typed("application/x-www-form-urlencoded", 415, unsupported),
        typed("application/jsonp", 415, unsupported),
        _raw("compressed", good, 415, unsupported, headers=(("Content-Encoding", "gzip"),)),
    ]


def _claims() -> list[Case]:
    names = [f"nothing-{number}" for number in range(101)]
    return [
        Case("claim: an empty body", "POST", TASKS + "/claim", WORKER, b"", 200, ""),
        _claim("leaseSeconds 1", 204, "", leaseSeconds=1),
        _claim("leaseSeconds 86400", 204, "", leaseSeconds=86_400),
        _claim("leaseSeconds 86401", 400, VALIDATION, leaseSeconds=86_401),
        _claim("leaseSeconds 0", 400, VALIDATION, leaseSeconds=0),
        _claim("waitSeconds 31", 400, VALIDATION, waitSeconds=31),
        _claim("waitSeconds -1", 400, VALIDATION, waitSeconds=-1),
        _claim("waitSeconds true", 400, VALIDATION, waitSeconds=True),
        _claim("workerId of 128", 204, "", workerId="w" * 128),
        _claim("workerId of 129", 400, VALIDATION, workerId="w" * 129),
        _claim("workerId empty", 400, VALIDATION, workerId=""),
        _claim("100 commands", 204, "", commands=names[:100]),
        _claim("101 commands", 400, VALIDATION, commands=names),
        _claim("a bad command", 400, VALIDATION, commands=["a b"]),
        _claim("commands a text", 400, VALIDATION, commands="email"),
        _claim_batch("count 1", 204, "", count=1),
        _claim_batch("count 100", 204, "", count=100),
        _claim_batch("count 101", 400, VALIDATION, count=101),
        _claim_batch("count 0", 400, VALIDATION, count=0),
        _claim_batch("no count", 400, VALIDATION),
        _claim_batch("count null", 400, VALIDATION, count=None),
    ]


def _owners() -> list[Case]:
    quoted = PAYLOAD_BYTES_MAX - 2
    artifact = {"name": "n" * 256, "url": "u" * 2048}
    results = TASKS + "/batch/results"
    missing = {"taskId": MISSING, "status": "COMPLETED"}
    return [
        _act("result", "COMPLETED", 200, ""),
        _act("result", "FAILED without error", 200, "", status="FAILED"),
        _act("result", "another status", 400, VALIDATION, status="DLQ"),
        _act("result", "status in lower case", 400, VALIDATION, status="completed"),
        _act("result", "no status", 400, VALIDATION, status=None),
        _act("result", "at the limit", 200, "", result="x" * quoted),
        _act("result", "one past", 413, "payload-too-large", result="x" * (quoted + 1)),
        _act("result", "error of 4096", 200, "", status="FAILED", error="e" * 4096),
        _act("result", "error of 4097", 400, VALIDATION, status="FAILED", error="e" * 4097),
        _act("result", "error of 4098 bytes in 2049 letters", 400, VALIDATION, error="é" * 2049),
        _act("result", "100 artifacts", 200, "", artifacts=[{"name": "a", "url": "b"}] * 100),
        _act("result", "101 artifacts", 400, VALIDATION, artifacts=[{"name": "a", "url": "b"}] * 101),
        _act("result", "the longest artifact", 200, "", artifacts=[artifact]),
        _act("result", "an artifact's name too long", 400, VALIDATION, artifacts=[{**artifact, "name": "n" * 257}]),
        _act("result", "an artifact's url too long", 400, VALIDATION, artifacts=[{**artifact, "url": "u" * 2049}]),
        _act("result", "an artifact without url", 400, VALIDATION, artifacts=[{"name": "a"}]),
        _act("result", "workerId too long", 400, VALIDATION, workerId="w" * 129),
        _act("result", "a leaseId of another form", 409, "lease-lost", leaseId="1"),
        _act("result", "leaseId a number", 400, VALIDATION, leaseId=1),
        _act("heartbeat", "no field", 200, ""),
        _act("heartbeat", "extendSeconds 1", 200, "", extendSeconds=1),
        _act("heartbeat", "extendSeconds 86400", 200, "", extendSeconds=86_400),
        _act("heartbeat", "extendSeconds 86401", 400, VALIDATION, extendSeconds=86_401),
        _act("heartbeat", "extendSeconds 0", 400, VALIDATION, extendSeconds=0),
        _act("nack", "no field", 200, ""),
        _act("nack", "delaySeconds 0", 200, "", delaySeconds=0),
        _act("nack", "delaySeconds a year", 200, "", delaySeconds=YEAR_SECONDS),
        _act("nack", "delaySeconds past a year", 400, VALIDATION, delaySeconds=YEAR_SECONDS + 1),
        _act("nack", "delaySeconds negative", 400, VALIDATION, delaySeconds=-1),
        _act("nack", "reason of 4096", 200, "", reason="r" * 4096),
        _act("nack", "reason of 4097", 400, VALIDATION, reason="r" * 4097),
        _act("abandon", "no field", 200, ""),
        _act("abandon", "workerId a number", 400, VALIDATION, workerId=7),
        Case(
            "result: no such task",
            "POST",
            f"{TASKS}/{MISSING}/result",
            WORKER,
            b'{"status":"FAILED"}',
            404,
            "not-found",
        ),
        Case("result: no id", "POST", f"{TASKS}/nonsense/result", WORKER, b'{"status":"FAILED"}', 404, "not-found"),
        Case("result batch: 1000", "POST", results, WORKER, _json([missing] * 1000), 200, ""),
        Case("result batch: 1001", "POST", results, WORKER, _json([missing] * 1001), 400, VALIDATION),
        Case("result batch: no list", "POST", results, WORKER, b"{}", 400, VALIDATION),
    ]


def _reads() -> list[Case]:
    def wait(value: str, status: int, code: str) -> Case:
        path = f"{TASKS}/{{finished}}/result?waitSeconds={value}"
        return Case(f"result read: waitSeconds={value}", "GET", path, PRODUCER, b"", status, code)

    return [
        wait("0", 200, ""),
        wait("60", 200, ""),
        wait("61", 400, VALIDATION),
        wait("-1", 400, VALIDATION),
        wait("", 400, VALIDATION),
        wait("1.5", 400, VALIDATION),
        wait("%D9%A3", 400, VALIDATION),
        wait("1&waitSeconds=2", 400, VALIDATION),
        wait("1&" + "a=b&" * 40, 400, VALIDATION),
        Case("read: no such task", "GET", f"{TASKS}/{MISSING}", WORKER, b"", 404, "not-found"),
        Case("read: no id", "GET", f"{TASKS}/nonsense", WORKER, b"", 404, "not-found"),
        Case("result read: no such task", "GET", f"{TASKS}/{MISSING}/result", WORKER, b"", 404, "not-found"),
    ]


def _routes() -> list[Case]:
    not_allowed, unauthenticated = "method-not-allowed", "unauthenticated"
    return [
        Case("unknown path", "GET", "/v1/codeq/nothing", NOBODY, b"", 404, "not-found"),
        Case("unknown root", "GET", "/", NOBODY, b"", 404, "not-found"),
        Case("a slash too many", "POST", TASKS + "/", PRODUCER, b"", 404, "not-found"),
        Case("below a task", "GET", f"{TASKS}/{MISSING}/colour", WORKER, b"", 404, "not-found"),
        Case("too deep", "GET", f"{TASKS}/{MISSING}/result/x", WORKER, b"", 404, "not-found"),
        Case("GET of creates", "GET", TASKS, PRODUCER, b"", 405, not_allowed),
        Case("DELETE of a task", "DELETE", f"{TASKS}/{MISSING}", PRODUCER, b"", 405, not_allowed),
        Case("GET of claim", "GET", TASKS + "/claim", WORKER, b"", 405, not_allowed),
        Case("POST of metrics", "POST", "/metrics", NOBODY, b"", 405, not_allowed),
        Case("create without token", "POST", TASKS, NOBODY, b"{", 401, unauthenticated),
        Case("create with a worker's token", "POST", TASKS, WORKER, b"{", 401, unauthenticated),
        Case("claim with a producer's token", "POST", TASKS + "/claim", PRODUCER, b"{", 401, unauthenticated),
        Case("read without token", "GET", f"{TASKS}/{MISSING}", NOBODY, b"", 401, unauthenticated),
        Case("raft status without token", "GET", "/v1/codeq/raft/status", NOBODY, b"", 401, unauthenticated),
        Case("raft status", "GET", "/v1/codeq/raft/status", WORKER, b"", 200, ""),
        Case("liveness", "GET", "/healthz", NOBODY, b"", 200, ""),
    ]
