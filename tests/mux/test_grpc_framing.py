"""gRPC framing: the same messages and the same refusal however the bytes are cut, and every limit on the prefix."""

import gzip
import itertools
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mux import grpc_framing
from appliance.mux.grpc_framing import GrpcError, MessageReader, encode_message, frame, parse_timeout_seconds, trailers

LIMIT_BYTES = 1_000


def prefixed(body: bytes, flag: int = 0) -> bytes:
    """One message as it stands on the wire, `body` taken as it is."""
    return bytes([flag]) + len(body).to_bytes(4) + body


def squeezed(message: bytes) -> bytes:
    """One message, compressed."""
    return prefixed(gzip.compress(message, mtime=0), 1)


def read(pieces: list[bytes], encoding: bytes = b"gzip") -> tuple[list[bytes], int | None, int]:
    """The messages, the status of the refusal if any, and the bytes that are left over."""
    reader = MessageReader(encoding, LIMIT_BYTES)
    messages: list[bytes] = []
    for piece in pieces:
        messages += reader.feed(piece)
        if reader.error is not None:
            assert reader.held_bytes == 0
            return messages, reader.error.status, 0
    return messages, None, reader.held_bytes


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


_messages = st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=8)
_places = st.lists(st.integers(0, 3_000), max_size=12)


@given(_messages, _places)
def test_any_messages_cut_anywhere_come_out_equal(sent: list[tuple[bytes, bool]], places: list[int]) -> None:
    data = b"".join(squeezed(message) if compressed else prefixed(message) for message, compressed in sent)
    assert read(cut(data, places)) == ([message for message, _ in sent], None, 0)


@given(_messages, st.binary(max_size=40), _places)
def test_any_bytes_give_the_same_messages_and_refusal_however_they_are_cut(
    sent: list[tuple[bytes, bool]], noise: bytes, places: list[int]
) -> None:
    data = b"".join(squeezed(message) if compressed else prefixed(message) for message, compressed in sent) + noise
    assert read(cut(data, places)) == read([data])


def test_the_framing_of_a_message_is_what_the_reader_takes() -> None:
    assert read([frame(b"") + frame(b"one")], b"") == ([b"", b"one"], None, 0)


def test_a_message_byte_by_byte_is_complete_with_its_last_byte() -> None:
    reader = MessageReader(b"identity", LIMIT_BYTES)
    data = frame(b"hello")
    assert [reader.feed(data[at : at + 1]) for at in range(len(data))] == [[]] * (len(data) - 1) + [[b"hello"]]
    assert reader.held_bytes == 0


def test_what_is_incomplete_is_counted() -> None:
    reader = MessageReader(b"", LIMIT_BYTES)
    assert reader.feed(frame(b"one") + frame(b"two")[:6]) == [b"one"]
    assert reader.held_bytes == 6


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (prefixed(b"", 2), grpc_framing.INTERNAL),
        (prefixed(b"x", 128), grpc_framing.INTERNAL),
        (prefixed(b"", 255), grpc_framing.INTERNAL),
        (b"\0" + (LIMIT_BYTES + 1).to_bytes(4), grpc_framing.RESOURCE_EXHAUSTED),
        (b"\0\xff\xff\xff\xff", grpc_framing.RESOURCE_EXHAUSTED),
        (b"\1\xff\xff\xff\xff", grpc_framing.RESOURCE_EXHAUSTED),
        (squeezed(bytes(LIMIT_BYTES + 1)), grpc_framing.RESOURCE_EXHAUSTED),
        (squeezed(bytes(10_000_000))[:4] + b"", None),
        (prefixed(b"", 1), grpc_framing.INTERNAL),
        (prefixed(b"no gzip at all", 1), grpc_framing.INTERNAL),
        (prefixed(gzip.compress(b"cut off")[:-1], 1), grpc_framing.INTERNAL),
        (prefixed(gzip.compress(b"a") + b"behind", 1), grpc_framing.INTERNAL),
        (prefixed(gzip.compress(b"a") + gzip.compress(b"b"), 1), grpc_framing.INTERNAL),
        (prefixed(zlib.compress(b"zlib is another form"), 1), grpc_framing.INTERNAL),
        (prefixed(gzip.compress(b"a")[:-8] + b"\0\0\0\0" + (1).to_bytes(4, "little"), 1), grpc_framing.INTERNAL),
    ],
)
def test_a_bad_message_is_refused_and_those_in_front_of_it_still_count(data: bytes, status: int | None) -> None:
    messages, found, _ = read([frame(b"before") + data])
    assert (messages, found) == ([b"before"], status)


def test_a_size_above_the_limit_is_refused_on_the_prefix_and_at_the_limit_taken() -> None:
    assert read([frame(bytes(LIMIT_BYTES))]) == ([bytes(LIMIT_BYTES)], None, 0)
    assert read([squeezed(bytes(LIMIT_BYTES))]) == ([bytes(LIMIT_BYTES)], None, 0)
    prefix = frame(bytes(LIMIT_BYTES + 1))[:5]
    assert read([prefix[:4]])[1] is None
    assert read([prefix[:4], prefix[4:]])[1] == grpc_framing.RESOURCE_EXHAUSTED


def test_a_bomb_is_inflated_no_further_than_the_limit() -> None:
    bomb = gzip.compress(bytes(500_000))
    assert len(bomb) < LIMIT_BYTES
    assert read([prefixed(bomb, 1)]) == ([], grpc_framing.RESOURCE_EXHAUSTED, 0)


@pytest.mark.parametrize("encoding", [b"", b"identity"])
def test_a_compressed_message_without_an_encoding_is_refused_by_its_flag(encoding: bytes) -> None:
    assert read([b"\1\0\0\0\x20"], encoding) == ([], grpc_framing.INTERNAL, 0)


@pytest.mark.parametrize("encoding", [b"deflate", b"snappy", b"GZIP", b"gzip,identity", b" ", b"\xff"])
def test_an_encoding_that_is_not_ours_is_unimplemented(encoding: bytes) -> None:
    with pytest.raises(GrpcError) as caught:
        MessageReader(encoding, LIMIT_BYTES)
    assert caught.value.status == grpc_framing.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1H", 3_600.0),
        (b"2M", 120.0),
        (b"30S", 30.0),
        (b"1500m", 1.5),
        (b"250000u", 0.25),
        (b"99999999n", 0.099999999),
        (b"0S", 0.0),
        (b"99999999H", 99_999_999 * 3_600.0),
        (b"00000001S", 1.0),
    ],
)
def test_a_timeout_is_digits_and_a_unit(value: bytes, seconds: float) -> None:
    assert parse_timeout_seconds(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [b"", b"S", b"1", b"1s", b"1h", b"123456789S", b"-1S", b"+1S", b"1.5S", b" 1S", b"1S ", b"1S, 2S", b"\xb2S"],
)  # fmt: skip
def test_any_other_timeout_is_refused(value: bytes) -> None:
    with pytest.raises(GrpcError) as caught:
        parse_timeout_seconds(value)
    assert caught.value.status == grpc_framing.INTERNAL


def unescape(value: bytes) -> bytes:
    """The reverse of percent-encoding, as a client does it."""
    found, at = b"", 0
    while at < len(value):
        if value[at : at + 1] == b"%":
            found += bytes([int(value[at + 1 : at + 3], 16)])
            at += 3
        else:
            found += value[at : at + 1]
            at += 1
    return found


@given(st.text())
def test_a_status_message_is_printable_ascii_that_gives_the_text_back(text: str) -> None:
    encoded = encode_message(text)
    assert all(0x20 <= byte <= 0x7E for byte in encoded)
    assert unescape(encoded).decode() == text.encode("utf-8", "replace").decode()


def test_the_special_message_of_the_interoperability_tests_is_encoded_as_they_want_it() -> None:
    text = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
    assert encode_message(text) == (
        b"%09%0Atest with whitespace%0D%0Aand Unicode BMP %E2%98%BA and non-BMP %F0%9F%98%88%09%0A"
    )
    assert encode_message("50% off") == b"50%25 off"


def test_trailers_have_a_status_and_a_message_only_if_there_is_one() -> None:
    assert trailers(0) == [(b"grpc-status", b"0")]
    assert trailers(13, "a b") == [(b"grpc-status", b"13"), (b"grpc-message", b"a b")]
