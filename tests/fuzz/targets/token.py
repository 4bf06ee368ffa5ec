"""Tokens: any header, and any claims that are rightly signed, are a caller or a refusal with a code."""

from typing import Final

from appliance.auth.claims import Rules
from appliance.auth.tokens import Validator
from appliance.errors import RATE_LIMITED, UNAUTHENTICATED, Problem
from tests.auth.makers import NOW, SECRET, claims, key_set, part, token

_VALIDATOR: Final = Validator(key_set(), Rules())
_GOOD: Final = token().encode()
_SHARED: Final = {"alg": "HS256", "kid": "hmac"}
_CODES: Final = (UNAUTHENTICATED, RATE_LIMITED)
SEEDS: Final = (
    b"\0" + b"Bearer " + _GOOD,
    b"\0" + b"bearer  " + _GOOD,
    b"\0" + b"Bearer " + _GOOD.partition(b".")[0] + b"..",
    b"\0Bearer " + part({"alg": "none"}).encode() + b"." + part(claims()).encode() + b".",
    b"\1" + b'{"sub":"a","tenantId":"t","exp":1999999999,"iat":1,"scope":"a b","eventTypes":["*"]}',
    b"\1" + b'{"sub":"a","tid":1,"exp":1e400,"aud":["x"],"role":"ADMIN"}',
    b"\1[]",
)


def run(data: bytes) -> None:
    """The first byte says whether the rest is a header, or claims that we sign ourselves."""
    header = data[1:]
    if data[:1] and data[0] & 1:
        header = b"Bearer " + token(data[1:], _SHARED, SECRET, "HS256").encode()
    try:
        _VALIDATOR.authenticate(header, NOW)
    except Problem as problem:
        assert problem.code in _CODES, problem
