"""How deep JSON is nested, against a plain count. The input chooses brackets, texts and escapes."""

from typing import Final

from appliance.api.bodies import too_deep

PIECES: Final = (b"[", b"]", b"[]", b'"', b"\\", b"a", b"{", b"}")
SEEDS: Final = (bytes([0] * 70 + [1] * 70), bytes([0, 3, 0, 4, 3, 3, 1]), bytes([2] * 40))


def _text(data: bytes) -> tuple[bytes, int]:
    """A text whose brackets, outside of strings, are in balance; and its depth."""
    text, stack, deepest, within, escaped = b"", b"", 0, False, False
    for byte in data:
        piece = PIECES[byte % len(PIECES)]
        if within:
            text += piece
            for each in piece:
                if escaped:
                    escaped = False
                elif each == 0x5C:
                    escaped = True
                elif each == 0x22:
                    within = False
            continue
        if piece in (b"]", b"}"):
            if not stack:
                continue
            stack, piece = stack[:-1], b"]" if stack[-1:] == b"[" else b"}"
        elif piece in (b"[", b"{"):
            stack += piece
        elif piece == b"[]":
            deepest = max(deepest, len(stack) + 1)
        elif piece == b'"':
            within = True
        elif piece == b"\\":
            continue
        text += piece
        deepest = max(deepest, len(stack))
    if within:
        text += (b'\\"' if escaped else b"") + b'"'
    return text + bytes(0x5D if each == 0x5B else 0x7D for each in reversed(stack)), deepest


def run(data: bytes) -> None:
    """At its depth it is not too deep, below it it is."""
    text, depth = _text(data[:400])
    assert not too_deep(text, depth), (text, depth)
    assert depth == 0 or too_deep(text, depth - 1), (text, depth)
