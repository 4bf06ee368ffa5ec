"""The dashboard, the alerts and the reference name what a node really exposes, and are as their sources say."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from appliance.tasks import table
from monitoring import catalogue, dashboard

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "monitoring"
ADDED_BY_PROMETHEUS = {"job", "instance", "le"}

SAMPLES = {sample: family for family in catalogue.families() for sample in family.samples}
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
ALERT_TESTS: list[dict[str, Any]] = yaml.safe_load((MONITORING / "alerts_test.yml").read_text())["tests"]
QUERIES = [query for _, row in dashboard.ROWS for panel in row for query, _ in panel.queries]
QUERIES += [rule["expr"] for rule in RULES]


@pytest.mark.parametrize("query", QUERIES)
def test_every_metric_and_label_that_a_query_names_exists(query: str) -> None:
    names = re.findall(r"\b(codeq_\w+)", query)
    assert names or query == 'up{job="codeq"} == 0'
    labels = set(ADDED_BY_PROMETHEUS)
    for name in names:
        assert name in SAMPLES, name
        labels.update(SAMPLES[name].labels)
    matched = set(re.findall(r"[{,]\s*(\w+)=~?\"", query))
    grouped = {label for group in re.findall(r"\bby \(([^)]*)\)", query) for label in re.split(r",\s*", group)}
    assert matched | grouped <= labels


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_names_only_outcomes_and_states_that_there_are(query: str) -> None:
    for outcome in re.findall(r'outcome="(\w+)"', query):
        assert outcome in table.TERMINAL_STATES
    for state in re.findall(r'state="(\w+)"', query):
        assert state in table.TERMINAL_STATES or state in {"ready", "delayed", "claimed"}


def test_counters_are_asked_for_their_rate_and_gauges_are_not() -> None:
    for query in QUERIES:
        for name in re.findall(r"\b(codeq_\w+)", query):
            asked = re.search(rf"(?:rate|increase)\(\s*{name}\b", query) is not None
            assert asked == (SAMPLES[name].kind in ("counter", "histogram")), query


def test_the_dashboard_is_as_its_program_says() -> None:
    assert dashboard.FILE.read_text() == dashboard.text(), "run python -m monitoring.dashboard"


def test_no_panel_lies_over_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard.dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + column, place["y"] + line) for column in range(place["w"]) for line in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= dashboard.COLUMNS
        taken |= cells


def test_panels_have_ids_of_their_own() -> None:
    ids = [panel["id"] for panel in json.loads(dashboard.FILE.read_text())["panels"]]
    assert len(set(ids)) == len(ids)


def test_the_reference_is_as_the_program_says() -> None:
    assert catalogue.REFERENCE.read_text() == catalogue.reference(), "run python -m monitoring.catalogue"


def test_every_alert_is_tested_both_ways() -> None:
    for rule in RULES:
        wanted = [
            bool(case["exp_alerts"])
            for test in ALERT_TESTS
            for case in test["alert_rule_test"]
            if case["alertname"] == rule["alert"]
        ]
        assert sorted(set(wanted)) == [False, True], rule["alert"]


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    operations = (ROOT / "docs" / "operations.md").read_text()
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]
        assert f"| `{rule['alert']}` |" in operations, rule["alert"]


def test_the_alerts_are_for_the_job_of_the_example() -> None:
    example = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    (scrape,) = example["scrape_configs"]
    assert f'up{{job="{scrape["job_name"]}"}} == 0' in [rule["expr"] for rule in RULES]
    assert example["rule_files"] == ["alerts.yml"]
