"""The first bytes decide."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mux.sniffer import HTTP2_PREFACE, RAFT_MAGIC, SNIFF_LIMIT_BYTES, Kind, sniff


@pytest.mark.parametrize(
    ("prefix", "kind"),
    [
        (b"", Kind.NEED_MORE),
        (b"\x16", Kind.TLS),
        (b"\x16\x03\x01", Kind.TLS),
        (b"GET / HTTP/1.1\r\n", Kind.HTTP1),
        (b"POST ", Kind.HTTP1),
        (b"POST", Kind.NEED_MORE),
        (b"P", Kind.NEED_MORE),
        (b"PR", Kind.NEED_MORE),
        (b"PRI", Kind.NEED_MORE),
        (b"PROPFIND /", Kind.HTTP1),
        (b"PRI * HTTP/1.1\r\n", Kind.UNKNOWN),
        (HTTP2_PREFACE[:-1], Kind.NEED_MORE),
        (HTTP2_PREFACE, Kind.HTTP2),
        (HTTP2_PREFACE + b"\0\0\0", Kind.HTTP2),
        (b"C", Kind.NEED_MORE),
        (b"CQRF", Kind.RAFT),
        (RAFT_MAGIC + b"\x01", Kind.RAFT),
        (b"CONNECT a:1 HTTP/1.1", Kind.HTTP1),
        (b"get / HTTP/1.1", Kind.UNKNOWN),
        (b" GET /", Kind.UNKNOWN),
        (b"\r\n", Kind.UNKNOWN),
        (b"SSH-2.0-OpenSSH", Kind.UNKNOWN),
        (b"A" * 17, Kind.UNKNOWN),
        (b"\x00", Kind.UNKNOWN),
        (b"\x80\x2e\x01", Kind.UNKNOWN),
    ],
)
def test_a_prefix_is_recognised(prefix: bytes, kind: Kind) -> None:
    assert sniff(prefix) is kind


_beginnings = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda start, rest: start + rest,
        st.sampled_from([HTTP2_PREFACE, HTTP2_PREFACE[:15], RAFT_MAGIC, b"GET ", b"PR", b"POST /", b"\x16\x03"]),
        st.binary(max_size=20),
    ),
)


@given(_beginnings)
def test_an_answer_never_changes_when_more_bytes_come(data: bytes) -> None:
    answers = [sniff(data[:count]) for count in range(len(data) + 1)]
    decided = [kind for kind in answers if kind is not Kind.NEED_MORE]
    assert len(set(decided)) <= 1
    assert not decided or answers[-1] is decided[0]


@given(st.binary(min_size=SNIFF_LIMIT_BYTES, max_size=64))
def test_no_answer_needs_more_than_the_limit(data: bytes) -> None:
    assert sniff(data) is not Kind.NEED_MORE
