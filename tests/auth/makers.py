"""Builders of keys, claims and tokens, good ones, so that a test bends one thing."""

import base64
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from appliance.auth.keys import ALGORITHMS, Key, KeySet, public_key, secret_key
from appliance.auth.mint import PrivateKey

NOW = 1_800_000_000.0
SECRET = b"0123456789abcdef0123456789abcdef"

PRODUCER_EC = ec.generate_private_key(ec.SECP256R1())
WORKER_EC = ec.generate_private_key(ec.SECP256R1())
STRANGER_EC = ec.generate_private_key(ec.SECP256R1())
RSA_2048 = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ED25519 = ed25519.Ed25519PrivateKey.generate()


def pem(private: PrivateKey) -> bytes:
    """The private key as PEM."""
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(private: PrivateKey) -> bytes:
    """Its public key as PEM."""
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def jwk(private: PrivateKey, algorithm: str, **members: str) -> dict[str, Any]:
    """Its public key as a JWK."""
    return {**json.loads(ALGORITHMS[algorithm].to_jwk(private.public_key())), **members}


def key(private: PrivateKey, algorithm: str = "ES256", kid: str = "") -> Key:
    """Its verifying key."""
    return public_key(public_pem(private), algorithm, kid)


def key_set() -> KeySet:
    """One unnamed key per kind, and one of every other algorithm under a name."""
    return KeySet(
        [key(PRODUCER_EC), key(RSA_2048, "RS256", "rsa")],
        [key(WORKER_EC), key(ED25519, "EdDSA", "ed"), secret_key(SECRET, "hmac")],
    )


def part(value: object) -> str:
    """One base64url part; bytes go in as they are, anything else as JSON."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims; a change to None removes one."""
    good = {"sub": "alice", "exp": NOW + 3_600, "iat": NOW - 60, "tenantId": "acme", **changes}
    return {name: value for name, value in good.items() if value is not None}


def token(
    body: object = None, header: object = None, signer: PrivateKey | bytes = PRODUCER_EC, algorithm: str = "ES256"
) -> str:
    """A token with exactly this header and body, signed by `signer` whatever the header says."""
    head = {"alg": algorithm, "typ": "JWT"} if header is None else header
    signed = f"{part(head)}.{part(claims() if body is None else body)}"
    signature = ALGORITHMS[algorithm].sign(signed.encode(), signer)
    return f"{signed}.{part(signature)}"
