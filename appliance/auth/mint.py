"""Making tokens: the other end of validation, for the command line, development and tests.

Owns turning a private key or a secret and some names into a signed token. Must not know where keys are stored. The time
is an argument; whatever is made here passes validation under the same rules.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from appliance.auth.caller import WORKER, Kind
from appliance.auth.keys import BadKeyError, public_key, secret_key

PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey

_ALGORITHM_OF: Final[tuple[tuple[type, str], ...]] = (
    (RSAPrivateKey, "RS256"),
    (EllipticCurvePrivateKey, "ES256"),
    (Ed25519PrivateKey, "EdDSA"),
)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs, with the algorithm that belongs to it."""

    algorithm: str
    material: PrivateKey | bytes


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token shall say. `commands` matter for workers only; `*` among them means all."""

    kind: Kind
    subject: str
    tenant: str
    lifetime_seconds: int
    scopes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    role: str = ""
    issuer: str = ""
    audience: str = ""


def signing_key(text: bytes, algorithm: str = "") -> SigningKey:
    """The key in a private key's PEM, or with `HS256` the secret that `text` is.

    Without `algorithm` the key's own is used. Raises `BadKeyError` when the key is malformed, weak, or doesn't fit.
    """
    if algorithm == "HS256":
        secret = text.rstrip(b"\r\n")
        secret_key(secret)
        return SigningKey(algorithm, secret)
    try:
        material = load_pem_private_key(text, password=None)
    except (ValueError, TypeError):
        raise BadKeyError("this is not an unencrypted private key in PEM form") from None
    own = next((name for cls, name in _ALGORITHM_OF if isinstance(material, cls)), "")
    if not own or algorithm not in ("", own):
        raise BadKeyError(f"this key can't be used with {algorithm or 'any algorithm that a node accepts'}")
    assert isinstance(material, PrivateKey)
    public_key(material.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), own)
    return SigningKey(own, material)


def mint(key: SigningKey, grant: Grant, now_seconds: float, kid: str = "") -> str:
    """A signed token that is valid from `now_seconds` (epoch) for the grant's lifetime."""
    claims: dict[str, Any] = {
        "sub": grant.subject,
        "tenantId": grant.tenant,
        "iat": int(now_seconds),
        "exp": int(now_seconds) + grant.lifetime_seconds,
    }
    if grant.kind == WORKER:
        claims["eventTypes"] = list(_unique(grant.commands))
    optional = {
        "scopes": list(_unique(grant.scopes)),
        "role": grant.role,
        "iss": grant.issuer,
        "aud": grant.audience,
    }
    claims.update((name, value) for name, value in optional.items() if value)
    return jwt.encode(claims, key.material, algorithm=key.algorithm, headers={"kid": kid} if kid else None)


def _unique(words: Iterable[str]) -> Iterable[str]:
    return dict.fromkeys(words)
