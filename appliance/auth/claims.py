"""What the claims of a token mean: the pure half of validation.

Owns parsing the two JSON parts of a token, and the rules for `sub`, `exp`, `iat`, `nbf`, `aud`, `iss`, the tenant, the
commands, the scopes and the role. Must not know keys, signatures, HTTP or tasks. Sans-IO: the time is an argument.
Every refusal is a `TokenError`, whose text is safe to show to the client: it never repeats a byte of the token.
"""

import base64
import binascii
import json
import math
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from appliance.auth.caller import PRODUCER, SCOPE_ADMIN, SCOPE_OPERATOR, Caller, Kind

NAME_BYTES_MAX: Final = 256
"""A tenant or a subject: both become parts of keys in the store, whose keys end at 511 bytes."""

TENANT_CLAIMS: Final = ("tid", "tenantId", "tenant_id", "organizationId", "organization_id")
ADMIN_ROLE: Final = "ADMIN"
ALL_COMMANDS: Final = "*"

SECONDS_PER_DAY: Final = 86_400

_CONTROL_CHARACTERS: Final = frozenset(map(chr, [*range(0x20), *range(0x7F, 0xA0)]))


class TokenError(Exception):
    """The token is not valid. The text says why without repeating any of it."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is configured about claims. An empty `issuer` or `audience` is not checked.

    A token whose `exp` lies further ahead than `max_lifetime_days` is refused, which also bounds absurd numbers.
    """

    issuer: str = ""
    audience: str = ""
    max_lifetime_days: int = 3_660
    skew_seconds: int = 60


def decode_part(part: str) -> bytes:
    """The bytes of one base64url part. Only the one canonical spelling is accepted, so a token has one form.

    Raises `TokenError`.
    """
    try:
        raw = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise TokenError("the token is malformed") from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != part.encode():
        raise TokenError("the token is malformed")
    return raw


def parse_object(raw: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8, in which no name occurs twice at any level. Raises `TokenError`."""
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except TokenError:
        raise
    except (ValueError, RecursionError):
        raise TokenError("the token is malformed") from None
    if not isinstance(value, dict):
        raise TokenError("the token is malformed")
    return value


def caller_of(claims: dict[str, Any], kind: Kind, rules: Rules, now_seconds: float) -> Caller:
    """The caller that these claims, signed by a key of this `kind`, describe. Raises `TokenError`."""
    expires = _expiry(claims, rules, now_seconds)
    _check_started(claims, rules, now_seconds)
    _check_parties(claims, rules)
    subject = _name(claims.get("sub"), "sub")
    scopes = _scopes(claims)
    commands = _commands(claims)
    producer = kind == PRODUCER
    operator = producer and SCOPE_OPERATOR in scopes
    return Caller(
        tenant=_tenant(claims, subject),
        subject=subject,
        kind=kind,
        commands=None if producer else commands,
        scopes=scopes if producer else scopes - {SCOPE_ADMIN, SCOPE_OPERATOR},
        admin=operator or (producer and (SCOPE_ADMIN in scopes or claims.get("role") == ADMIN_ROLE)),
        operator=operator,
        expires=expires,
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise TokenError("the token names a claim twice")
    return result


def _no_constant(_word: str) -> NoReturn:
    raise TokenError("the token is malformed")


def _number(claims: dict[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenError(f"the token's {name} is not a number")
    try:
        number = float(value)
    except OverflowError:
        raise TokenError(f"the token's {name} is out of range") from None
    if not math.isfinite(number):
        raise TokenError(f"the token's {name} is out of range")
    return number


def _expiry(claims: dict[str, Any], rules: Rules, now_seconds: float) -> float:
    if "exp" not in claims:
        raise TokenError("the token has no exp")
    end = _number(claims, "exp") + rules.skew_seconds
    if end <= now_seconds:
        raise TokenError("the token has expired")
    if end - 2 * rules.skew_seconds - now_seconds > rules.max_lifetime_days * SECONDS_PER_DAY:
        raise TokenError("the token's exp lies further ahead than this node allows")
    return end


def _check_started(claims: dict[str, Any], rules: Rules, now_seconds: float) -> None:
    for name in ("iat", "nbf"):
        if name in claims and _number(claims, name) > now_seconds + rules.skew_seconds:
            raise TokenError(f"the token's {name} lies in the future")


def _check_parties(claims: dict[str, Any], rules: Rules) -> None:
    if rules.issuer:
        issuer = claims.get("iss")
        if not isinstance(issuer, str) or issuer != rules.issuer:
            raise TokenError("the token's iss is not the one this node expects")
    if rules.audience:
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if not all(isinstance(one, str) for one in audiences) or rules.audience not in audiences:
            raise TokenError("the token's aud does not name this node")


def is_name(text: str) -> bool:
    """Whether a token could name a tenant so."""
    try:
        return bool(_name(text, ""))
    except TokenError:
        return False


def _name(value: object, claim: str) -> str:
    if not isinstance(value, str) or not value:
        raise TokenError(f"the token's {claim} is not a string that names somebody")
    try:
        size_bytes = len(value.encode("utf-8"))
    except UnicodeEncodeError:
        raise TokenError(f"the token's {claim} is not valid text") from None
    if size_bytes > NAME_BYTES_MAX:
        raise TokenError(f"the token's {claim} is longer than {NAME_BYTES_MAX} bytes")
    if not _CONTROL_CHARACTERS.isdisjoint(value):
        raise TokenError(f"the token's {claim} contains control characters")
    return value


def _tenant(claims: dict[str, Any], subject: str) -> str:
    named = {_name(claims[claim], claim) for claim in TENANT_CLAIMS if claim in claims}
    if len(named) > 1:
        raise TokenError("the token's tenant claims disagree")
    return named.pop() if named else subject


def _strings(claims: dict[str, Any], name: str) -> frozenset[str]:
    value = claims.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise TokenError(f"the token's {name} is not a list of strings")
    return frozenset(value)


def _scopes(claims: dict[str, Any]) -> frozenset[str]:
    scope = claims.get("scope", "")
    if not isinstance(scope, str):
        raise TokenError("the token's scope is not a string")
    return _strings(claims, "scopes") | frozenset(scope.split())


def _commands(claims: dict[str, Any]) -> frozenset[str] | None:
    commands = _strings(claims, "eventTypes")
    return None if ALL_COMMANDS in commands else commands
