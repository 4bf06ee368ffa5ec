"""Six kills of a real node under load, and all the places where one can be made to die."""

import asyncio
from pathlib import Path

from appliance.engine import crashpoints
from tests.campaigns.history import CANCEL, REQUEUE
from tests.campaigns.kill import KINDS, Campaign
from tests.campaigns.pauses import PAUSE

SEED = 20_260


def test_nothing_acknowledged_is_lost_over_six_kills(tmp_path: Path) -> None:
    outcome = asyncio.run(Campaign(tmp_path / "node", SEED, KINDS).run(6))
    assert outcome.clean, "\n".join(outcome.violations)
    assert all(outcome.counts[f"kills: {kind}"] for kind in KINDS)
    assert outcome.counts["creates acknowledged"] > 100
    assert outcome.counts["results accepted"] > 50
    assert outcome.counts["unknown outcomes"] > 0
    assert sum(outcome.counts[f"{deed}s acknowledged"] for deed in (CANCEL, REQUEUE, PAUSE)) > 5


def test_there_are_enough_places_to_die_at_and_each_has_one_way_to_it() -> None:
    assert len(set(crashpoints.NAMES)) == len(crashpoints.NAMES) >= 25
