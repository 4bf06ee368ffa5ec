"""The messages of both streams, made and read for as few nanoseconds as Python allows.

Owns the protobuf bytes. What a load sends differs in a few bytes from message to message, so it is made once with a
place to fill in; what comes back is compared with what it should be, and only what differs is parsed. Sans-IO.
"""

from collections.abc import Iterator, Sequence
from typing import Final

PRODUCER_PATH: Final = "/producerpb.ProducerStream/Stream"
WORKER_PATH: Final = "/workerpb.WorkerStream/Stream"

SLOTS_MAX: Final = 1 << 14
"""Creates in flight on one stream: their number takes two bytes of `seq`."""
ID_BYTES: Final = 36
"""A task's id as text."""
SAMPLE: Final = b'{"at":'
"""How the payload of a task begins whose way is timed; the monotonic clock in nanoseconds follows."""
STAMP_BYTES: Final = 19
_STAMP_BASE: Final = 10**18
"""Added to each reading: always as many digits, the first of which is no zero, and still a 64-bit number."""

_SEQ_BASE: Final = 1 << 28
"""From here up a varint takes five bytes, so all messages of a kind have one length."""
_SEQ_AT: Final = 3
_SINGLE_ACK_BYTES: Final = 48
"""An acknowledgement of a create that succeeded: seq, ok, id; and two bytes of tag and length around it."""
_ACKED: Final = b"\x10\x01\x1a\x24"
"""`ok` set, then the tag and length of an id: neither an id nor a seq can look like this."""
_RESULT_OK_BYTES: Final = 42
_RESULT_OK: Final = b"\x10\x01"

_CREATE_ACK, _CREATE_ACK_BATCH = 2, 4
_TASK, _RESULT_ACK, _TASK_BATCH, _RESULT_ACK_BATCH = 2, 3, 8, 9
_HELLO_ACK: Final = 1
_PRODUCER_ERROR, _WORKER_ERROR = 3, 7


class MessageError(Exception):
    """The server sent something that is no message of these streams, or refused what the load depends on."""


Acks = tuple[int, int, Sequence[str]]
"""One message of acknowledgements: the slot that it frees, how many succeeded, and why the others did not."""
ResultAcks = tuple[bytes, int, Sequence[str]]
"""The same for results, with the first task in place of the slot."""

# Writing.


def varint(value: int) -> bytes:
    """A non-negative number in protobuf's form."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def number_field(number: int, value: int) -> bytes:
    """A varint field; proto3 leaves zeros out."""
    return varint(number << 3) + varint(value) if value else b""


def envelope(message: bytes) -> bytes:
    """A message with its gRPC prefix, uncompressed."""
    return b"\0" + len(message).to_bytes(4) + message


def hello(token: str, worker_id: str = "") -> bytes:
    """The first event of either stream."""
    return envelope(field(1, field(1, token.encode()) + (field(2, worker_id.encode()) if worker_id else b"")))


def stamp(clock_ns: int) -> bytes:
    """A clock reading for a sampled payload."""
    return b"%d" % (_STAMP_BASE + clock_ns)


def payload(size: int, *, sampled: bool) -> bytes:
    """JSON of `size` bytes, at least 48; a sampled one has `STAMP_BYTES` digits after `SAMPLE`."""
    head = SAMPLE + stamp(0) + b',"text":"' if sampled else b'{"number":1,"text":"'
    return head.ljust(size - 2, b"x") + b'"}'


def create(slot: int, command: str, content: bytes, priority: int = 0, key: str = "") -> bytes:
    """A CreateTask that is acknowledged with `slot`."""
    seq = number_field(1, _SEQ_BASE + slot)
    keyed = field(7, key.encode()) if key else b""
    return seq + field(2, command.encode()) + field(3, content) + number_field(4, priority) + keyed


def create_event(created: bytes) -> bytes:
    """A single create as an event."""
    return envelope(field(2, created))


def create_batch_event(creates: Sequence[bytes]) -> bytes:
    """Creates as one batch."""
    return envelope(field(3, b"".join(field(1, each) for each in creates)))


def ready_event(commands: Sequence[str], count: int, lease_seconds: int) -> bytes:
    """A Ready for up to `count` tasks; without commands it is for all that the token allows."""
    named = b"".join(field(1, each.encode()) for each in commands)
    return envelope(field(2, named + number_field(2, lease_seconds) + number_field(3, count)))


class ResultForm:
    """A result that completes a task, but for its id."""

    __slots__ = ("_between", "_head", "_result", "_size", "_tail", "single_bytes")

    def __init__(self, result_json: bytes) -> None:
        # An id of which no byte is part of the rest marks the place.
        mark = b"\0" * ID_BYTES
        result = field(1, mark) + field(2, b"COMPLETED") + field(3, result_json)
        item = field(1, result)
        head, tail = item.split(mark)
        self._head, self._tail, self._between, self._size = head, tail, tail + head, len(item)
        self._result = result
        self.single_bytes = len(self.single(mark))

    def single(self, task_id: bytes) -> bytes:
        """A Result for one task."""
        return envelope(field(3, self._result.replace(b"\0" * ID_BYTES, task_id)))

    def batch(self, ids: Sequence[bytes]) -> bytes:
        """A ResultBatch for tasks."""
        results = varint(self._size * len(ids)) + self._head + self._between.join(ids) + self._tail
        return b"\0" + (1 + len(results)).to_bytes(4) + b"\x3a" + results


# Reading.


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and content of each field: an int for a varint, else bytes. Raises MessageError."""
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _read_varint(message, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, at = _read_varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise MessageError("a message with a field of an unknown kind")
        if at + size > len(message):
            raise MessageError("a message that ends within a field")
        yield tag >> 3, message[at : at + size]
        at += size


def check_hello_ack(message: bytes) -> None:
    """Raises MessageError unless this is the answer to Hello."""
    number, content = _event(message)
    if number != _HELLO_ACK:
        raise MessageError(f"no answer to Hello: {_shown(content)}")


def acks(message: bytes, batch: int) -> Acks:
    """What a message to a producer acknowledges; each message sent had `batch` creates. Raises MessageError."""
    if batch == 1:
        if len(message) == _SINGLE_ACK_BYTES and message[8:12] == _ACKED:
            return _slot(message, _SEQ_AT), 1, ()
    else:
        size = _SINGLE_ACK_BYTES * batch
        if size + 2 <= len(message) <= size + 5 and message.count(_ACKED) == batch:
            return _slot(message, len(message) - size + _SEQ_AT), batch, ()
    return _slow_acks(message)


def is_tasks(message: bytes) -> bool:
    """Whether a message to a worker brings tasks, rather than acknowledgements."""
    return message[0] == _TASK_BATCH << 3 | 2 or message[0] == _TASK << 3 | 2


def task_id(message: bytes) -> bytes:
    """The id of the task in a TaskAssignment. Raises MessageError."""
    at = 2 if message[1] < 0x80 else 3 if message[2] < 0x80 else 4
    return _id(message, at + (2 if message[at + 1] < 0x80 else 3 if message[at + 2] < 0x80 else 4))


def task_ids(message: bytes) -> list[bytes]:
    """The ids of the tasks in a TaskBatch. Raises MessageError."""
    ids = []
    end = len(message)
    at = 2 if message[1] < 0x80 else 3 if message[2] < 0x80 else 4
    while at < end:
        size, start = message[at + 1], at + 2
        if size > 0x7F:
            size = size & 0x7F | message[start] << 7
            start += 1
            if size > 0x3FFF:
                size = size & 0x3FFF | message[start] << 14
                start += 1
        ids.append(_id(message, start))
        at = start + size
    return ids


def samples(message: bytes) -> list[int]:
    """The clock readings, nanoseconds, of the sampled tasks in a message to a worker."""
    found = []
    at = message.find(SAMPLE)
    while at >= 0:
        start = at + len(SAMPLE)
        found.append(int(message[start : start + STAMP_BYTES]) - _STAMP_BASE)
        at = message.find(SAMPLE, start)
    return found


def result_acks(message: bytes) -> ResultAcks:
    """First task, successes and refusals in acknowledgements of results. Raises MessageError."""
    if message[0] == _RESULT_ACK << 3 | 2 and len(message) == _RESULT_OK_BYTES and message[-2:] == _RESULT_OK:
        return message[4 : 4 + ID_BYTES], 1, ()
    if message[0] == _RESULT_ACK_BATCH << 3 | 2:
        start = 2 if message[1] < 0x80 else 3 if message[2] < 0x80 else 4
        count, rest = divmod(len(message) - start, _RESULT_OK_BYTES)
        if not rest and message.count(_RESULT_OK) == count:
            return message[start + 4 : start + 4 + ID_BYTES], count, ()
    return _slow_result_acks(message)


def _slot(message: bytes, at: int) -> int:
    return message[at] & 0x7F | (message[at + 1] & 0x7F) << 7


def _id(message: bytes, at: int) -> bytes:
    """The id with which the task at `at` begins."""
    if message[at : at + 2] != b"\x0a\x24":
        raise MessageError("a task whose id is not a UUID")
    return message[at + 2 : at + 2 + ID_BYTES]


def _event(message: bytes) -> tuple[int, bytes]:
    for number, content in fields(message):
        if isinstance(content, bytes):
            return number, content
    raise MessageError("a message without an event")


def _items(message: bytes, single: int, batch: int, error: int) -> list[bytes]:
    number, content = _event(message)
    if number == single:
        return [content]
    if number == batch:
        return [each for item, each in fields(content) if item == 1 and isinstance(each, bytes)]
    what = "an error" if number == error else f"event {number}"
    raise MessageError(f"{what} instead of acknowledgements: {_shown(content)}")


def _slow_acks(message: bytes) -> Acks:
    slot, ok, refusals = -1, 0, []
    for item in _items(message, _CREATE_ACK, _CREATE_ACK_BATCH, _PRODUCER_ERROR):
        values = dict(fields(item))
        if slot < 0:
            slot = int(values.get(1, 0)) - _SEQ_BASE
        if values.get(2):
            ok += 1
        else:
            refusals.append(_shown(values.get(4, b"")))
    return slot, ok, refusals


def _slow_result_acks(message: bytes) -> ResultAcks:
    first, ok, refusals = b"", 0, []
    for item in _items(message, _RESULT_ACK, _RESULT_ACK_BATCH, _WORKER_ERROR):
        values = dict(fields(item))
        task_id = values.get(1, b"")
        first = first or (task_id if isinstance(task_id, bytes) else b"")
        if values.get(2):
            ok += 1
        else:
            refusals.append(_shown(values.get(3, b"")))
    return first, ok, refusals


def _shown(content: int | bytes) -> str:
    """For people; cut, because it comes from the peer."""
    return content.decode("ascii", "replace")[:200] if isinstance(content, bytes) else str(content)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift, byte in enumerate(message[at : at + 10]):
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return value, at + shift + 1
    raise MessageError("a message that ends within a number")
