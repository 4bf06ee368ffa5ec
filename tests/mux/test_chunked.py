"""The chunked coding: strict, bounded, the same however it is cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mux.chunked import ChunkedDecoder
from appliance.mux.limits import Limits
from appliance.mux.refusal import RefusedError

LIMITS = Limits()


def decode(pieces: list[bytes], limits: Limits = LIMITS) -> tuple[bytes, bytes, bool]:
    """Body, bytes behind it, and whether it is complete."""
    decoder = ChunkedDecoder(limits)
    rest = b""
    for piece in pieces:
        rest += piece
        rest = rest[decoder.feed(rest, 0) :]
    return bytes(decoder.body), rest, decoder.complete


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.binary(max_size=30), st.data())
def test_a_body_is_the_same_however_it_is_chunked_and_cut(
    chunks: list[bytes], behind: bytes, data: st.DataObject
) -> None:
    wire = b"".join(b"%X;x=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nX-Sum: 1\r\n\r\n" + behind
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    edges = [0, *cuts, len(wire)]
    pieces = [wire[start:end] for start, end in itertools.pairwise(edges)]
    assert decode(pieces) == (b"".join(chunks), behind, True)


@pytest.mark.parametrize(
    "wire",
    [
        b"5\nhello\r\n",
        b"5\r\nhello\n0\r\n",
        b"5\r\nhelloX\r\n",
        b"0x5\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"-5\r\n",
        b" 5\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"\r\n",
        b"g\r\n",
        b"fffffffffffffffff\r\n",
        b"5;" + b"x" * 300 + b"\r\n",
        b"5;" + b"x" * 300,
        b"5;a\x00b\r\nhello\r\n",
        b"5\rhello\r\n\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\n X: folded\r\n\r\n",
        b"0\r\nX: a\nY: b\r\n\r\n",
    ],
)
def test_a_malformed_chunk_is_refused_whole_and_byte_by_byte(wire: bytes) -> None:
    with pytest.raises(RefusedError) as whole:
        decode([wire])
    with pytest.raises(RefusedError) as cut:
        decode([wire[at : at + 1] for at in range(len(wire))])
    assert whole.value.problem.status == cut.value.problem.status == 400


def test_a_body_above_the_limit_is_refused_by_its_size_line() -> None:
    with pytest.raises(RefusedError) as caught:
        decode([b"5\r\nhello\r\n6\r\n"], Limits(body_bytes=10))
    assert caught.value.problem.status == 413


def test_trailers_are_bounded_together() -> None:
    with pytest.raises(RefusedError) as caught:
        decode([b"0\r\n" + b"X: 1\r\n" * 1_000])
    assert caught.value.problem.status == 431


def test_tiny_chunks_are_refused_after_a_while() -> None:
    decode([b"1\r\nx\r\n" * 1_000])
    with pytest.raises(RefusedError) as caught:
        decode([b"1\r\nx\r\n" * 2_000])
    assert caught.value.reason == "tiny-chunks"
