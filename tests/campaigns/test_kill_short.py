"""Five kills of a real node under load."""

import asyncio
from pathlib import Path

from tests.campaigns.kill import KINDS, Campaign

SEED = 20_260


def test_nothing_acknowledged_is_lost_over_five_kills(tmp_path: Path) -> None:
    outcome = asyncio.run(Campaign(tmp_path / "node", SEED, KINDS).run(5))
    assert outcome.clean, "\n".join(outcome.violations)
    assert all(outcome.counts[f"kills: {kind}"] for kind in KINDS)
    assert outcome.counts["creates acknowledged"] > 100
    assert outcome.counts["results accepted"] > 50
    assert outcome.counts["unknown outcomes"] > 0
