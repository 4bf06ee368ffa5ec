"""`codeq dev`: a node for development, with everything it needs made on the spot and kept in one directory.

Owns the layout of that directory and the lines a user pastes. A second start reuses what is there and renews what is
about to end. It listens on loopback only.

    DIR/ca.pem              what clients trust             DIR/producer.token   admin of the tenant "dev"
    DIR/ca-key.pem          signs server certificates      DIR/worker.token     all commands and scopes, same tenant
    DIR/server.pem, server-key.pem                         DIR/codeq.yml        the configuration, written at each start
    DIR/producer-key.pem, worker-key.pem and their .pub    DIR/data/            the store
    DIR/webhook.secret      signs webhooks
"""

import dataclasses
import datetime
import os
import shlex
import socket
import sys
import time
from pathlib import Path
from typing import Final

from appliance.auth.caller import PRODUCER, WORKER, WORKER_SCOPES
from appliance.auth.claims import ADMIN_ROLE
from appliance.auth.keys import BadKeyError
from appliance.auth.mint import Grant, mint, signing_key
from appliance.auth.service import Authenticator
from appliance.auth.tokens import Validator
from appliance.cli import pki, status
from appliance.config import ConfigError, Settings, load
from appliance.errors import Problem

TENANT: Final = "dev"
TLS_PORT: Final = 8_443
PLAINTEXT_PORT: Final = 8_080
TOKEN_DAYS: Final = 365
TOKEN_RENEW_DAYS: Final = 30
_DAY_SECONDS: Final = 86_400

_FIRST_ID: Final = r"""sed -n 's/"id" *: *"\([^"]*\)"/\n\1\n/; s/^[^\n]*\n\([^\n]*\)\n.*/\1/p'"""
"""Prints the first "id" of a task. Plain sed, because a fresh machine has no JSON tool."""


def run(directory: str, port: int | None, *, plaintext: bool) -> int:
    """Make or reuse the directory, print how to use the node, and run it until it is told to stop."""
    folder = Path(directory)
    port = port or (PLAINTEXT_PORT if plaintext else TLS_PORT)
    try:
        settings = prepare(folder, port, plaintext=plaintext)
    except (OSError, ValueError, BadKeyError) as error:
        print(f"codeq: {directory}: {error}", file=sys.stderr)
        return status.FAILURE
    except ConfigError as error:
        print(f"codeq: {error}", file=sys.stderr)
        return status.CONFIGURATION
    print(instructions(folder, port, plaintext=plaintext), flush=True)
    from appliance.app import run as run_node

    return run_node(settings)


def prepare(folder: Path, port: int, *, plaintext: bool) -> Settings:
    """Make what is missing in `folder`, renew what ends soon, and return the settings to run with.

    Raises `OSError` when it can't be written, `ValueError` or `BadKeyError` when a key in it can't be used, and
    `ConfigError` when the environment overrides a setting badly.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    now = datetime.datetime.now(datetime.UTC)
    pki.ensure_server_certificate(
        folder / "ca.pem", folder / "ca-key.pem", folder / "server.pem", folder / "server-key.pem", now
    )
    for kind in (PRODUCER, WORKER):
        pki.ensure_key_pair(folder / f"{kind}-key.pem", folder / f"{kind}-key.pub")
    pki.ensure_secret(folder / "webhook.secret")
    pki.write_private(folder / "codeq.yml", _configuration(port, plaintext=plaintext).encode())
    settings = load(folder / "codeq.yml", os.environ)
    _ensure_tokens(folder, settings, time.time())
    return settings


def _configuration(port: int, *, plaintext: bool) -> str:
    hosts = ["127.0.0.1", "[::1]"] if _has_ipv6_loopback() else ["127.0.0.1"]
    listen = "".join(f'  - {{address: "{host}:{port}", plaintext: {str(plaintext).lower()}}}\n' for host in hosts)
    return (
        "# Written by `codeq dev` at each start: changes here are lost.\n"
        f"listen:\n{listen}"
        f"allowPlaintext: {str(plaintext).lower()}\n"
        "tls: {certificate: server.pem, key: server-key.pem}\n"
        "store: {directory: data, freeFloorBytes: 104857600}\n"
        "auth:\n"
        "  producer: [{algorithm: ES256, file: producer-key.pub}]\n"
        "  worker: [{algorithm: ES256, file: worker-key.pub}]\n"
        "webhooks: {secretFile: webhook.secret, allowPrivate: true}\n"
        "log: {format: text}\n"
    )


def _has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _ensure_tokens(folder: Path, settings: Settings, now_seconds: float) -> None:
    """Both token files, made anew when they are absent, refused by this node, or about to end."""
    auth = settings.auth
    validator = Authenticator(auth)
    lifetime_seconds = min(TOKEN_DAYS, auth.max_lifetime_days) * _DAY_SECONDS
    grants = (
        Grant(PRODUCER, "dev-producer", TENANT, lifetime_seconds, role=ADMIN_ROLE),
        Grant(WORKER, "dev-worker", TENANT, lifetime_seconds, scopes=WORKER_SCOPES, commands=("*",)),
    )
    for each in grants:
        grant = dataclasses.replace(each, issuer=auth.issuer, audience=auth.audience)
        path = folder / f"{grant.kind}.token"
        if not _is_current(path, grant, validator, now_seconds):
            key = signing_key((folder / f"{grant.kind}-key.pem").read_bytes())
            pki.write_private(path, mint(key, grant, now_seconds).encode() + b"\n")


def _is_current(path: Path, grant: Grant, validator: Validator, now_seconds: float) -> bool:
    try:
        token = path.read_text(encoding="ascii").strip()
        caller = validator.validate(token, now_seconds + TOKEN_RENEW_DAYS * _DAY_SECONDS)
    except (OSError, ValueError, Problem):
        return False
    return caller.kind == grant.kind


def instructions(folder: Path, port: int, *, plaintext: bool) -> str:
    """What a user pastes into a second terminal: create, claim, result."""
    place = folder.absolute()
    if plaintext:
        base = f"http://localhost:{port}/v1/codeq"
        curl = "curl -sS"
    else:
        base = f"https://localhost:{port}/v1/codeq"
        curl = f"curl -sS --cacert {shlex.quote(str(place / 'ca.pem'))}"
    tokens = {kind: f"$(cat {shlex.quote(str(place / f'{kind}.token'))})" for kind in (PRODUCER, WORKER)}
    producer, worker = (_headers(tokens[kind]) for kind in (PRODUCER, WORKER))
    create = '{"command": "send-email", "payload": {"to": "a@b.com"}}'
    claim = '{"commands": ["send-email"], "leaseSeconds": 60, "workerId": "worker-1"}'
    result = '{"status": "COMPLETED", "workerId": "worker-1", "result": {"sent": true}}'
    return f"""\
codeq is at {base.removesuffix("/v1/codeq")}, its files are in {place}

Create a task:

{curl} -X POST {base}/tasks {producer} -d '{create}'; echo

Claim it, and keep its id:

TASK_ID=$({curl} -X POST {base}/tasks/claim {worker} -d '{claim}' | {_FIRST_ID}); echo "$TASK_ID"

Give its result:

{curl} -X POST "{base}/tasks/$TASK_ID/result" {worker} -d '{result}'; echo

The tokens, for commands of your own:

export PRODUCER_TOKEN="{tokens[PRODUCER]}"
export WORKER_TOKEN="{tokens[WORKER]}"
"""


def _headers(token: str) -> str:
    return f'-H "Authorization: Bearer {token}" -H "Content-Type: application/json"'
