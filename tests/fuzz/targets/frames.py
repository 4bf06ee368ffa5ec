"""The frame walker: any bytes behind a preface come out as frames, in the same order however they are cut."""

from typing import Final

from appliance.mux.frames import CODEC, FrameWalker, Http2Error
from appliance.mux.h2_abuse import Abuse, CalmDownError
from appliance.mux.limits import Limits
from tests.e2e import frames
from tests.e2e.frames import PREFACE, frame, settings, window_update

LIMITS: Final = Limits()
LANE: Final = {1, 3}
OVER: Final = {5: None}
SEEDS: Final = (
    settings((4, 0)) + frame(frames.HEADERS, 4, 1, b"\x82\x86\x84") + frame(frames.DATA, 0, 1, b"hello") * 3,
    frame(frames.PING, 0, 0, bytes(8)) + window_update(1, 5) + frame(frames.RST_STREAM, 0, 3, bytes(4)),
    frame(frames.HEADERS, 0, 1, b"\x82")
    + frame(frames.CONTINUATION, 4, 1, b"\x86")
    + frame(frames.DATA, 8, 3, b"\1x\0"),
    frame(frames.DATA, 0, 5, b"late") + frame(0xF0, 0, 0, b"?") + frame(frames.GOAWAY, 0, 0, bytes(8)),
    frame(frames.PRIORITY, 0, 1, bytes(5)) + frame(frames.DATA, 1, 1) + frame(frames.SETTINGS, 1, 0),
)


def _walk(pieces: list[bytes]) -> tuple[bytes, list[tuple[int, bytes]], str]:
    """What goes to the codec, what the connection handles itself, and how it ends."""
    walker = FrameWalker(Abuse(LIMITS), LIMITS.h2_frame_bytes, set(LANE), dict(OVER))
    codec, own, end = b"", list[tuple[int, bytes]](), ""
    try:
        for piece in pieces:
            for each in walker.receive(piece, 1.0):
                if each.kind == CODEC:
                    codec += each.payload
                elif own and own[-1][0] == each.kind == frames.DATA:
                    own[-1] = (each.kind, own[-1][1] + each.payload)
                else:
                    own.append((each.kind, each.payload))
    except (CalmDownError, Http2Error) as error:
        end = type(error).__name__
    return codec, own, end


def run(data: bytes) -> None:
    """The first byte says where it is cut."""
    whole = PREFACE + data
    cut = data[0] * len(whole) // 256 if data else 0
    one, other = _walk([whole]), _walk([whole[:cut], whole[cut:]])
    # Where it ends badly, what came just before may or may not have been handed over.
    assert one[2] or other[2] or one == other, (one, other)
