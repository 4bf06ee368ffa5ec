"""The settings of a node: what can be configured, its defaults and its limits.

Owns the settings themselves, one frozen class per section of `codeq.yml`, and the rules between them. Reading YAML and
naming the line of an error is `configfile`'s. Must not know what the settings are used for. A name here in snake_case
is the same name in camelCase in the file, and in upper case with the path in front in the environment:
`tasks.payloadBytesMax` is `CODEQ_TASKS_PAYLOAD_BYTES_MAX`. Relative paths count from the folder of the file, and
`credential:NAME` is a secret that the service manager hands over.
"""

# ruff: noqa: RUF009 - `setting` and `section` return a dataclass field, like `dataclasses.field` itself

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from appliance.configfile import ConfigError, bind, section, setting

__all__ = [
    "Auth",
    "Backoff",
    "ConfigError",
    "KeySource",
    "Limits",
    "Listen",
    "Log",
    "Rate",
    "RateLimit",
    "Settings",
    "Store",
    "Streams",
    "Tasks",
    "TenantSecret",
    "Tls",
    "Webhooks",
    "load",
]

KIB = 1_024
MIB = 1_024 * KIB
GIB = 1_024 * MIB
DAY_SECONDS = 86_400
YEAR_SECONDS = 366 * DAY_SECONDS

BackoffPolicy = Literal["fixed", "linear", "exponential", "exp_full_jitter", "exp_equal_jitter"]


@dataclass(frozen=True, slots=True)
class Listen:
    """One address to listen on, `host:port` (an IPv6 host in brackets). In the file a bare string means TLS."""

    address: str = setting()
    plaintext: bool = setting(default=False)

    @property
    def host(self) -> str:
        """The host without brackets."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port; 0 lets the system choose."""
        return int(self.address.rpartition(":")[2])


@dataclass(frozen=True, slots=True)
class Tls:
    """The server's certificate chain and its private key, both PEM files. Empty: the node makes its own.

    `ciphers` are those of TLS 1.2, in OpenSSL's notation. `client_authority` is a PEM file with the authorities whose
    certificates clients may or must show, as `client_certificates` says.
    """

    certificate: str = setting(default="", path=True)
    key: str = setting(default="", path=True)
    minimum_version: Literal["1.2", "1.3"] = setting(default="1.2")
    ciphers: str = setting(default="ECDHE+AESGCM:ECDHE+CHACHA20")
    client_certificates: Literal["off", "optional", "required"] = setting(default="off")
    client_authority: str = setting(default="", path=True)


@dataclass(frozen=True, slots=True)
class Store:
    """Where the data lives. Below `free_floor_bytes` of free disk space creates are refused."""

    directory: str = setting(default="/var/lib/codeq", path=True)
    free_floor_bytes: int = setting(default=GIB, low=0, high=1_024 * GIB)
    allow_remote_filesystem: bool = setting(default=False)


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where verifying keys come from: exactly one of `pem`, `secret`, `file`, `jwks_file`, `jwks_url`.

    `algorithm` is needed for the first three (with HS256 a `file` holds the secret). A source that names no `kid` makes
    a key that matches tokens with any. `allow_private` lets a URL use http and private or loopback addresses.
    """

    kid: str = setting(default="", length_max=128)
    algorithm: Literal["", "RS256", "ES256", "EdDSA", "HS256"] = setting(default="")
    pem: str = setting(default="", secret=True)
    secret: str = setting(default="", secret=True)
    file: str = setting(default="", path=True)
    jwks_file: str = setting(default="", path=True)
    jwks_url: str = setting(default="")
    allow_private: bool = setting(default=False)


@dataclass(frozen=True, slots=True)
class Auth:
    """Who may call. Producer and worker tokens have separate keys. With neither the node makes its own."""

    producer: tuple[KeySource, ...] = setting(default=(), length_max=16)
    worker: tuple[KeySource, ...] = setting(default=(), length_max=16)
    issuer: str = setting(default="")
    audience: str = setting(default="")
    max_lifetime_days: int = setting(default=3_660, low=1, high=36_600)
    skew_seconds: int = setting(default=60, low=0, high=600)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a task waits after a nack without a delay, or after a lease that expired."""

    policy: BackoffPolicy = setting(default="exp_full_jitter")
    base_seconds: int = setting(default=5, low=0, high=DAY_SECONDS)
    cap_seconds: int = setting(default=900, low=0, high=YEAR_SECONDS)


@dataclass(frozen=True, slots=True)
class Tasks:
    """The rules of tasks. Payload and result share one limit."""

    payload_bytes_max: int = setting(default=256 * KIB, low=1, high=2 * MIB)
    max_attempts: int = setting(default=5, low=1, high=1_000)
    backoff: Backoff = section(Backoff)
    max_deliveries: int = setting(default=100, low=1, high=1_000_000)
    retention_seconds: int = setting(default=DAY_SECONDS, low=0, high=10 * YEAR_SECONDS)
    dead_letter_retention_seconds: int = setting(default=14 * DAY_SECONDS, low=0, high=10 * YEAR_SECONDS)
    queues_per_tenant_max: int = setting(default=10_000, low=1, high=1_000_000)


@dataclass(frozen=True, slots=True)
class Streams:
    """How long a gRPC stream may live. 0 means for ever; the age of each is drawn within a tenth of this."""

    max_age_seconds: int = setting(default=0, low=0, high=YEAR_SECONDS)


@dataclass(frozen=True, slots=True)
class TenantSecret:
    """The secret that signs the webhooks of one tenant: exactly one of `secret` and `file`."""

    tenant: str = setting(length_max=256)
    secret: str = setting(default="", secret=True)
    file: str = setting(default="", path=True)


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Calls to addresses that clients name: what signs them, how many at once, how long, how often.

    Without `secret` and `secret_file` the node makes a secret. `ca_file` has certificates to trust beside the system's.
    `allow_private` allows targets in private, loopback and link-local ranges. `public_url` is where receivers of
    notifications find this node.
    """

    secret: str = setting(default="", secret=True)
    secret_file: str = setting(default="", path=True)
    tenant_secrets: tuple[TenantSecret, ...] = setting(default=(), length_max=1_000)
    allow_private: bool = setting(default=False)
    ca_file: str = setting(default="", path=True)
    concurrency: int = setting(default=64, low=1, high=1_024)
    concurrency_per_host: int = setting(default=8, low=1, high=1_024)
    timeout_seconds: int = setting(default=10, low=1, high=120)
    backoff_base_seconds: int = setting(default=30, low=1, high=DAY_SECONDS)
    backoff_cap_seconds: int = setting(default=3_600, low=1, high=7 * DAY_SECONDS)
    given_up_retention_seconds: int = setting(default=14 * DAY_SECONDS, low=0, high=10 * YEAR_SECONDS)
    public_url: str = setting(default="")
    subscriptions_per_tenant: int = setting(default=1_000, low=1, high=100_000)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one node, one address and one tenant may occupy."""

    connections: int = setting(default=10_000, low=1, high=1_000_000)
    connections_per_address: int = setting(default=5_000, low=1, high=1_000_000)
    body_bytes_max: int = setting(default=8 * MIB, low=64 * KIB, high=64 * MIB)
    memory_bytes_max: int = setting(default=256 * MIB, low=16 * MIB, high=1_024 * GIB)
    waiting_per_tenant: int = setting(default=10_000, low=1, high=1_000_000)
    inbox_per_tenant: int = setting(default=10_000, low=1, high=1_000_000)
    inbox_bytes_per_tenant: int = setting(default=64 * MIB, low=MIB, high=1_024 * GIB)


@dataclass(frozen=True, slots=True)
class Rate:
    """How many requests per second one subject may send, and how many at once. 0: any number; as many as a second's."""

    per_second: int = setting(default=0, low=0, high=1_000_000)
    burst: int = setting(default=0, low=0, high=1_000_000)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Rates of token subjects: creates and producer streams, claims and worker streams, administration."""

    producer: Rate = section(Rate)
    worker: Rate = section(Rate)
    admin: Rate = section(Rate)


@dataclass(frozen=True, slots=True)
class Log:
    """How the node reports. `auto` is the journal where standard error leads to it, and `json` elsewhere."""

    format: Literal["auto", "json", "text", "journal"] = setting(default="auto")
    level: Literal["debug", "info", "warning", "error"] = setting(default="info")


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of a node."""

    listen: tuple[Listen, ...] = setting(default=(Listen("0.0.0.0:8443"),), length_max=64, shorthand="address")
    allow_plaintext: bool = setting(default=False)
    tls: Tls = section(Tls)
    store: Store = section(Store)
    auth: Auth = section(Auth)
    tasks: Tasks = section(Tasks)
    streams: Streams = section(Streams)
    webhooks: Webhooks = section(Webhooks)
    limits: Limits = section(Limits)
    rate_limit: RateLimit = section(RateLimit)
    log: Log = section(Log)
    drain_seconds: int = setting(default=30, low=0, high=3_600)
    source: str = field(default="", metadata={"internal": True})
    """The file that these settings came from."""


def load(path: str | Path, environ: Mapping[str, str]) -> Settings:
    """The settings in the YAML file at `path`, with `CODEQ_…` of `environ` laid over it.

    Raises `ConfigError`, which names the key and the line, also when the file can't be read.
    """
    settings, places = bind(Settings, Path(path), environ)
    for key, message in _conflicts(settings):
        raise places.error(key, message)
    return settings


def _conflicts(settings: Settings) -> list[tuple[str, str]]:
    """What is wrong between settings that are each valid: pairs of key path and message."""
    return [
        *_listen_conflicts(settings),
        *_auth_conflicts(settings.auth),
        *_webhook_conflicts(settings.webhooks),
        *_size_conflicts(settings),
    ]


def _listen_conflicts(settings: Settings) -> list[tuple[str, str]]:
    found = []
    if not settings.listen:
        found.append(("listen", "needs at least one address"))
    for index, listen in enumerate(settings.listen):
        host, colon, port = listen.address.rpartition(":")
        if not (host and colon and port.isascii() and port.isdigit() and int(port) <= 65_535):
            found.append((f"listen[{index}]", 'must be "host:port", an IPv6 host in brackets'))
        elif ":" in host and not (host.startswith("[") and host.endswith("]")):
            found.append((f"listen[{index}]", "needs brackets around its IPv6 host"))
        elif listen.plaintext and not settings.allow_plaintext:
            found.append((f"listen[{index}]", "is plaintext, which needs allowPlaintext: true"))
    if bool(settings.tls.certificate) != bool(settings.tls.key):
        found.append(("tls", "needs both certificate and key"))
    if (settings.tls.client_certificates != "off") != bool(settings.tls.client_authority):
        found.append(("tls", "needs both clientAuthority and clientCertificates (optional or required)"))
    return found


def _auth_conflicts(auth: Auth) -> list[tuple[str, str]]:
    """Keys of one kind only are a mistake; a node without any makes its own."""
    found = []
    for key, sources, others in (
        ("auth.producer", auth.producer, auth.worker),
        ("auth.worker", auth.worker, auth.producer),
    ):
        if others and not sources:
            found.append((key, "needs at least one key, because there are keys of the other kind"))
        found += _key_conflicts(key, sources)
    return found


def _key_conflicts(key: str, sources: tuple[KeySource, ...]) -> list[tuple[str, str]]:
    found = []
    for index, source in enumerate(sources):
        place = f"{key}[{index}]"
        single = [source.pem, source.secret, source.file]
        documents = [source.jwks_file, source.jwks_url]
        if sum(map(bool, single + documents)) != 1:
            found.append((place, "needs exactly one of pem, secret, file, jwksFile, jwksUrl"))
        elif any(single) and not source.algorithm:
            found.append((place, "needs an algorithm"))
        elif any(documents) and (source.algorithm or source.kid):
            found.append((place, "takes algorithm and kid from its JWKS document; they can't be set here"))
        elif bool(source.secret) and source.algorithm != "HS256":
            found.append((place, "has a secret, which needs algorithm HS256"))
        elif bool(source.pem) and source.algorithm == "HS256":
            found.append((place, "has a public key, which can't be used with HS256"))
        elif source.jwks_url and not source.jwks_url.startswith(("https://", "http://")):
            found.append((f"{place}.jwksUrl", "must begin with https://"))
        elif source.jwks_url.startswith("http://") and not source.allow_private:
            found.append((f"{place}.jwksUrl", "must begin with https:// (http needs allowPrivate: true)"))
    return found


def _webhook_conflicts(webhooks: Webhooks) -> list[tuple[str, str]]:
    found = []
    if webhooks.secret and webhooks.secret_file:
        found.append(("webhooks", "needs at most one of secret and secretFile"))
    for index, each in enumerate(webhooks.tenant_secrets):
        if bool(each.secret) == bool(each.file):
            found.append((f"webhooks.tenantSecrets[{index}]", "needs exactly one of secret and file"))
    if len({each.tenant for each in webhooks.tenant_secrets}) < len(webhooks.tenant_secrets):
        found.append(("webhooks.tenantSecrets", "names a tenant twice"))
    if webhooks.backoff_cap_seconds < webhooks.backoff_base_seconds:
        found.append(("webhooks.backoffCapSeconds", "must not be below backoffBaseSeconds"))
    if webhooks.public_url and not webhooks.public_url.startswith(("https://", "http://")):
        found.append(("webhooks.publicUrl", "must begin with https:// or http://"))
    return found


def _size_conflicts(settings: Settings) -> list[tuple[str, str]]:
    found = []
    if settings.tasks.backoff.cap_seconds < settings.tasks.backoff.base_seconds:
        found.append(("tasks.backoff.capSeconds", "must not be below baseSeconds"))
    if settings.limits.body_bytes_max < settings.tasks.payload_bytes_max + 64 * KIB:
        found.append(("limits.bodyBytesMax", "must exceed tasks.payloadBytesMax by at least 65536"))
    if settings.limits.memory_bytes_max < 2 * settings.limits.body_bytes_max:
        found.append(("limits.memoryBytesMax", "must be at least twice limits.bodyBytesMax"))
    return found
