"""JSON texts compared as values: for the repeat of a result, and for two requests with one idempotency key.

Owns one canonical text per JSON value: members sorted by name, no spaces, a number written as an integer where it is
one. Numbers with a fraction compare as the doubles they stand for, integers exactly. Pure functions.
"""

import json
from functools import lru_cache
from hashlib import blake2b
from math import isfinite
from typing import Any, Final

import msgspec

HASH_BYTES: Final = 16
"""128 bits: a collision only matters within one idempotency key."""

_EXACT_MAX: Final = 1 << 53
"""Every integer up to here is a double of its own."""


def _number(text: str) -> Any:
    value = float(text)
    if not isfinite(value):
        return ["number out of range", text]
    if value.is_integer() and abs(value) <= _EXACT_MAX:
        return int(value)
    return value


_decode = msgspec.json.Decoder(float_hook=_number).decode
_encode = msgspec.json.Encoder(order="deterministic").encode


def canonical(text: bytes) -> bytes:
    """The canonical text of one JSON text. What can't be read as a value stands for itself."""
    try:
        value = _decode(text)
    except (ValueError, RecursionError):
        return text
    return _canonical_value(value)


def same_json(a: bytes, b: bytes) -> bool:
    """Whether two JSON texts are the same value; an empty text is the same as an empty one only."""
    return a == b or (bool(a) and bool(b) and canonical(a) == canonical(b))


def request_hash(
    command: str, payload: bytes, priority: int, max_attempts: int, webhook: str, run_at: int, delay_seconds: int
) -> bytes:
    """What the contract compares of two creates with one key, defaults filled in; `run_at` in milliseconds."""
    hashed = _terms_hash(command, priority, max_attempts, webhook, run_at, delay_seconds).copy()
    hashed.update(canonical(payload))
    digest: bytes = hashed.digest()
    return digest


@lru_cache(maxsize=256)
def _terms_hash(*terms: str | int) -> Any:
    """What a hash of a request begins with: the same for most requests. Nobody may go on with it, but with a copy."""
    return blake2b(_encode(terms), digest_size=HASH_BYTES)


def _canonical_value(value: Any) -> bytes:
    try:
        return _encode(value)
    except (OverflowError, RecursionError):
        # Integers beyond 64 bits are rare, and the faster encoder has no form for them.
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
