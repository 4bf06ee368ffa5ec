"""Some flipped bits, and the map of what they hit."""

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from appliance.engine.datafile import DATA_NAME
from tests.campaigns.bit_flips import HARMLESS, NOT_STARTED, REFUSED, SHARES, Died, apart, campaign, plan, prepare
from tests.campaigns.page_map import DATA, KEY, KINDS, META, UNUSED, PageMap

SEED = 20_260
FLIPS = 120


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("sound"), SEED)


def test_nothing_but_what_was_written_is_served_whatever_bit_is_flipped(sound: Path) -> None:
    verdicts = campaign(sound, plan(sound, SEED, FLIPS, SHARES), 2)
    wrong = [f"{each.flip.kind} {each.flip}: {each.wrong[0]}" for each in verdicts if each.wrong]
    assert not wrong, "\n".join(wrong)
    outcomes = Counter((each.flip.kind, each.outcome) for each in verdicts)
    assert outcomes[DATA, HARMLESS] == outcomes[KEY, HARMLESS] == 0
    assert outcomes[DATA, REFUSED] and outcomes[META, NOT_STARTED]
    assert all(each.outcome == HARMLESS for each in verdicts if each.flip.kind == UNUSED)


def test_the_map_of_pages_has_every_byte_once(sound: Path) -> None:
    data = (sound / DATA_NAME).read_bytes()
    page_map = PageMap(data)
    at = 0
    for low, high in sorted(each for kind in KINDS for each in page_map.ranges[kind]):
        assert low == at
        at = high
    assert at == len(data)
    assert all(page_map.bytes_of(kind) for kind in KINDS)


def test_a_process_apart_answers_raises_or_dies() -> None:
    assert apart(lambda: [1, 2]) == [1, 2]
    with pytest.raises(ValueError):
        apart(lambda: int("none"))
    with pytest.raises(Died, match="SIGTERM"):
        apart(lambda: os.kill(os.getpid(), signal.SIGTERM))
