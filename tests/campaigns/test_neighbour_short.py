"""A little noise beside a quiet tenant, who meets no error; how long it waits is no matter of a busy machine."""

from pathlib import Path

from tests.campaigns.abuse.good import Feeling
from tests.campaigns.neighbour import Campaign, Felt, Sizes, verdict


def test_a_quiet_tenant_meets_no_error_beside_a_noisy_one(tmp_path: Path) -> None:
    felt = Campaign(tmp_path, Sizes(backlog=20_000, streams=100, due=2_000), lambda _: None).run(1.0, "together")
    assert verdict(felt, ratio=1e9) == []
    assert len(felt) == 3


def test_errors_silence_and_long_waits_are_complained_about() -> None:
    quiet = Felt("nothing", 0.1, 1.0, Feeling([1.0, 2.0], []))
    assert verdict([quiet, Felt("fine", 0.5, 1.0, Feeling([4.0], [])), quiet], 2.0) == []
    assert len(verdict([quiet, Felt("slow", 0.5, 1.0, Feeling([4.1], [])), quiet], 2.0)) == 1
    assert len(verdict([quiet, Felt("wrong", 0.5, 1.0, Feeling([1.0], ["lost"])), quiet], 2.0)) == 1
    assert len(verdict([quiet, Felt("silent", 0.5, 1.0, Feeling([], [])), quiet], 2.0)) == 1
