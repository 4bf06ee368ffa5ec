"""Three hundred power cuts, and deliberate errors that they find."""

from pathlib import Path

import pytest

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
