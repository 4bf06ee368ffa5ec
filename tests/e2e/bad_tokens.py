"""Bad tokens, as a table of functions from the node's keys to what stands behind `Bearer`.

All but those of `ACCEPTED` must be 401, whatever is asked for.
"""

import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

DAY_SECONDS: Final = 86_400
TENANT: Final = "malformed"


class Keys(NamedTuple):
    """The private keys of a node."""

    producer: EllipticCurvePrivateKey
    worker: EllipticCurvePrivateKey

    @classmethod
    def load(cls, producer: bytes, worker: bytes) -> "Keys":
        """Both keys from PEM."""
        return cls(_key(producer), _key(worker))


def _key(pem: bytes) -> EllipticCurvePrivateKey:
    key = load_pem_private_key(pem, password=None)
    assert isinstance(key, EllipticCurvePrivateKey)
    return key


Make = Callable[[Keys], str]


class Token(NamedTuple):
    """One token."""

    name: str
    make: Make


def text_of(value: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def signed(key: EllipticCurvePrivateKey, payload: bytes, header: bytes = b'{"alg":"ES256"}') -> str:
    """A token with these bytes as header and claims, rightly signed."""
    message = f"{text_of(header)}.{text_of(payload)}"
    r, s = decode_dss_signature(key.sign(message.encode(), ECDSA(SHA256())))
    return f"{message}.{text_of(r.to_bytes(32) + s.to_bytes(32))}"


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a good token, with changes; a value of None takes a claim away."""
    whole = {"sub": "somebody", "tenantId": TENANT, "exp": int(time.time()) + 3_600, **changes}
    return {name: value for name, value in whole.items() if value is not None}


def said(name: str, **changes: Any) -> Token:
    """A producer's token with changed claims."""
    return Token(name, lambda keys: signed(keys.producer, json.dumps(claims(**changes)).encode()))


def headed(name: str, **header: Any) -> Token:
    """A producer's token with more in its header."""
    text = json.dumps({"alg": "ES256", **header}).encode()
    return Token(name, lambda keys: signed(keys.producer, json.dumps(claims()).encode(), text))


def timed(name: str, claim: str, seconds: int) -> Token:
    """A producer's token with a time so far from now."""

    def make(keys: Keys) -> str:
        return signed(keys.producer, json.dumps(claims(**{claim: int(time.time()) + seconds})).encode())

    return Token(name, make)


def written(name: str, payload: bytes, header: bytes = b'{"alg":"ES256"}') -> Token:
    """A producer's token of literal bytes; `EXP` in them is a good expiry."""

    def make(keys: Keys) -> str:
        return signed(keys.producer, payload.replace(b"EXP", b"%d" % (time.time() + 3_600)), header)

    return Token(name, make)


def spoilt(name: str, spoil: Callable[[str], str]) -> Token:
    """A good token, then spoilt."""
    return Token(name, lambda keys: spoil(signed(keys.producer, json.dumps(claims()).encode())))


def _unsigned(algorithm: str) -> Make:
    header = text_of(json.dumps({"alg": algorithm}).encode())
    return lambda _: f"{header}.{text_of(json.dumps(claims()).encode())}."


def _public_key_as_secret(keys: Keys) -> str:
    secret = keys.producer.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    message = text_of(b'{"alg":"HS256"}') + "." + text_of(json.dumps(claims()).encode())
    return f"{message}.{text_of(hmac.digest(secret, message.encode(), 'sha256'))}"


def _own_key_in_the_header(_: Keys) -> str:
    key = generate_private_key(SECP256R1())
    numbers = key.public_key().public_numbers()
    jwk = {"kty": "EC", "crv": "P-256", "x": text_of(numbers.x.to_bytes(32)), "y": text_of(numbers.y.to_bytes(32))}
    return signed(key, json.dumps(claims()).encode(), json.dumps({"alg": "ES256", "jwk": jwk}).encode())


def _in_der_form(keys: Keys) -> str:
    message, _, _ = signed(keys.producer, json.dumps(claims()).encode()).rpartition(".")
    return f"{message}.{text_of(keys.producer.sign(message.encode(), ECDSA(SHA256())))}"


def _another_last_letter(token: str) -> str:
    """The same bytes, spelt otherwise: the last letter carries four bits that count and two that do not."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + letters[letters.index(token[-1]) ^ 1]


def _flipped(token: str) -> str:
    return token[:-5] + ("A" if token[-5] != "A" else "B") + token[-4:]


def _without_signature(token: str) -> str:
    return token.rpartition(".")[0] + "."


SIGNATURES: Final = (
    *(Token(f"unsigned, {name}", _unsigned(name)) for name in ("none", "None", "nOnE", "NONE", "")),
    Token("the public key as a secret", _public_key_as_secret),
    Token("a stranger's key", lambda _: signed(generate_private_key(SECP256R1()), json.dumps(claims()).encode())),
    Token("a stranger's key, offered in the header", _own_key_in_the_header),
    Token("the worker's key", lambda keys: signed(keys.worker, json.dumps(claims()).encode())),
    Token("a signature in another form", _in_der_form),
    spoilt("a flipped signature", _flipped),
    spoilt("no signature", _without_signature),
    spoilt("another spelling of the signature", _another_last_letter),
    spoilt("padding", lambda token: token + "=="),
    spoilt("four parts", lambda token: token + ".e30"),
    spoilt("two parts", lambda token: token.rpartition(".")[0]),
    spoilt("claims of another token", lambda token: ".".join((token.split(".")[0], "e30", token.split(".")[2]))),
    headed("another algorithm", alg="RS256"),
    headed("an algorithm that is no text", alg=["ES256"]),
    headed("an unknown extension", crit=["exp"]),
    headed("unencoded claims", b64=False),
    headed("another type", typ="ticket+jwt"),
    headed("a key name that is no text", kid=1),
    headed("a key name past its limit", kid="k" * 129),
    Token("no token at all", lambda _: "x"),
    Token("an empty token", lambda _: ".."),
    Token("past 8 KiB", lambda keys: signed(keys.producer, json.dumps(claims(more="x" * 8_192)).encode())),
)

CLAIMS: Final = (
    timed("expired", "exp", -61),
    said("no expiry", exp=None),
    said("an expiry in words", exp="tomorrow"),
    said("an expiry that is true", exp=True),
    said("a negative expiry", exp=-1),
    timed("an expiry past the configured lifetime", "exp", 3_661 * DAY_SECONDS),
    said("an expiry of 400 digits", exp=10**400),
    said("no subject", sub=None),
    said("an empty subject", sub=""),
    said("a subject that is a number", sub=1),
    said("a subject past its limit", sub="s" * 257),
    said("a subject with a line break", sub="a\nb"),
    timed("issued in the future", "iat", 65),
    timed("not valid yet", "nbf", 65),
    said("issued at a time in words", iat="now"),
    said("tenants that disagree", tid="another"),
    said("tenants that disagree further down", organization_id="another"),
    said("an empty tenant", tenantId=""),
    said("an empty tenant beside a good one", tid=""),
    said("a tenant that is a number", tenantId=7),
    said("a tenant that is a list", tenantId=[TENANT]),
    said("a tenant past its limit", tenantId="t" * 257),
    said("a tenant with a NUL", tenantId="a\0b"),
    said("a tenant with half a surrogate", tenantId="\ud800"),
    said("scopes that are no list", scopes="codeq:claim"),
    said("scopes with a number", scopes=[1]),
    said("a scope that is a list", scope=["codeq:claim"]),
    said("commands that are no list", eventTypes="*"),
    said("commands with a number", eventTypes=[1]),
    written("a claim twice", b'{"sub":"a","sub":"b","tenantId":"malformed","exp":EXP}'),
    written("a header twice", b'{"sub":"a","tenantId":"malformed","exp":EXP}', b'{"alg":"ES256","alg":"ES256"}'),
    written("an expiry that is no number", b'{"sub":"a","tenantId":"malformed","exp":NaN}'),
    written("an infinite expiry", b'{"sub":"a","tenantId":"malformed","exp":1e999}'),
    written("claims that are no object", b'["sub"]'),
    written("claims that are no JSON", b"sub=a"),
    written("claims that are no UTF-8", b'{"sub":"\xff","exp":EXP}'),
    written("claims nested deeply", b'{"sub":' + b"[" * 2_500 + b"]" * 2_500 + b',"exp":EXP}'),
    written("a header that is no object", b'{"sub":"a","exp":EXP}', b'"ES256"'),
)

TABLE: Final = SIGNATURES + CLAIMS

ACCEPTED: Final = (
    timed("just expired, within the skew", "exp", -50),
    timed("issued in a moment, within the skew", "iat", 50),
    said("the longest subject", sub="s" * 256),
    said("a type", role="ADMIN"),
    said("the tenant under all of its names", tid=TENANT, tenant_id=TENANT, organizationId=TENANT),
    said("unknown claims", colour="blue"),
    headed("a type that is known", typ="at+jwt"),
    headed("a key's address, which is ignored", jku="https://example.com/keys"),
)

HEADERS: Final = (
    ("no header", None),
    ("an empty header", ""),
    ("another scheme", "Basic {}"),
    ("no scheme", "{}"),
    ("no token", "Bearer"),
    ("something behind the token", "Bearer {} x"),
    ("two tokens", "Bearer {}, Bearer {}"),
    ("quotes", 'Bearer "{}"'),
)
"""What stands in `Authorization`; `{}` is a good token."""
