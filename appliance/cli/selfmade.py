"""What a node makes for itself when its configuration names no certificate or no token keys.

Owns the layout of `pki/` in the store's directory, when something is made there, and what is said about it. Must not
know how certificates and keys are made. What is configured is never touched. A start reuses what is there and renews a
server certificate that is about to end, or that lacks the machine's present name, under the same authority.

    pki/ca.pem              what clients trust                pki/server.pem, server-key.pem
    pki/ca-key.pem          signs server certificates         pki/producer-key.pem, worker-key.pem and their .pub
    pki/webhook.secret      signs webhooks
"""

import dataclasses
import datetime
import logging
import socket
from pathlib import Path
from typing import Final

from appliance.auth.caller import PRODUCER, WORKER, Kind
from appliance.cli import pki
from appliance.config import Auth, KeySource, Settings, Tls, Webhooks
from appliance.engine.disk import make_directory

FOLDER: Final = "pki"

log = logging.getLogger("codeq.selfmade")


def completed(settings: Settings) -> Settings:
    """`settings`, with what a node can't go without and nobody configured made and filled in.

    Says in the log what is used and how. Raises `StoreRefused` where the store's directory can't be made, `OSError`
    where nothing can be written there, and `ValueError` where a key that lies there can't be used.
    """
    wants_tls = not settings.tls.certificate and not all(listen.plaintext for listen in settings.listen)
    wants_keys = not settings.auth.producer and not settings.auth.worker
    wants_secret = not settings.webhooks.secret and not settings.webhooks.secret_file
    if not (wants_tls or wants_keys or wants_secret):
        return settings
    directory = Path(settings.store.directory)
    make_directory(directory)
    folder = directory / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    if wants_tls:
        settings = dataclasses.replace(settings, tls=_with_certificate(settings.tls, folder))
    if wants_keys:
        settings = dataclasses.replace(settings, auth=_with_keys(settings.auth, folder))
    if wants_secret:
        settings = dataclasses.replace(settings, webhooks=_with_secret(settings.webhooks, folder))
    return settings


def server_names() -> tuple[str, ...]:
    """The names a self-made certificate is for: localhost and this machine's own, where it can be in a certificate."""
    own = socket.gethostname()
    usable = own.isascii() and own not in pki.SERVER_NAMES
    return (*pki.SERVER_NAMES, own) if usable else pki.SERVER_NAMES


def _with_certificate(tls: Tls, folder: Path) -> Tls:
    authority, certificate, key = folder / "ca.pem", folder / "server.pem", folder / "server-key.pem"
    names = server_names()
    now = datetime.datetime.now(datetime.UTC)
    pki.ensure_server_certificate(authority, folder / "ca-key.pem", certificate, key, now, names)
    log.info(
        "no certificate is configured: a self-made one for %s is used; clients trust %s", ", ".join(names), authority
    )
    return dataclasses.replace(tls, certificate=str(certificate), key=str(key))


def _with_keys(auth: Auth, folder: Path) -> Auth:
    producer, worker = (_key(kind, folder) for kind in (PRODUCER, WORKER))
    mint = "codeq token mint --tenant TENANT --subject NAME --kind"
    log.info("no token keys are configured: self-made ones in %s are used", folder)
    log.info("make a producer's token with: %s producer --key %s", mint, folder / "producer-key.pem")
    log.info("make a worker's token with: %s worker --commands '*' --key %s", mint, folder / "worker-key.pem")
    return dataclasses.replace(auth, producer=(producer,), worker=(worker,))


def _with_secret(webhooks: Webhooks, folder: Path) -> Webhooks:
    path = folder / "webhook.secret"
    pki.ensure_secret(path)
    log.info("no secret for webhooks is configured: the self-made one in %s is used", path)
    return dataclasses.replace(webhooks, secret_file=str(path))


def _key(kind: Kind, folder: Path) -> KeySource:
    public = folder / f"{kind}-key.pub"
    pki.ensure_key_pair(folder / f"{kind}-key.pem", public)
    return KeySource(algorithm="ES256", file=str(public))
