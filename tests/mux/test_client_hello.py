"""ClientHellos as a TLS library really makes them, whole, cut, damaged and hostile."""

import itertools
import ssl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.mux.client_hello import ClientHello, MalformedHello, NeedMore, parse

LIMIT = 16 * 1024


def make_hello(alpn: list[str] | None, name: str | None) -> bytes:
    """The first flight of a client that offers `alpn`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn is not None:
        context.set_alpn_protocols(alpn)
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


HELLO = make_hello(["h2", "http/1.1"], "queue.example")


@pytest.mark.parametrize(
    ("alpn", "name"), [(None, None), (["h2"], None), (["ftp"], "queue.example"), (["h2", "http/1.1"], "localhost")]
)
def test_the_offer_is_read(alpn: list[str] | None, name: str | None) -> None:
    expected = None if alpn is None else tuple(each.encode() for each in alpn)
    assert parse(make_hello(alpn, name), LIMIT) == ClientHello(expected, name or "")


@pytest.mark.parametrize("cut", range(len(HELLO)))
def test_every_prefix_asks_for_more_and_never_for_too_much(cut: int) -> None:
    verdict = parse(HELLO[:cut], LIMIT)
    assert isinstance(verdict, NeedMore)
    assert cut < verdict.total_bytes <= len(HELLO)


@given(st.lists(st.integers(1, len(HELLO) - 6), min_size=1, max_size=5, unique=True))
def test_a_hello_split_over_several_records_is_reassembled(cuts: list[int]) -> None:
    message = HELLO[5:]
    edges = [0, *sorted(cuts), len(message)]
    records = b""
    for start, end in itertools.pairwise(edges):
        records += b"\x16\x03\x01" + (end - start).to_bytes(2) + message[start:end]
    assert parse(records, LIMIT) == parse(HELLO, LIMIT)


@settings(max_examples=200)
@given(st.integers(0, len(HELLO) - 1), st.integers(0, 255))
def test_a_damaged_hello_gives_a_verdict_and_nothing_else(at: int, value: int) -> None:
    damaged = HELLO[:at] + bytes([value]) + HELLO[at + 1 :]
    try:
        verdict = parse(damaged, LIMIT)
    except MalformedHello:
        return
    assert isinstance(verdict, (ClientHello, NeedMore))


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x02\x01\x00\x05",
        b"\x17\x03\x01\x00\x05",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x40\x01",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
        b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
    ],
)
def test_what_can_never_be_a_hello_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedHello):
        parse(data, LIMIT)


def test_a_hello_above_the_limit_is_refused_before_it_has_come() -> None:
    with pytest.raises(MalformedHello):
        parse(b"\x16\x03\x01\x20\x00", 4096)
