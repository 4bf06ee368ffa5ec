"""The keys that verify tokens: one key, and the immutable set of all that are valid now.

Owns the algorithms, their strength rules, and reading PEM, secrets and JWKS text. Must not know files, URLs, threads or
claims. An algorithm belongs to its key and never comes from a token: that closes `none` and every mix-up of public keys
and secrets. All errors are `BadKeyError`, whose text never contains key material.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from jwt.algorithms import Algorithm, ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import InvalidKeyError

from appliance.auth.caller import PRODUCER, WORKER, Kind

KID_CHARS_MAX: Final = 128
HMAC_SECRET_BYTES_MIN: Final = 32
"""As long as the hash of HS256: a shorter secret is easier to guess than the signature (RFC 7518, 3.2)."""
RSA_BITS_MIN: Final = 2_048
RSA_BITS_MAX: Final = 8_192
"""One check with a key of 16,384 bits holds the event loop for a millisecond."""
KEYS_PER_KIND_MAX: Final = 64
UNNAMED_KEYS_MAX: Final = 8
"""Keys without a `kid` are tried one after the other for each unknown token, so there may only be a few."""

ALGORITHMS: Final[dict[str, Algorithm]] = {
    "RS256": RSAAlgorithm(RSAAlgorithm.SHA256),
    "ES256": ECAlgorithm(ECAlgorithm.SHA256, SECP256R1),
    "EdDSA": OKPAlgorithm(),
    "HS256": HMACAlgorithm(HMACAlgorithm.SHA256),
}
"""The verifying side of every algorithm that a key may have."""

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

_ALGORITHM_OF_JWK: Final = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
_CLASS_OF: Final[dict[str, type]] = {
    "RS256": RSAPublicKey,
    "ES256": EllipticCurvePublicKey,
    "EdDSA": Ed25519PublicKey,
}


class BadKeyError(Exception):
    """A key that can't be read or is too weak."""


@dataclass(frozen=True, slots=True)
class Key:
    """One verifying key with its fixed algorithm. An empty `kid` matches tokens with any `kid` or none."""

    algorithm: str
    material: Any = field(repr=False)
    identity: bytes = field(repr=False)
    kid: str = ""

    def verifies(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Whether `signature` over `signed` was made by this key with this algorithm."""
        if algorithm != self.algorithm:
            return False
        return bool(ALGORITHMS[self.algorithm].verify(signed, self.material, signature))


def public_key(pem: bytes, algorithm: str, kid: str = "") -> Key:
    """A key from the PEM text of a public key (`BEGIN PUBLIC KEY`). Raises `BadKeyError`."""
    if b"PRIVATE KEY" in pem:
        raise BadKeyError("this is a private key; a node needs the public key only")
    try:
        loaded = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadKeyError("this is not a public key in PEM form") from None
    return _checked(loaded, algorithm, kid)


def secret_key(secret: bytes, kid: str = "") -> Key:
    """An HS256 key from a shared secret. Raises `BadKeyError` when it is too short or is really a key pair's PEM."""
    if b"-----BEGIN" in secret:
        raise BadKeyError("a PEM key can't be the secret of HS256")
    if len(secret) < HMAC_SECRET_BYTES_MIN:
        raise BadKeyError(f"a secret needs at least {HMAC_SECRET_BYTES_MIN} bytes")
    return Key("HS256", secret, b"secret:" + secret, _checked_kid(kid))


def jwks_keys(text: bytes) -> tuple[Key, ...]:
    """The signing keys of a JWKS document. Keys of other uses and types are skipped, shared secrets too.

    Raises `BadKeyError` when the document is malformed, holds a weak key, or has no usable key at all.
    """
    try:
        document = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        raise BadKeyError("this is not a JWKS document") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise BadKeyError("this is not a JWKS document")
    if len(entries) > KEYS_PER_KIND_MAX:
        raise BadKeyError(f"a JWKS document may hold {KEYS_PER_KIND_MAX} keys")
    keys = tuple(key for key in map(_jwk, entries) if key is not None)
    if not keys:
        raise BadKeyError("the JWKS document holds no key that this node can use")
    return keys


def _jwk(entry: object) -> Key | None:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    curve, kty = entry.get("crv"), entry.get("kty")
    if not isinstance(kty, str) or not (curve is None or isinstance(curve, str)):
        return None
    algorithm = _ALGORITHM_OF_JWK.get((kty, curve))
    if algorithm is None or entry.get("alg", algorithm) != algorithm:
        return None
    kid = entry.get("kid", "")
    if not isinstance(kid, str):
        raise BadKeyError("a kid is not a string")
    public_members = {name: value for name, value in entry.items() if name in ("kty", "crv", "n", "e", "x", "y")}
    try:
        material = ALGORITHMS[algorithm].from_jwk(json.dumps(public_members))
    except (InvalidKeyError, ValueError, TypeError, KeyError):
        raise BadKeyError("a key of the JWKS document is malformed") from None
    return _checked(material, algorithm, kid)


def _checked_kid(kid: str) -> str:
    if len(kid) > KID_CHARS_MAX:
        raise BadKeyError(f"a kid may have {KID_CHARS_MAX} characters")
    return kid


def _checked(material: object, algorithm: str, kid: str) -> Key:
    expected = _CLASS_OF.get(algorithm)
    if expected is None or not isinstance(material, expected):
        raise BadKeyError(f"this key can't be used with {algorithm}")
    if isinstance(material, EllipticCurvePublicKey) and not isinstance(material.curve, SECP256R1):
        raise BadKeyError("ES256 needs a key on the curve P-256")
    if isinstance(material, RSAPublicKey) and not RSA_BITS_MIN <= material.key_size <= RSA_BITS_MAX:
        raise BadKeyError(f"an RSA key needs {RSA_BITS_MIN} to {RSA_BITS_MAX} bits, this one has {material.key_size}")
    assert isinstance(material, PublicKey)
    identity = material.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Key(algorithm, material, identity, _checked_kid(kid))


class KeySet:
    """All keys that are valid now, of both kinds. Immutable: a rotation makes a new one.

    Invariant: no key belongs to both kinds, so the key alone tells a producer's token from a worker's.
    """

    __slots__ = ("_named", "_unnamed", "size")

    def __init__(self, producer: Iterable[Key], worker: Iterable[Key]) -> None:
        """Raises `BadKeyError` when there are too many keys, two with one `kid`, or one key for both kinds."""
        self._named: dict[str, list[tuple[Kind, Key]]] = {}
        self._unnamed: list[tuple[Kind, Key]] = []
        self.size = 0
        identities: dict[bytes, Kind] = {}
        kinds: tuple[tuple[Kind, Iterable[Key]], ...] = ((PRODUCER, producer), (WORKER, worker))
        for kind, keys in kinds:
            self._add(kind, tuple(keys), identities)
        if len(self._unnamed) > UNNAMED_KEYS_MAX:
            raise BadKeyError(f"at most {UNNAMED_KEYS_MAX} keys may go without a kid")

    def _add(self, kind: Kind, keys: tuple[Key, ...], identities: dict[bytes, Kind]) -> None:
        if len(keys) > KEYS_PER_KIND_MAX:
            raise BadKeyError(f"at most {KEYS_PER_KIND_MAX} {kind} keys are possible")
        for key in keys:
            if identities.setdefault(key.identity, kind) != kind:
                raise BadKeyError("producer and worker tokens need separate keys; one key is configured for both")
            self.size += 1
            if not key.kid:
                self._unnamed.append((kind, key))
                continue
            same_name = self._named.setdefault(key.kid, [])
            if any(other == kind for other, _ in same_name):
                raise BadKeyError(f"two {kind} keys have the same kid")
            same_name.append((kind, key))

    def candidates(self, kid: str) -> list[tuple[Kind, Key]]:
        """The keys that may have signed a token with this `kid` (empty when it has none), by exact look-up."""
        named = self._named.get(kid)
        return self._unnamed if named is None else named + self._unnamed

    def knows(self, kid: str) -> bool:
        """Whether a key of exactly this name exists."""
        return kid in self._named
