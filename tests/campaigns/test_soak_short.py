"""Half a minute of what a soak does for an hour, and what it would complain about."""

import asyncio
from pathlib import Path

from tests.campaigns.soak import Account, Campaign, Sample, growth

SECONDS = 25.0


def test_nothing_grows_and_nothing_is_lost_in_half_a_minute(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, rate=100, every=2.0, tell=lambda _: None)
    assert asyncio.run(campaign.run(SECONDS)) == []
    events = {sample.event for sample in campaign.samples}
    assert len(campaign.samples) > 10 and len(events) > 2


def test_growth_is_what_the_last_third_has_over_the_second() -> None:
    flat = [Sample(number, 50 << 20, 10 << 20, 20, 0, 0, "") for number in range(30)]
    assert growth(flat) == []
    high = flat[-1]
    for worse in (
        high._replace(memory_bytes=90 << 20),
        high._replace(file_bytes=40 << 20),
        high._replace(descriptors=60),
    ):
        assert len(growth([*flat[:-1], worse])) == 1
    assert growth(flat[:2]) != []


def test_what_was_acknowledged_and_never_finished_stays_in_the_account() -> None:
    account = Account()
    account.created("a")
    account.done("b")
    account.created("b")
    assert account.unfinished == 1
    account.done("a")
    account.done("a")
    assert account.unfinished == 0 and account.acknowledged == 2
