"""Two kills of a real node while it delivers webhooks to receivers of every kind."""

import asyncio
from pathlib import Path

from tests.campaigns.webhooks import Campaign

SEED = 20_261


def test_every_webhook_is_delivered_or_given_up_over_two_kills(tmp_path: Path) -> None:
    outcome = asyncio.run(Campaign(tmp_path / "node", SEED).run(300, 2))
    assert outcome.clean, "\n".join(outcome.violations)
    assert outcome.counts["delivered"] > 150 and outcome.counts["given up"] > 20
    assert outcome.counts["refused for a private address"] > 0
