"""Every attack whose refusal comes within seconds, once, beside a good client."""

from pathlib import Path

from tests.campaigns.abuse.campaign import Campaign, metric_of
from tests.campaigns.abuse.stage import Attack
from tests.campaigns.abuse.table import ATTACKS, EVERYTHING

SECONDS = 5.0


def _soon(attack: Attack) -> bool:
    return attack.seconds <= SECONDS


def test_every_quick_attack_is_refused_and_counted_beside_a_good_client(tmp_path: Path) -> None:
    outcome = Campaign(tmp_path, _soon, lambda _: None).run(0)
    wrong = [f"{seen.attack.name}: {seen.wrong}" for seen in outcome.played if seen.wrong]
    assert outcome.clean, "\n".join([*wrong, *outcome.uncounted, *outcome.errors])
    assert len(outcome.played) > 80 and len(outcome.together.answers_ms) > 100


def test_attacks_are_named_once_and_are_refused_for_reasons_that_are_shown() -> None:
    names = [(attack.section, attack.name) for attack in EVERYTHING]
    assert len(set(names)) == len(names)
    assert all(metric_of(attack.reason).startswith("codeq_") for attack in ATTACKS if attack.reason)
