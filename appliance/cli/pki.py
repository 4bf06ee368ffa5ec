"""A node's own authority: a CA, a server certificate for this machine, and key pairs for tokens.

Owns making them and deciding whether what lies there is still good. Must not know what they are used for. The CA's key
lies beside the certificate it signed: who has the one has the other, so nothing but this node should be trusted by it.
Files with a private key are made with mode 0600 and put in place whole and flushed, so that no reader ever sees half of
one, and no power cut leaves one.
"""

import datetime
import ipaddress
import os
import secrets
import tempfile
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from appliance.engine.disk import sync_names

CA_DAYS: Final = 3_650
SERVER_DAYS: Final = 365
"""Some clients refuse server certificates that live longer than 398 days."""
RENEW_DAYS: Final = 30
_CLOCK_SLACK: Final = datetime.timedelta(minutes=5)

Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]

SERVER_NAMES: Final = ("localhost",)
SERVER_ADDRESSES: Final = ("127.0.0.1", "::1")


def write_private(path: Path, content: bytes) -> None:
    """Put `content` at `path` with mode 0600, whole or not at all."""
    _write(path, content, 0o600)


def write_public(path: Path, content: bytes) -> None:
    """Put `content` at `path`, readable by all, whole or not at all."""
    _write(path, content, 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        Path(name).replace(path)
        sync_names(path.parent)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def ensure_key_pair(private: Path, public: Path) -> None:
    """An ES256 key pair in these two PEM files; an existing private key is kept."""
    if private.exists():
        key = _load_key(private)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
        write_private(private, _key_pem(key))
    write_public(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def ensure_secret(path: Path) -> None:
    """A random secret of 256 bits, as text, in this file; an existing one is kept."""
    if not path.exists():
        write_private(path, secrets.token_hex(32).encode() + b"\n")


def ensure_server_certificate(
    ca_certificate: Path,
    ca_key: Path,
    certificate: Path,
    key: Path,
    now: datetime.datetime,
    names: tuple[str, ...] = SERVER_NAMES,
) -> None:
    """A CA, and a certificate for these names and loopback signed by it, in these four PEM files.

    What is there is kept, unless it has fewer than `RENEW_DAYS` left, does not belong together or lacks a name.
    """
    authority = _pair(ca_certificate, ca_key, now)
    if authority is None:
        authority = _new_authority(now)
        write_private(ca_key, _key_pem(authority[1]))
        write_public(ca_certificate, authority[0].public_bytes(Encoding.PEM))
    if not _is_current_server(certificate, key, authority[0], now, names):
        server_certificate, server_key = _new_server(*authority, now, names)
        write_private(key, _key_pem(server_key))
        write_public(certificate, server_certificate.public_bytes(Encoding.PEM))


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} holds no private key that can be read without a password") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} is not an EC key")
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _pair(certificate: Path, key: Path, now: datetime.datetime) -> Pair | None:
    """The pair in these files, when both can be read, belong together and last long enough."""
    try:
        loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
        private = _load_key(key)
    except (OSError, ValueError):
        return None
    if loaded.public_key() != private.public_key():
        return None
    if loaded.not_valid_after_utc - now < datetime.timedelta(days=RENEW_DAYS):
        return None
    return loaded, private


def _is_current_server(
    certificate: Path, key: Path, authority: x509.Certificate, now: datetime.datetime, names: tuple[str, ...]
) -> bool:
    pair = _pair(certificate, key, now)
    if pair is None:
        return False
    try:
        pair[0].verify_directly_issued_by(authority)
        named = pair[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # noqa: BLE001 - whatever is wrong with it, the answer is to make a new one
        return False
    return set(names) <= set(named.get_values_for_type(x509.DNSName))


def _new_authority(now: datetime.datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"codeq self-made CA {now:%Y-%m-%d}")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        _builder(name, name, key.public_key(), now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, SHA256())
    )
    return certificate, key


def _new_server(
    ca_certificate: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey, now: datetime.datetime, names: tuple[str, ...]
) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in SERVER_ADDRESSES]
    certificate = (
        _builder(name, ca_certificate.subject, key.public_key(), now, SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, SHA256())
    )
    return certificate, key


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SLACK)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
