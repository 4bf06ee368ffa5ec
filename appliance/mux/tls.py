"""The certificate and the TLS contexts made from it.

Owns one context at a time. A reload builds a new one beside it and swaps only when the new pair is whole, so a bad file
never takes the port down; connections keep the context they began with, and sessions of the old one can not be resumed
under the new. Blocking file reads: call it at start and on a reload signal, not per connection.
"""

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

ALPN_H2: Final = "h2"
ALPN_HTTP1: Final = "http/1.1"
ALPN_HTTP10: Final = "http/1.0"
"""What `curl --http1.0` offers, and nothing beside it."""
ALPN: Final = (ALPN_H2, ALPN_HTTP1, ALPN_HTTP10)
SECONDS_PER_DAY: Final = 86_400


class TlsError(Exception):
    """The certificate or key can not be used; the message names the file."""


class Tls:
    """A server certificate and its key, both PEM files. Raises TlsError when they can not be used."""

    def __init__(self, certificate_path: str | Path, key_path: str | Path) -> None:
        self._certificate_path = Path(certificate_path)
        self._key_path = Path(key_path)
        self.context, self.expires_at = self._load()

    def reload(self) -> None:
        """Reads both files again. On TlsError the pair in use stays."""
        self.context, self.expires_at = self._load()

    def days_left(self, now: datetime) -> float:
        """Days until the certificate in use expires; negative when it has."""
        return (self.expires_at - now).total_seconds() / SECONDS_PER_DAY

    def _load(self) -> tuple[ssl.SSLContext, datetime]:
        certificate = self._read_certificate()
        if certificate.not_valid_after_utc <= datetime.now(UTC):
            raise TlsError(f"{self._certificate_path}: the certificate has expired")
        context = _make_context()
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


def _make_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(list(ALPN))
    return context
