"""The first start of a node whose configuration names no certificate and no keys."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.node import Node, codeq, free_port


class Bare(Node):
    """A node that found nothing but a directory and a port in its configuration."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, port=free_port())
        self.config = folder / "codeq.yml"

    @property
    def pki(self) -> Path:
        """Where it keeps what it made."""
        return self.folder / "data" / "pki"

    def again(self) -> None:
        """Start it with the configuration that it has, and wait until it is ready."""
        self.start(config=self.config)
        self.wait_for_log('"ready"', self.log.count('"ready"') + 1)

    def client(self, *, http2: bool = False, seconds: float = 40.0) -> httpx.Client:
        """A client that trusts what the log says to trust."""
        (authority,) = set(re.findall(r"clients trust (\S+\.pem)", self.log))
        (self.folder / "ca.pem").write_bytes(Path(authority).read_bytes())
        return super().client(http2=http2, seconds=seconds)

    def minted(self, kind: str) -> str:
        """A token, made by the command in the log."""
        line = re.findall(rf"make a {kind}'s token with: codeq ([^\"]+)", self.log)[-1]
        run = codeq(*shlex.split(line.replace("TENANT", "acme").replace("NAME", f"{kind}-1")))
        assert run.returncode == 0, run.stderr
        return run.stdout.strip()


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Bare]:
    node = Bare(tmp_path / "node")
    node.folder.mkdir()
    node.config.write_text(f'listen: ["127.0.0.1:{node.port}"]\nstore: {{directory: data, freeFloorBytes: 0}}\n')
    yield node
    node.kill()


def test_the_lines_in_the_log_lead_to_a_task_over_tls(bare: Bare) -> None:
    bare.again()
    with bare.client() as client:
        created = client.post(
            "/v1/codeq/tasks",
            json={"command": "greet", "payload": 1},
            headers={"Authorization": f"Bearer {bare.minted('producer')}"},
        )
        assert created.status_code == 201, created.text
        claimed = client.post(
            "/v1/codeq/tasks/claim", json={}, headers={"Authorization": f"Bearer {bare.minted('worker')}"}
        )
        assert claimed.json()["id"] == created.json()["id"]


def test_tokens_and_trust_outlive_a_restart(bare: Bare) -> None:
    bare.again()
    token = bare.minted("producer")
    authority = (bare.pki / "ca.pem").read_bytes()
    bare.stop()
    bare.again()
    assert (bare.pki / "ca.pem").read_bytes() == authority
    with bare.client() as client:
        answer = client.post(
            "/v1/codeq/tasks",
            json={"command": "greet", "payload": 1},
            headers={"Authorization": f"Bearer {token}"},
        )
        assert answer.status_code == 201, answer.text


def test_a_key_that_can_not_be_read_ends_the_start_with_the_status_of_a_configuration(bare: Bare) -> None:
    bare.pki.mkdir(parents=True)
    (bare.pki / "producer-key.pem").write_text("nonsense")
    bare.start(config=bare.config)
    assert bare.wait() == 78
    assert "producer-key.pem" in bare.log
