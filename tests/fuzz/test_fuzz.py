"""Every target over its seeds, the corpus that is kept, and a few thousand bent inputs; and the engine itself."""

import gc
import weakref

import pytest

from tests.fuzz import engine, targets
from tests.fuzz.engine import Found, corpus, fuzz, judge, make
from tests.fuzz.targets import Target, events

SEED = 5
INPUTS = 1_000
SECONDS = 3.0


@pytest.mark.parametrize("name", targets.NAMES)
def test_a_target_takes_its_corpus_and_bent_inputs(name: str) -> None:
    target = targets.load(name)
    assert [wrong for data in corpus(target) if (wrong := judge(target, data)[0])] == []
    result = fuzz(target, SEED, 0, 1, seconds=SECONDS, inputs=INPUTS, findings_max=1)
    assert result.findings == [] and result.inputs > 0


def test_an_input_comes_from_its_seed_and_number_alone() -> None:
    pool = [b"hello", b"there"]
    assert [make(pool, 1, number) for number in range(100)] == [make(pool, 1, number) for number in range(100)]
    assert len({make(pool, 1, number) for number in range(100)}) > 50


def test_what_a_target_raises_is_found() -> None:
    def run(data: bytes) -> None:
        assert b"x" not in data, "an x"

    target = Target("none", (b"wwww",), run)
    result = fuzz(target, SEED, 0, 1, seconds=60, inputs=10_000, findings_max=1)
    assert isinstance(result.findings[0], Found) and "an x" in result.findings[0].wrong
    assert b"x" in result.findings[0].data


def test_a_node_that_inputs_shared_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LIVES", 50)
    monkeypatch.setattr(events, "_stage", events._Stage())
    node = weakref.ref(events._stage.node)
    target = targets.load("events")
    pool = corpus(target)
    for number in range(51):
        target.run(make(pool, SEED, number))
    gc.collect()
    assert node() is None


def test_an_input_that_takes_too_long_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "INPUT_SECONDS_MAX", 0.0)
    assert judge(Target("none", (b"",), lambda _: None), b"")[0].startswith("took")
