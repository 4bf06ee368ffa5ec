"""A short run of the campaign of generated requests."""

from pathlib import Path

from tests.campaigns.openapi import run

SEED = 20_260_518


def test_answers_are_as_the_description_says(tmp_path: Path) -> None:
    outcome = run(tmp_path, examples=2, seed=SEED)
    assert outcome.passed, outcome.report
    assert outcome.cases >= 1_000
