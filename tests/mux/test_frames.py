"""The frame walker: the same frames however the bytes are cut, and the right ones kept from the codec."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mux import frames
from appliance.mux.frames import Frame, FrameWalker, Http2Error, frame_header
from appliance.mux.h2_abuse import Abuse
from appliance.mux.limits import Limits
from appliance.mux.sniffer import HTTP2_PREFACE

# More than any limit on abuse, so that only the sorting is seen.
GENEROUS = Limits(h2_empty_frames=10_000, h2_unknown_frames=10_000, h2_pings=10_000, h2_settings=10_000)


def walk(pieces: list[bytes]) -> list[Frame]:
    """What the walker yields, with neighbouring runs for the codec joined."""
    walker = FrameWalker(Abuse(GENEROUS), 16_384)
    found: list[Frame] = []
    for piece in pieces:
        for frame in walker.receive(piece, 0.0):
            if found and frame.kind == found[-1].kind == frames.CODEC:
                found[-1] = Frame(frames.CODEC, 0, 0, found[-1].payload + frame.payload)
            else:
                found.append(frame)
    return found


_frames = st.one_of(
    st.builds(
        lambda stream_id, body, flags: frame_header(frames.DATA, flags, stream_id, len(body)) + body,
        st.integers(1, 9),
        st.binary(max_size=60),
        st.sampled_from([0, 1]),
    ),
    st.builds(lambda body: frame_header(frames.HEADERS, 4, 1, len(body)) + body, st.binary(max_size=60)),
    st.builds(lambda stream_id: frame_header(frames.WINDOW_UPDATE, 0, stream_id, 4) + b"\0\0\0\1", st.integers(0, 9)),
    st.just(frame_header(frames.PING, 0, 0, 8) + b"12345678"),
    st.just(frame_header(frames.SETTINGS, 0, 0, 0)),
    st.just(frame_header(0x42, 0, 5, 3) + b"abc"),
)


@given(st.lists(_frames, max_size=10), st.lists(st.integers(0, 900), max_size=6))
def test_the_frames_do_not_depend_on_how_the_bytes_are_cut(sent: list[bytes], cuts: list[int]) -> None:
    data = HTTP2_PREFACE + b"".join(sent)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    whole = walk([data])
    assert whole == walk([data[start:end] for start, end in itertools.pairwise(edges)])
    again = b"".join(
        each.payload
        if each.kind == frames.CODEC
        else frame_header(each.kind, each.flags, each.stream_id, len(each.payload)) + each.payload
        for each in whole
    )
    assert again == b"".join(sent)


def test_window_updates_pings_priorities_and_unknown_frames_are_kept_from_the_codec() -> None:
    update = frame_header(frames.WINDOW_UPDATE, 0, 3, 4) + b"\0\0\0\1"
    priority = frame_header(frames.PRIORITY, 0, 3, 5) + bytes(5)
    settings = frame_header(frames.SETTINGS, 0, 0, 0)
    found = walk([HTTP2_PREFACE + settings + update + priority + settings + frame_header(0x77, 1, 0, 0)])
    kinds = [frames.CODEC, frames.WINDOW_UPDATE, frames.PRIORITY, frames.CODEC, 0x77]
    assert [each.kind for each in found] == kinds


def test_inside_a_header_block_everything_goes_to_the_codec() -> None:
    data = HTTP2_PREFACE + frame_header(frames.HEADERS, 0, 1, 0) + frame_header(frames.PING, 0, 0, 8) + bytes(8)
    assert [each.kind for each in walk([data])] == [frames.CODEC]


def test_an_oversized_frame_is_refused_by_its_header_alone() -> None:
    with pytest.raises(Http2Error) as caught:
        walk([HTTP2_PREFACE + frame_header(frames.DATA, 0, 1, 16_385)])
    assert caught.value.code == frames.FRAME_SIZE_ERROR
