"""SIGHUP: what of the configuration changes while the node runs."""

import contextlib
import datetime
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from appliance.auth.caller import PRODUCER
from appliance.cli import pki
from tests.auth.makers import STRANGER_EC, pem, public_pem
from tests.e2e.node import Node, free_port
from tests.e2e.user import User
from tests.mux.certificates import make_certificate


class Configured(Node):
    """A node of `codeq serve` whose files are those of `codeq dev`."""

    def write(self, *, tls: str = "", producer: str = "producer-key.pub", more: str = "") -> None:
        """The configuration."""
        self._file.write_text(
            f'listen: ["127.0.0.1:{self.port}"]\n'
            f"tls: {{certificate: server.pem, key: server-key.pem{tls}}}\n"
            "store: {directory: data, freeFloorBytes: 0}\n"
            "auth:\n"
            f"  producer: [{{algorithm: ES256, file: {producer}}}]\n"
            "  worker: [{algorithm: ES256, file: worker-key.pub}]\n" + more
        )

    def serve(self) -> None:
        """Start it."""
        self.folder.mkdir()
        now = datetime.datetime.now(datetime.UTC)
        names = ("ca.pem", "ca-key.pem", "server.pem", "server-key.pem")
        authority, authority_key, certificate, key = (self.folder / name for name in names)
        pki.ensure_server_certificate(authority, authority_key, certificate, key, now)
        for kind in ("producer", "worker"):
            pki.ensure_key_pair(self.folder / f"{kind}-key.pem", self.folder / f"{kind}-key.pub")
        self.write()
        self.start(config=self._file)
        self.wait_ready()

    def reload(self, says: str) -> None:
        """SIGHUP, and wait for what the log says to it."""
        count = self.log.count(says)
        self.signal(signal.SIGHUP)
        self.wait_for_log(says, count + 1)

    @property
    def _file(self) -> Path:
        return self.folder / "codeq.yml"


@pytest.fixture
def configured(tmp_path: Path) -> Iterator[Configured]:
    node = Configured(tmp_path / "node", port=free_port())
    yield node
    node.kill()


def test_new_token_keys_and_new_demands_on_clients_count_after_a_reload(configured: Configured) -> None:
    configured.serve()
    with User(configured, "kept") as user, contextlib.closing(configured.connect()) as open_since_before:
        assert user.create("a", 1).status_code == 201
        (configured.folder / "other.pub").write_bytes(public_pem(STRANGER_EC))
        (configured.folder / "producer-key.pem").write_bytes(pem(STRANGER_EC))
        configured.write(producer="other.pub", more="log: {level: debug}\ndrainSeconds: 5\n")
        configured.reload("configuration reloaded")
        assert "these settings changed and need a restart: drainSeconds" in configured.log
        assert user.create("a", 1).status_code == 401
        user.producer = configured.mint(PRODUCER, "kept")
        assert user.create("a", 1).status_code == 201

        shown = make_certificate(configured.folder, "client")
        configured.write(
            producer="other.pub", tls=", clientCertificates: required, clientAuthority: client.pem, minimumVersion: 1.3"
        )
        configured.reload("configuration reloaded")
        with pytest.raises((httpx.TransportError, ssl.SSLError)):
            httpx.get(f"{configured.url}/healthz", verify=configured.trust(), trust_env=False)
        ours = configured.trust()
        ours.load_cert_chain(*shown)
        assert httpx.get(f"{configured.url}/healthz", verify=ours, trust_env=False).status_code == 200
        ours.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{configured.url}/healthz", verify=ours, trust_env=False)
        open_since_before.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert open_since_before.recv(100).startswith(b"HTTP/1.1 200 "), "an open connection stays"
    configured.stop()


@pytest.mark.parametrize(
    ("tls", "producer", "more", "says"),
    [
        ("", "producer-key.pub", "drainSecond: 5\n", "codeq.yml:7: drainSecond"),
        ("", "absent.pub", "", "absent.pub can't be read"),
        (", ciphers: ROT13", "producer-key.pub", "", "tls.ciphers"),
        (", clientCertificates: required", "producer-key.pub", "", "clientAuthority"),
    ],
)
def test_a_configuration_that_can_not_be_used_changes_nothing(
    configured: Configured, tls: str, producer: str, more: str, says: str
) -> None:
    configured.serve()
    with User(configured, "kept") as user:
        configured.write(tls=tls, producer=producer, more=more)
        configured.reload("the configuration was not reloaded, the old one stays")
        assert says in configured.log
        configured.wait_for_log("certificate reloaded")  # a new certificate does not wait for the rest
        assert user.create("a", 1).status_code == 201
    configured.stop()
