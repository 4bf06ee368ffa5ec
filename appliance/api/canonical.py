"""JSON texts compared as values, for the repeat of a result, and two requests with one idempotency key.

Owns one canonical text per JSON value: members sorted by name, no spaces, a number written as an integer where it is
one. Numbers with a fraction compare as the doubles they stand for, integers exactly. Pure functions.
"""

import json
from functools import lru_cache
from hashlib import blake2b
from math import isfinite
from typing import Any, Final

import msgspec

from appliance.engine.rows import Idem
from appliance.tasks.model import NewTask

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


@lru_cache(maxsize=256)
def terms_hash(command: str, priority: int, max_attempts: int, webhook: str, run_at: int, delay_seconds: int) -> bytes:
    """What the contract compares of two creates with one key, defaults filled in, but for the payload; `run_at` in
    milliseconds. The same for most requests."""
    return _hash_of_terms(command, priority, max_attempts, webhook, run_at, delay_seconds).digest()


def same_request(idem: Idem, payload: bytes, new: NewTask) -> bool:
    """Whether a create is the one that made the task of its key, which has this payload."""
    if idem.without_payload:
        return idem.request_hash == new.terms_hash and same_json(payload, new.payload)
    delay_seconds = new.delay_ms // 1000
    hashed = _hash_of_terms(new.command, new.priority, new.max_attempts, new.webhook, new.run_at, delay_seconds)
    hashed.update(canonical(new.payload))
    return idem.request_hash == hashed.digest()


def _hash_of_terms(*terms: str | int) -> blake2b:
    return blake2b(_encode(terms), digest_size=HASH_BYTES)


def _canonical_value(value: Any) -> bytes:
    try:
        return _encode(value)
    except (OverflowError, RecursionError):
        # Integers beyond 64 bits are rare, and the faster encoder has no form for them.
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
