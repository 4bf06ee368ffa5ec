"""Bodies before their fields have a meaning."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.bodies import (
    BATCH_ITEMS_MAX,
    DEPTH_MAX,
    BadItem,
    CreateBody,
    check_media_type,
    named_task,
    read_create,
    read_create_batch,
    too_deep,
)
from appliance.errors import Problem
from tests.api.test_canonical import VALUES

ONE_BY_ONE_SECONDS = 0.2
"""Far more than it takes to count items, far less than to look at each."""


LARGE = 5_000


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


@given(VALUES)
def test_depth_is_counted_as_by_recursion(value: Any) -> None:
    text, found = json.dumps(value).encode(), _depth(value)
    assert not too_deep(text, found)
    assert found == 0 or too_deep(text, found - 1)


@given(st.lists(st.sampled_from("[]"), max_size=300), st.integers(0, 70))
def test_depth_is_found_wherever_it_is(steps: list[str], depth_max: int) -> None:
    text, opened, deepest = "", 0, 0
    for step in steps:
        if step == "]" and not opened:
            continue
        text += step
        opened += 1 if step == "[" else -1
        deepest = max(deepest, opened)
    text += "]" * opened
    assert too_deep(text.encode(), depth_max) is (deepest > depth_max)
    # In a large text brackets are looked for, not counted.
    for large in ('"' + "x" * LARGE + '"', "0," * LARGE + "0"):
        assert too_deep(f"[{large},{text or 0}]".encode(), depth_max) is (deepest + 1 > depth_max)


@pytest.mark.parametrize(("levels", "deep"), [(DEPTH_MAX, False), (DEPTH_MAX + 1, True)])
def test_a_body_may_be_nested_up_to_the_limit(levels: int, deep: bool) -> None:
    for before in range(9):
        text = b"[" + b"[]," * before + b"[" * (levels - 1) + b"]" * levels
        assert too_deep(text) is deep


@given(st.lists(st.text(alphabet='[]{}"\\a')))
def test_brackets_within_texts_do_not_count(texts: list[str]) -> None:
    assert not too_deep(json.dumps(texts).encode(), 1)
    assert too_deep(json.dumps(texts).encode(), 0)


@given(st.binary())
def test_any_bytes_are_a_body_or_a_problem(body: bytes) -> None:
    try:
        read_create(body)
    except Problem as problem:
        assert problem.code == "validation-error"


def test_a_wrong_type_names_the_field() -> None:
    with pytest.raises(Problem, match=r"\$\.maxAttempts"):
        read_create(b'{"command":"a","payload":1,"maxAttempts":"5"}')
    with pytest.raises(Problem, match="payload"):
        read_create(b'{"command":"a"}')


def test_a_batch_comes_bare_or_in_an_object() -> None:
    items, bare = read_create_batch(b' \n[{"command":"a","payload":1}]')
    assert bare
    assert isinstance(items[0], CreateBody)
    items, bare = read_create_batch(b'{"tasks":[{"command":"a","payload":1}],"more":1}')
    assert not bare
    assert isinstance(items[0], CreateBody)


@pytest.mark.parametrize("item", [b"[]", b"1", b'{"command":"a","payload":1}', b'{"command":1}', b"{}"])
@pytest.mark.parametrize("form", [b"[%b]", b'{"more":[1],"tasks":[%b]}'])
def test_reading_stops_at_the_first_item_too_many(item: bytes, form: bytes) -> None:
    items, _ = read_create_batch(form % b",".join([item] * BATCH_ITEMS_MAX))
    assert len(items) == BATCH_ITEMS_MAX
    body = form % b",".join([item] * 300_000)
    began = time.process_time()
    with pytest.raises(Problem, match="at most length 1000"):
        read_create_batch(body)
    assert time.process_time() - began < ONE_BY_ONE_SECONDS


def test_only_the_wrong_items_of_a_batch_are_wrong() -> None:
    items, _ = read_create_batch(
        b'[{"command":"a","payload":{"b" : 1}},7,{"command":5,"payload":1},{"command":"c","payload":1}]'
    )
    assert [isinstance(item, BadItem) for item in items] == [False, True, True, False]
    assert isinstance(items[0], CreateBody)
    assert bytes(items[0].payload) == b'{"b" : 1}'
    assert isinstance(items[2], BadItem)
    assert "$.command" in items[2].problem.message


def test_a_batch_that_is_no_json_is_wrong_as_a_whole() -> None:
    with pytest.raises(Problem):
        read_create_batch(b'[{"command":"a","payload":1},{"command":]')


def test_a_wrong_item_is_named_where_it_says_its_name() -> None:
    assert named_task(b'{"taskId":"x","status":1}') == "x"
    assert named_task(b'{"taskId":1}') is None
    assert named_task(b"7") is None


def test_an_empty_content_type_means_json() -> None:
    check_media_type({b"content-type": b""})
    check_media_type({b"content-encoding": b"identity"})
    with pytest.raises(Problem):
        check_media_type({b"content-type": b"application/json, application/json"})
