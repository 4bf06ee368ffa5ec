"""Webhooks of a real node to a real receiver."""

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx

from appliance.auth.caller import PRODUCER, WORKER
from tests.e2e.node import Node
from tests.webhooks.receiver import Receiver

SECONDS = 15.0
TASKS = "/v1/codeq/tasks"
QUICK = {"CODEQ_WEBHOOKS_BACKOFF_BASE_SECONDS": "1", "CODEQ_WEBHOOKS_BACKOFF_CAP_SECONDS": "1"}


class Site:
    """A node, a receiver, and a client with both tokens."""

    def __init__(self, node: Node, receiver: Receiver, client: httpx.AsyncClient) -> None:
        self.node = node
        self.receiver = receiver
        self._client = client

    async def call(self, method: str, path: str, body: Any = None, kind: str = WORKER) -> Any:
        headers = {"Authorization": f"Bearer {self.node.token(PRODUCER if kind == PRODUCER else WORKER)}"}
        answer = await self._client.request(method, self.node.url + path, json=body, headers=headers)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    async def create(self, path: str, **fields: Any) -> str:
        body = {"command": "c", "payload": None, "webhook": self.receiver.url(path), **fields}
        return str((await self.call("POST", TASKS, body, PRODUCER))["id"])

    async def claim(self, **fields: Any) -> str:
        return str((await self.call("POST", TASKS + "/claim", fields))["id"])

    async def wait(self, count: int) -> None:
        """Until the receiver has so many requests."""
        async with asyncio.timeout(SECONDS):
            while len(self.receiver.received) < count:
                await asyncio.sleep(0.02)

    async def metrics(self) -> dict[str, float]:
        return await asyncio.to_thread(self.node.metrics)

    async def until(self, name: str, value: float) -> None:
        """Until a metric has a value."""
        async with asyncio.timeout(SECONDS):
            while (await self.metrics()).get(name) != value:
                await asyncio.sleep(0.05)


def on_site(folder: Path, test: Callable[[Site], Awaitable[None]], **environ: str) -> None:
    async def run() -> None:
        node = Node(folder / "node", plaintext=True, environ={**QUICK, **environ})
        try:
            await asyncio.to_thread(node.up)
            async with Receiver() as receiver, httpx.AsyncClient(trust_env=False, timeout=SECONDS) as client:
                await test(Site(node, receiver, client))
        finally:
            node.kill()

    asyncio.run(run())


def test_every_way_to_an_end_reaches_the_receiver_signed(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        for way in ("single", "batch", "nack", "expired"):
            await site.create(f"/ok/{way}", maxAttempts=1)
            task = await site.claim(leaseSeconds=1)
            if way == "single":
                await site.call("POST", f"{TASKS}/{task}/result", {"status": "COMPLETED", "result": {"n": 1}})
            elif way == "batch":
                await site.call("POST", f"{TASKS}/batch/results", [{"taskId": task, "status": "FAILED", "error": "e"}])
            elif way == "nack":
                await site.call("POST", f"{TASKS}/{task}/nack", {"reason": "no"})
        await site.wait(4)
        said = {each.path[4:]: (each.json["status"], each.json["error"]) for each in site.receiver.received}
        assert said == {
            "single": ("COMPLETED", None), "batch": ("FAILED", "e"), "nack": ("DLQ", "no"),
            "expired": ("DLQ", "lease expired"),
        }  # fmt: skip
        secret = (site.node.folder / "webhook.secret").read_text().strip().encode()
        for each in site.receiver.received:
            signed = each.headers["x-codeq-timestamp"].encode() + b"." + each.body
            assert each.headers["x-codeq-signature"] == hmac.new(secret, signed, hashlib.sha256).hexdigest()
        await site.until("codeq_webhooks_sent_total", 4)
        assert (await site.metrics())["codeq_webhooks_waiting"] == 0

    on_site(tmp_path, test)


def test_what_failed_before_a_kill_is_tried_again_after_it(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.create("/fail")
        task = await site.claim()
        await site.call("POST", f"{TASKS}/{task}/result", {"status": "COMPLETED"})
        await site.wait(1)
        await asyncio.to_thread(site.node.kill)
        await asyncio.to_thread(site.node.up)
        await site.until("codeq_webhooks_lapsed", 1)
        assert len({each.headers["x-codeq-delivery"] for each in site.receiver.received}) == 1
        assert 5 <= len(site.receiver.received) <= 6

    on_site(tmp_path, test)


def test_a_private_target_is_refused_at_the_create_and_by_what_its_name_resolves_to(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        headers = {"Authorization": f"Bearer {site.node.token(PRODUCER)}"}
        body = {"command": "c", "payload": None, "webhook": site.receiver.url()}
        answer = await site._client.post(site.node.url + TASKS, json=body, headers=headers)
        assert answer.status_code == 400 and "private" in answer.json()["message"]
        await site.create("", webhook=site.receiver.url(host="localhost"))
        task = await site.claim()
        await site.call("POST", f"{TASKS}/{task}/result", {"status": "COMPLETED"})
        await site.until('codeq_webhook_targets_refused_total{reason="private-address"}', 1)
        await site.until("codeq_webhooks_lapsed", 1)
        assert site.receiver.connections == 0

    on_site(tmp_path, test, CODEQ_WEBHOOKS_ALLOW_PRIVATE="false")
