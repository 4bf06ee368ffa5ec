"""What a node makes for itself when nothing is configured."""

import dataclasses
import logging
import socket
from pathlib import Path

import pytest
from cryptography import x509

from appliance.auth.service import Authenticator
from appliance.cli import selfmade
from appliance.config import Auth, KeySource, Listen, Settings, Store, Tls, Webhooks
from appliance.engine.faults import StoreRefused
from appliance.mux.tls import Tls as LoadedTls
from appliance.webhooks.secrets import read_secrets

MADE = {
    "ca.pem", "ca-key.pem", "server.pem", "server-key.pem",
    "producer-key.pem", "producer-key.pub", "worker-key.pem", "worker-key.pub",
    "webhook.secret",
}  # fmt: skip


def settings(folder: Path) -> Settings:
    return Settings(store=Store(directory=str(folder / "data")))


def made(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "data" / "pki").iterdir()}


def names_of(certificate: str) -> list[str]:
    loaded = x509.load_pem_x509_certificate(Path(certificate).read_bytes())
    return loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.DNSName
    )


def test_everything_missing_is_made_and_can_be_used(tmp_path: Path) -> None:
    completed = selfmade.completed(settings(tmp_path))
    assert made(tmp_path).keys() == MADE
    LoadedTls(completed.tls.certificate, completed.tls.key)
    Authenticator(completed.auth)
    assert len(read_secrets(completed.webhooks).of("anyone")) == 64


def test_the_folder_is_for_its_owner_only(tmp_path: Path) -> None:
    selfmade.completed(settings(tmp_path))
    assert (tmp_path / "data" / "pki").stat().st_mode & 0o777 == 0o700


def test_a_second_start_keeps_what_the_first_made(tmp_path: Path) -> None:
    first = selfmade.completed(settings(tmp_path))
    before = made(tmp_path)
    assert selfmade.completed(settings(tmp_path)) == first
    assert made(tmp_path) == before


def test_the_certificate_names_the_machine_and_follows_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "queue-1")
    assert names_of(selfmade.completed(settings(tmp_path)).tls.certificate) == ["localhost", "queue-1"]
    authority = made(tmp_path)["ca.pem"]
    monkeypatch.setattr(socket, "gethostname", lambda: "queue-2")
    assert names_of(selfmade.completed(settings(tmp_path)).tls.certificate) == ["localhost", "queue-2"]
    assert made(tmp_path)["ca.pem"] == authority


@pytest.mark.parametrize("name", ["localhost", "bücher"])
def test_a_name_that_adds_nothing_or_can_not_be_in_a_certificate_is_left_out(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    assert selfmade.server_names() == ("localhost",)


def test_what_is_configured_is_not_made(tmp_path: Path) -> None:
    tls = Tls(certificate="c.pem", key="k.pem")
    completed = selfmade.completed(dataclasses.replace(settings(tmp_path), tls=tls))
    assert completed.tls == tls
    assert made(tmp_path).keys() == {name for name in MADE if name.startswith(("producer", "worker", "webhook"))}

    keys = (KeySource(algorithm="HS256", secret="s" * 32),)
    configured = dataclasses.replace(settings(tmp_path / "other"), auth=Auth(producer=keys, worker=keys))
    assert selfmade.completed(configured).auth == configured.auth
    assert made(tmp_path / "other").keys() == {
        "ca.pem", "ca-key.pem", "server.pem", "server-key.pem", "webhook.secret",
    }  # fmt: skip


def test_a_node_with_everything_gets_no_folder(tmp_path: Path) -> None:
    keys = (KeySource(algorithm="HS256", secret="s" * 32),)
    plaintext = (Listen("127.0.0.1:8080", plaintext=True),)
    configured = dataclasses.replace(
        settings(tmp_path),
        listen=plaintext,
        allow_plaintext=True,
        auth=Auth(producer=keys, worker=keys),
        webhooks=Webhooks(secret="s" * 32),
    )
    assert selfmade.completed(configured) == configured
    assert not (tmp_path / "data").exists()


def test_the_log_says_where_and_how_to_make_tokens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "codeq"):
        selfmade.completed(settings(tmp_path))
    folder = tmp_path / "data" / "pki"
    assert f"clients trust {folder}/ca.pem" in caplog.text
    for kind in ("producer", "worker"):
        assert f"--key {folder}/{kind}-key.pem" in caplog.text


def test_a_directory_that_can_not_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StoreRefused):
        selfmade.completed(settings(tmp_path))


def test_a_broken_key_is_an_error_and_stays(tmp_path: Path) -> None:
    selfmade.completed(settings(tmp_path))
    key = tmp_path / "data" / "pki" / "producer-key.pem"
    key.write_bytes(b"nonsense")
    with pytest.raises(ValueError):
        selfmade.completed(settings(tmp_path))
    assert key.read_bytes() == b"nonsense"
