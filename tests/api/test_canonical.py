"""JSON as values."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.canonical import canonical, same_json, same_request, terms_hash
from appliance.engine.rows import Idem
from appliance.tasks.model import NewTask

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


def _asked(**changed: Any) -> NewTask:
    fields: dict[str, Any] = {"command": "a", "payload": b"[1, 2]", **changed}
    new = NewTask(**fields)
    delay_seconds = new.delay_ms // 1000
    new.terms_hash = terms_hash(new.command, new.priority, new.max_attempts, new.webhook, new.run_at, delay_seconds)
    return new


OLD_HASH = bytes.fromhex("b3dde960b71034e30707749e79b269a5")
"""What a release of format 4 wrote for this request."""


@pytest.mark.parametrize(
    "row",
    [Idem(bytes(16), _asked().terms_hash, without_payload=True), Idem(bytes(16), OLD_HASH)],
    ids=["a row of now", "a row with the payload in its hash"],
)
@pytest.mark.parametrize(
    "changed",
    [
        {"command": "b"},
        {"payload": b"[2, 1]"},
        {"priority": 1},
        {"max_attempts": 6},
        {"webhook": "http://x"},
        {"run_at": 7},
        {"delay_ms": 8_000},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_every_compared_field_makes_another_request(row: Idem, changed: dict[str, Any]) -> None:
    assert same_request(row, b"[1, 2]", _asked())
    assert same_request(row, b"[1, 2]", _asked(payload=b" [1.0,2] "))
    assert not same_request(row, b"[1, 2]", _asked(**changed))


def test_a_hash_has_sixteen_bytes() -> None:
    assert len(_asked().terms_hash) == 16
