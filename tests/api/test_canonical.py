"""JSON as values."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.canonical import canonical, request_hash, same_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (b'{"a":1,"b":[2]}', b' { "b" : [ 2.0 ] , "a" : 1e0 } '),
        (b"100", b"1e2"),
        (b"0", b"-0.0"),
        (b'"\\u0041"', b'"A"'),
        (b"", b""),
        (b"123456789012345678901234567890", b"123456789012345678901234567890 "),
        (b"[1e400]", b"[ 1e400 ]"),
    ],
)
def test_equal_values_are_the_same(a: bytes, b: bytes) -> None:
    assert same_json(a, b)
    assert same_json(b, a)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (b"1", b"true"),
        (b"0", b"false"),
        (b'"1"', b"1"),
        (b"null", b""),
        (b"[1,2]", b"[2,1]"),
        (b"1.5", b"1.25"),
        (b"1e400", b"null"),
        (b"1e400", b"-1e400"),
        (b"9007199254740993", b"9007199254740992.0"),
        (b"123456789012345678901234567890", b"123456789012345678901234567891"),
        (b'{"a":null}', b"{}"),
    ],
)
def test_different_values_are_not_the_same(a: bytes, b: bytes) -> None:
    assert not same_json(a, b)
    assert not same_json(b, a)


def test_what_cannot_be_read_as_a_value_stands_for_itself() -> None:
    digits = b"1" * 100_000
    assert same_json(digits, digits)
    assert not same_json(digits, b" " + digits)
    assert canonical(b"[" * 100_000) == b"[" * 100_000


@given(VALUES, st.randoms(use_true_random=False))
def test_spelling_does_not_matter(value: Any, random: Any) -> None:
    assert same_json(
        json.dumps(value).encode(), json.dumps(_shuffled(value, random), indent=1, ensure_ascii=False).encode()
    )


def _shuffled(value: Any, random: Any) -> Any:
    if isinstance(value, dict):
        members = [(name, _shuffled(member, random)) for name, member in value.items()]
        random.shuffle(members)
        return dict(members)
    return [_shuffled(member, random) for member in value] if isinstance(value, list) else value


@given(VALUES, VALUES)
def test_two_values_are_the_same_exactly_when_their_sorted_texts_are(a: Any, b: Any) -> None:
    texts = [json.dumps(value).encode() for value in (a, b)]
    assert same_json(*texts) == (_model(a) == _model(b))


def _model(value: Any) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        return str(int(value))
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{_model(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_model(member) for member in value) + "]"
    return json.dumps(value)


def test_every_compared_field_changes_the_hash() -> None:
    base: list[Any] = ["a", b"1", 0, 5, "", 0, 0]
    other: list[Any] = ["b", b"2", 1, 6, "http://x", 7, 8]
    hashes = {request_hash(*base)}
    for index, value in enumerate(other):
        hashes.add(request_hash(*[*base[:index], value, *base[index + 1 :]]))
    assert len(hashes) == len(base) + 1
    assert all(len(found) == 16 for found in hashes)
    assert request_hash("a", b" 1.0 ", 0, 5, "", 0, 0) == request_hash(*base)
