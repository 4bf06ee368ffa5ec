"""Three hundred power cuts, and deliberate errors that they find."""

from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Self

import pytest

from tests.campaigns import power_cut
from tests.campaigns.power_cut import KINDS, Campaign

SEED = 20_260
STATES = 300
MUTANT_STATES = 1_000
"""At most: a campaign against a mutant ends with the run that has caught it."""


def silent(_text: str) -> None:
    """The test tells what there is to tell."""


@pytest.mark.timeout(300)
def test_nothing_acknowledged_is_lost_over_three_hundred_power_cuts(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, SEED, 2, say=silent)
    campaign.run(STATES)
    assert not campaign.broken, campaign.broken[0]
    assert campaign.judged.total() == STATES
    assert all(campaign.judged[kind] for kind in KINDS)
    assert campaign.done["created"] > 100 and campaign.done["finished"] > 30
    assert campaign.promises > 5_000


@pytest.mark.parametrize("mutant", ["late-sync", "early-answer", "unsynced-names"])
def test_the_campaign_catches(mutant: str, tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, SEED, 2, mutant, say=silent)
    campaign.run(MUTANT_STATES)
    assert campaign.broken


class Dying:
    """A pool whose processes all die before they have begun."""

    def __init__(self, *_arguments: Any) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_problem: object) -> None:
        pass

    def submit(self, *_arguments: Any) -> "Future[None]":
        future: Future[None] = Future()
        future.set_exception(BrokenProcessPool())
        return future


def test_a_campaign_that_could_not_judge_its_states_does_not_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(power_cut, "ProcessPoolExecutor", Dying)
    campaign = Campaign(tmp_path, SEED, 2, say=silent)
    with pytest.raises(RuntimeError, match=r"0 of 1 states of .*first-start-0 were judged before a process died"):
        campaign.run(1)
