"""The API over the real state machine, with a store in a dictionary and groups that become durable when told to."""

import json
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

from appliance.api.admin.render import NodeJson
from appliance.api.app import Api, ApiSettings
from appliance.api.canonical import same_json, same_request
from appliance.api.rates import Rate, Rates
from appliance.auth.caller import WORKER_SCOPES, Caller, Kind
from appliance.engine.group import TableWrites
from appliance.engine.rows import DamagedRow, unseal
from appliance.engine.tables import TABLE_COUNT
from appliance.errors import UNAUTHENTICATED, Problem
from appliance.mux.exchange import Request, Response
from appliance.tasks.scheduler import Scheduler
from appliance.tasks.settings import TaskSettings

START_MS = 1_780_000_000_000
"""2026-05-28T20:26:40.000Z."""

TASKS = "/v1/codeq/tasks"
ADMIN = "/v1/codeq/admin"

FACTS = NodeJson("node-1", "1.2.3", 1, "2026-05-28T20:26:40.000Z", 12.5, "fsync", 4096, 1 << 30, None)


class DictionaryStore:
    """A store that a test can look into."""

    def __init__(self) -> None:
        self.tables: list[dict[bytes, bytes]] = [{} for _ in range(TABLE_COUNT)]
        self.fail_with: Exception | None = None

    def get(self, table: int, key: bytes) -> bytes | None:
        if self.fail_with is not None:
            raise self.fail_with
        assert key, "an empty key is an error in the real store"
        return self.tables[table].get(key)

    def get_all(self, table: int, keys: Sequence[bytes], on_damage: Callable[[DamagedRow], None]) -> dict[bytes, bytes]:
        return {key: row for key in keys if (row := self.get(table, key)) is not None}

    def scan(self, table: int, low: bytes, high: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        return sorted((key, row) for key, row in self.tables[table].items() if low <= key < high)[:limit]

    def release(self) -> None:
        pass


class ManualSeam:
    """Holds one group until `commit`."""

    def __init__(self, store: DictionaryStore) -> None:
        self.store = store
        self.held: tuple[int, list[TableWrites]] | None = None

    def ready(self) -> bool:
        return self.held is None

    def submit(self, number: int, writes: list[TableWrites]) -> None:
        self.held = number, writes

    def commit(self) -> int:
        assert self.held is not None
        number, writes = self.held
        self.held = None
        for part in writes:
            table = self.store.tables[part.table]
            for key in part.deletes:
                del table[key]
            for key, row in part.puts:
                table[key] = unseal(part.table, key, row)
        return number


class Answer:
    """A response as a client would see it."""

    def __init__(self, response: Response) -> None:
        self.status = response.status
        self.headers = dict(response.headers)
        self.body = response.body if response.chunks is None else b"".join(response.chunks)
        self.content_type = response.content_type

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["code"])


class Client:
    """The channel of one request: notes its answer, and can leave."""

    def __init__(self) -> None:
        self.responses: list[Response] = []
        self.holds = 0
        self.request: Request | None = None

    def answer(self, request: Request, response: Response) -> None:
        self.responses.append(response)

    def abandoned(self, request: Request) -> None:
        pass

    def wake(self) -> None:
        pass

    def hold(self) -> None:
        self.holds += 1

    def release(self) -> None:
        self.holds -= 1

    def leave(self) -> None:
        assert self.request is not None
        self.request.client_left()

    @property
    def answered(self) -> bool:
        return bool(self.responses)

    @property
    def answer_once(self) -> Answer:
        assert len(self.responses) == 1, self.responses
        return Answer(self.responses[0])


def caller(
    kind: Kind = "worker",
    tenant: str = "acme",
    subject: str = "",
    commands: Iterable[str] | None = None,
    scopes: Iterable[str] = WORKER_SCOPES,
    *,
    admin: bool = False,
    operator: bool = False,
) -> Caller:
    return Caller(
        tenant=tenant,
        subject=subject or kind,
        kind=kind,
        commands=None if commands is None else frozenset(commands),
        scopes=frozenset(scopes),
        admin=admin,
        operator=operator,
        expires=float("inf"),
    )


class Tokens:
    """Knows tokens by name."""

    def __init__(self) -> None:
        self.callers = {
            "producer": caller("producer"),
            "worker": caller("worker"),
            "worker-2": caller("worker", subject="worker-2"),
            "email-worker": caller("worker", subject="email-worker", commands=["email"]),
            "powerless": caller("worker", subject="powerless", scopes=[]),
            "idle": caller("worker", subject="idle", commands=[]),
            "other-producer": caller("producer", tenant="other"),
            "other-worker": caller("worker", tenant="other"),
            "admin": caller("producer", subject="ann", admin=True),
            "other-admin": caller("producer", tenant="other", subject="otto", admin=True),
            "operator": caller("producer", tenant="ops", subject="olga", admin=True, operator=True),
        }

    def authenticate(self, header: bytes | None, now_seconds: float, peer: str = "") -> Caller:
        found = self.callers.get((header or b"").decode("latin-1").removeprefix("Bearer "))
        if found is None:
            raise Problem(UNAUTHENTICATED, "a bearer token is required")
        return found


class Node:
    """An API and all that is behind it."""

    def __init__(
        self,
        settings: ApiSettings | None = None,
        tasks: TaskSettings | None = None,
        rates: dict[str, Rate] | None = None,
    ) -> None:
        self._rates = rates or {}
        self.now = START_MS
        self.store = DictionaryStore()
        self.seam = ManualSeam(self.store)
        self.errors: list[BaseException] = []
        self.wakes = 0
        self.tokens = Tokens()
        self.is_ready = True
        self._settings = settings or ApiSettings()
        self._task_settings = tasks or TaskSettings(backoff_policy="fixed")
        self.restart()

    def restart(self) -> None:
        """A new process on what is durable."""
        self.seam.held = None
        self.scheduler = Scheduler(
            self.store,
            self.seam,
            self._task_settings,
            Random(1),
            wake=self._wake,
            now=self.now,
            same_json=same_json,
            same_request=same_request,
            on_error=self.errors.append,
        )
        self.rates = Rates(
            self._rates, lambda tenant: self.scheduler.tasks.registry.control_of(tenant), lambda: self.now
        )
        self.api = Api(
            self.scheduler,
            self.tokens,
            self._settings,
            lambda: self.now,
            lambda: self.now / 1000,
            lambda: [b"codeq_up 1\n", b"codeq_two 2\n"],
            lambda: self.is_ready,
            lambda: FACTS,
            self.rates,
        )

    def _wake(self) -> None:
        self.wakes += 1

    def begin(
        self,
        method: str,
        path: str,
        body: Any = b"",
        token: str = "",
        headers: dict[bytes, bytes] | None = None,
        query: str = "",
    ) -> Client:
        """Sends a request and decides nothing yet."""
        all_headers = dict(headers or {})
        if token:
            all_headers[b"authorization"] = b"Bearer " + token.encode()
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        client = Client()
        client.request = Request(client, method, path, query, all_headers, content, "127.0.0.1", True, "r1", 0.0)
        self.api.handle(client.request)
        return client

    def settle(self) -> None:
        """Decides what there is to decide and makes it durable, until nothing is left and nobody wakes the pump."""
        wakes = -1
        while wakes != self.wakes:
            wakes = self.wakes
            self.scheduler.pump(self.now)
            if self.seam.held is not None:
                self.scheduler.durable(self.seam.commit(), self.now)
        assert self.errors == []

    def pass_ms(self, ms: int) -> None:
        """Lets time pass, as the driver would: every moment at which there is something to do is visited."""
        end = self.now + ms
        self.settle()
        while (moment := self.scheduler.next_time()) <= end:
            self.now = max(self.now, moment)
            self.settle()
        self.now = end
        self.settle()

    def call(self, method: str, path: str, body: Any = b"", token: str = "", **more: Any) -> Answer:
        """Sends a request and settles; the answer."""
        client = self.begin(method, path, body, token, **more)
        self.settle()
        return client.answer_once

    def create(self, command: str = "email", token: str = "producer", **fields: Any) -> dict[str, Any]:
        """A new task."""
        answer = self.call("POST", TASKS, {"command": command, "payload": {"a": 1}, **fields}, token)
        assert answer.status == 201, answer.body
        task: dict[str, Any] = answer.json
        return task

    def claim(self, token: str = "worker", **fields: Any) -> dict[str, Any]:
        """A claimed task."""
        answer = self.call("POST", TASKS + "/claim", fields, token)
        assert answer.status == 200, answer.body
        task: dict[str, Any] = answer.json
        return task

    def act(self, task_id: str, action: str, body: Any = b"", token: str = "worker") -> Answer:
        """An action of an owner."""
        return self.call("POST", f"{TASKS}/{task_id}/{action}", body, token)

    def read(self, task_id: str, token: str = "producer") -> Any:
        """The task as it is."""
        return self.call("GET", f"{TASKS}/{task_id}", token=token).json
