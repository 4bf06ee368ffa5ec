"""The certificate, what is asked of clients, and the TLS contexts made from both.

Owns one context at a time. A reload builds a new one beside it and swaps only when the new pair is whole, so a bad file
never takes the port down; connections keep the context they began with, and sessions of the old one can not be resumed
under the new. Blocking file reads: call it at start and on a reload signal, not per connection.
"""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from cryptography import x509

from appliance import config

ALPN_H2: Final = "h2"
ALPN_HTTP1: Final = "http/1.1"
ALPN_HTTP10: Final = "http/1.0"
"""What `curl --http1.0` offers, and nothing beside it."""
ALPN: Final = (ALPN_H2, ALPN_HTTP1, ALPN_HTTP10)
SECONDS_PER_DAY: Final = 86_400


DEFAULT_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: forward secrecy and authenticated encryption, nothing else. TLS 1.3 has no weaker ones."""

MinimumVersion = Literal["1.2", "1.3"]
ClientCertificates = Literal["off", "optional", "required"]

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_VERIFY_MODES: Final = {"off": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}

Stamp = tuple[int, int, int] | None


class TlsError(Exception):
    """The certificate, the key or the policy can not be used; the message names the file or the setting."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is asked of clients. `ciphers` is for TLS 1.2, in OpenSSL's notation.

    With `client_certificates` other than off a certificate that a client shows has to come from `client_authority`, a
    PEM file; with required it has to show one.
    """

    minimum_version: MinimumVersion = "1.2"
    ciphers: str = DEFAULT_CIPHERS
    client_certificates: ClientCertificates = "off"
    client_authority: Path | None = None


class Tls:
    """A server certificate and its key, both PEM files. Raises TlsError when they or `policy` can not be used."""

    def __init__(self, certificate_path: str | Path, key_path: str | Path, policy: Policy = Policy()) -> None:
        self._certificate_path = Path(certificate_path)
        self._key_path = Path(key_path)
        self._policy = policy
        self._stamps = self._looked_at()
        self.context, self.expires_at = self._load()

    def reload(self) -> None:
        """Reads all files again. On TlsError what is in use stays."""
        # The stamps come first: a file that changes while it is read is seen as changed at the next look.
        self._stamps = self._looked_at()
        self.context, self.expires_at = self._load()

    def adopt(self, other: "Tls") -> None:
        """Uses the files, the policy and the context of `other` from now on."""
        self.__dict__.update(other.__dict__)

    def changed(self) -> bool:
        """Whether a file has changed since it was last read, successfully or not."""
        return self._looked_at() != self._stamps

    def days_left(self, now: datetime) -> float:
        """Days until the certificate in use expires; negative when it has."""
        return (self.expires_at - now).total_seconds() / SECONDS_PER_DAY

    def _looked_at(self) -> list[Stamp]:
        paths = (self._certificate_path, self._key_path, self._policy.client_authority)
        return [_stamp(path) for path in paths if path is not None]

    def _load(self) -> tuple[ssl.SSLContext, datetime]:
        certificate = self._read_certificate()
        if certificate.not_valid_after_utc <= datetime.now(UTC):
            raise TlsError(f"{self._certificate_path}: the certificate has expired")
        context = _make_context(self._policy)
        try:
            # A password callback keeps an encrypted key from asking on the terminal.
            context.load_cert_chain(self._certificate_path, self._key_path, password=_no_password)
        except (OSError, ssl.SSLError, _EncryptedKeyError) as error:
            raise TlsError(f"{self._certificate_path} and {self._key_path} are no usable pair: {error}") from error
        return context, certificate.not_valid_after_utc

    def _read_certificate(self) -> x509.Certificate:
        try:
            return x509.load_pem_x509_certificates(self._certificate_path.read_bytes())[0]
        except (OSError, ValueError) as error:
            raise TlsError(f"{self._certificate_path}: no usable certificate: {error}") from error


class _EncryptedKeyError(Exception):
    """The key file wants a password."""


def _no_password() -> str:
    raise _EncryptedKeyError("the key is encrypted")


def load_tls(settings: config.Tls) -> Tls:
    """What `settings` say, loaded. Raises TlsError."""
    policy = Policy(
        settings.minimum_version,
        settings.ciphers,
        settings.client_certificates,
        Path(settings.client_authority) if settings.client_authority else None,
    )
    return Tls(settings.certificate, settings.key, policy)


def _make_context(policy: Policy) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[policy.minimum_version]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(list(ALPN))
    try:
        context.set_ciphers(policy.ciphers)
    except ssl.SSLError as error:
        raise TlsError(f"tls.ciphers: none of {policy.ciphers!r} can be used") from error
    context.verify_mode = _VERIFY_MODES[policy.client_certificates]
    if policy.client_authority is not None:
        try:
            context.load_verify_locations(policy.client_authority)
        except (OSError, ssl.SSLError) as error:
            raise TlsError(f"{policy.client_authority}: no usable authority for clients: {error}") from error
    return context


def _stamp(path: Path) -> Stamp:
    """Changes when the file does; None while it can not be looked at."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
