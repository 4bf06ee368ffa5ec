"""Request bodies: from bytes to typed structs.

Owns the shape of every body, and the checks that come before its fields have a meaning: media type, UTF-8, JSON
syntax, nesting, types. Must not know what a value may be beyond its type. JSON values that belong to clients stay raw,
so they are kept byte for byte. Pure functions; everything wrong is a `Problem`.
"""

from collections.abc import Callable
from itertools import accumulate
from operator import add
from typing import Any, Final, Literal, TypeVar

import msgspec

from appliance.errors import UNSUPPORTED_MEDIA_TYPE, Problem, invalid

DEPTH_MAX: Final = 64
"""Arrays and objects within each other, over the whole body: what reads the JSON elsewhere may recurse."""

BATCH_ITEMS_MAX: Final = 1_000
"""Items in a batch."""

T = TypeVar("T")
_Json = msgspec.Raw


class CreateBody(msgspec.Struct, rename="camel", gc=False):
    """`POST /tasks`."""

    command: str
    payload: _Json
    priority: int | None = None
    max_attempts: int | None = None
    webhook: str | None = None
    idempotency_key: str | None = None
    run_at: str | None = None
    delay_seconds: int | None = None
    trace_parent: str | None = None
    trace_state: str | None = None


class ClaimBody(msgspec.Struct, rename="camel", gc=False):
    """`POST /tasks/claim`."""

    commands: list[str] | None = None
    lease_seconds: int | None = None
    wait_seconds: int | None = None
    worker_id: str | None = None


class ClaimBatchBody(ClaimBody, rename="camel", gc=False, kw_only=True):
    """`POST /tasks/claim/batch`."""

    count: int


class OwnerBody(msgspec.Struct, rename="camel", gc=False, kw_only=True):
    """What every action of a lease's owner may carry, and all that an abandon does."""

    worker_id: str | None = None
    lease_id: str | None = None


class HeartbeatBody(OwnerBody, rename="camel", gc=False, kw_only=True):
    """`POST /tasks/<id>/heartbeat`."""

    extend_seconds: int | None = None


class NackBody(OwnerBody, rename="camel", gc=False, kw_only=True):
    """`POST /tasks/<id>/nack`."""

    delay_seconds: int | None = None
    reason: str | None = None


class SubscribeBody(msgspec.Struct, rename="camel", gc=False):
    """`POST /workers/subscriptions`."""

    commands: list[str] | None = None
    event_types: list[str] | None = None
    callback_url: str | None = None
    ttl_seconds: int | None = None
    delivery_mode: Literal["fanout", "group", "hash"] | None = None
    group_id: str | None = None
    min_interval_seconds: int | None = None


class PollBody(msgspec.Struct, rename="camel", gc=False):
    """`POST /workers/subscriptions/<id>/heartbeat`."""

    wait_seconds: int | None = None


class Artifact(msgspec.Struct, gc=False):
    """A reference to something kept elsewhere."""

    name: str
    url: str


class ResultBody(OwnerBody, rename="camel", gc=False, kw_only=True):
    """`POST /tasks/<id>/result`."""

    status: Literal["COMPLETED", "FAILED"]
    result: _Json = msgspec.field(default_factory=_Json)
    error: str | None = None
    artifacts: list[Artifact] | None = None


class ResultItem(ResultBody, rename="camel", gc=False, kw_only=True):
    """One of `POST /tasks/batch/results`."""

    task_id: str


class CreateList(msgspec.Struct, gc=False):
    """`POST /tasks/batch`, where the list is a member."""

    tasks: list[CreateBody]


class ResultList(msgspec.Struct, gc=False):
    """`POST /tasks/batch/results`, where the list is a member."""

    results: list[ResultItem]


_FREE_TYPES: Final = frozenset({b"application/json", b"application/json; charset=utf-8", b""})


def check_media_type(headers: dict[bytes, bytes]) -> None:
    """Raises `unsupported-media-type` for a body that does not call itself JSON, or is compressed."""
    media_type = headers.get(b"content-type")
    if media_type is not None and media_type not in _FREE_TYPES and not _is_json(media_type):
        raise Problem(UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json (charset utf-8), or absent")
    if b"content-encoding" in headers and headers[b"content-encoding"].strip().lower() not in (b"", b"identity"):
        raise Problem(UNSUPPORTED_MEDIA_TYPE, "a Content-Encoding is not supported")


def _is_json(media_type: bytes) -> bool:
    essence, *parameters = (part.strip().lower() for part in media_type.split(b";"))
    return essence == b"application/json" and all(
        parameter in (b"", b"charset=utf-8", b'charset="utf-8"') for parameter in parameters
    )


def reader(decode: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """A function from a body to what `decode` makes of it; it raises `validation-error` where the body is wrong."""

    def read(body: bytes) -> T:
        try:
            body.isascii() or body.decode()
            value = decode(body or b"{}")
        except UnicodeDecodeError:
            raise invalid("the body is not valid UTF-8") from None
        except RecursionError:
            raise _too_deep() from None
        except msgspec.DecodeError as error:
            raise invalid(str(error)) from None
        if too_deep(body):
            raise _too_deep()
        return value

    return read


def _too_deep() -> Problem:
    return invalid(f"the body is nested deeper than {DEPTH_MAX}")


_BRACKETS: Final = b"[]{}"
_BITS: Final = bytes(ord("1") if byte in b"[{" else ord("0") for byte in range(256))
_EIGHT: Final = 8
"""Brackets that are looked at together, as the bits of a byte: 1 opens and 0 closes."""


def _steps(brackets: int, count: int) -> int:
    """How deep the first `count` of eight brackets lead, from where they begin."""
    opened = (brackets >> (_EIGHT - count)).bit_count()
    return 2 * opened - count


_NET: Final = bytes(_steps(brackets, _EIGHT) & 0xFF for brackets in range(256))
"""As signed bytes: where eight brackets lead together."""
_PEAK: Final = bytes(max(_steps(brackets, count) for count in range(_EIGHT + 1)) for brackets in range(256))
"""The deepest place among them."""

_COUNTED_BYTES_MAX: Final = 4 << 10
"""Up to here the opening brackets of a text are counted, which is faster than to look for each."""

_NOT_KEPT: Final = bytes(byte for byte in range(256) if byte not in _BRACKETS + b'"')


def too_deep(text: bytes, depth_max: int = DEPTH_MAX) -> bool:
    """Whether arrays and objects of a valid JSON text are nested deeper than this, in linear time: about 10 ns
    for each bracket, since the largest body may be nothing but brackets and the event loop waits for this."""
    if len(text) <= _COUNTED_BYTES_MAX:
        if text.count(b"[") + text.count(b"{") <= depth_max:
            return False
    elif not _opens_more_than(text, depth_max):
        return False
    # A run of backslashes is read in pairs from its left, so what is left of it escapes a quote or nothing.
    unescaped = text.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in text else text
    # Two quotes side by side end one text and begin the next, or hold nothing: without them the rest is as before.
    kept = unescaped.translate(None, _NOT_KEPT).replace(b'""', b"")
    bits = b"".join(kept.split(b'"')[::2]).translate(_BITS)
    bits += b"0" * (-len(bits) % _EIGHT)
    eights = int(b"0" + bits, 2).to_bytes(len(bits) // _EIGHT)
    after = memoryview(eights.translate(_NET)).cast("b")
    if max(accumulate(after), default=0) <= depth_max - _EIGHT:
        return False
    return max(map(add, accumulate(after, initial=0), eights.translate(_PEAK)), default=0) > depth_max


def _opens_more_than(text: bytes, most: int) -> bool:
    """Whether a text has more opening brackets than this. They are found one by one: to count those of a large text
    takes ten times as long as to find out that there are few, or many at its beginning."""
    for bracket in (b"[", b"{"):
        at = text.find(bracket)
        while at >= 0:
            if not most:
                return True
            most -= 1
            at = text.find(bracket, at + 1)
    return False


def _decoder(shape: type[T]) -> Callable[[bytes], T]:
    return msgspec.json.Decoder(shape).decode


read_create: Final = reader(_decoder(CreateBody))
read_claim: Final = reader(_decoder(ClaimBody))
read_claim_batch: Final = reader(_decoder(ClaimBatchBody))
read_owner: Final = reader(_decoder(OwnerBody))
read_heartbeat: Final = reader(_decoder(HeartbeatBody))
read_nack: Final = reader(_decoder(NackBody))
read_subscribe: Final = reader(_decoder(SubscribeBody))
read_poll: Final = reader(_decoder(PollBody))
read_result: Final = reader(_decoder(ResultBody))


class BadItem(msgspec.Struct, gc=False):
    """An item of a batch that is not what it should be; `raw` as it came."""

    problem: Problem
    raw: bytes


Items = list[T | BadItem]


_RawItems: Final = msgspec.defstruct(
    "_RawItems",
    [(f"item{number}", _Json, _Json()) for number in range(BATCH_ITEMS_MAX)],
    array_like=True,
    forbid_unknown_fields=True,
    gc=False,
)
"""A list of items as they came, with an end: reading stops at the first one too many. A body may hold millions."""

_BRACES_FREE: Final = 2 * BATCH_ITEMS_MAX
"""Up to here a body is read without being counted first: each item and its payload have a brace."""


def _batch_reader(item: type[T], bare: Any, wrapped: Any, name: str) -> Callable[[bytes], tuple[Items[T], bool]]:
    """A reader for a list that comes bare or as member `name` of an object; a bad item is a BadItem.

    The whole list is read at once, which is how nearly all of them come; item by item only where that fails.
    """
    raw_wrapped = msgspec.defstruct("_Wrapped", [(name, _RawItems)], gc=False)
    decode_bare, decode_raw = _decoder(bare), _decoder(_RawItems)
    decode_wrapped, decode_raw_wrapped, decode_item = _decoder(wrapped), _decoder(raw_wrapped), _decoder(item)

    def raw_items(body: bytes, is_bare: bool) -> list[_Json]:
        items = decode_raw(body) if is_bare else getattr(decode_raw_wrapped(body), name)
        return [raw for raw in msgspec.structs.astuple(items) if raw]

    def one(raw: bytes) -> T | BadItem:
        try:
            return decode_item(raw)
        except msgspec.DecodeError as error:
            return BadItem(invalid(str(error)), raw)

    def decode(body: bytes) -> tuple[Items[T], bool]:
        is_bare = body.lstrip(b" \t\r\n")[:1] == b"["
        if body.count(b"{") > _BRACES_FREE:
            raw_items(body, is_bare)
        try:
            found: Any = decode_bare(body) if is_bare else getattr(decode_wrapped(body), name)
        except msgspec.ValidationError:
            found = [one(bytes(raw)) for raw in raw_items(body, is_bare)]
        return found, is_bare

    return reader(decode)


read_create_batch: Final = _batch_reader(CreateBody, list[CreateBody], CreateList, "tasks")
read_result_batch: Final = _batch_reader(ResultItem, list[ResultItem], ResultList, "results")


class _Named(msgspec.Struct, rename="camel", gc=False):
    task_id: str


_decode_named: Final = _decoder(_Named)


def named_task(raw: bytes) -> str | None:
    """The `taskId` of an item that is wrong otherwise, as the client sent it; None where it sent no text."""
    try:
        return _decode_named(raw).task_id
    except msgspec.DecodeError:
        return None
