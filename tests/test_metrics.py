"""What the node measures about itself."""

from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from appliance.metrics import QUEUES_NAMED_MAX, TENANTS_NAMED_MAX, WORDS_NAMED_MAX, Histogram, Metrics, Sources
from appliance.tasks import table

Depths = list[tuple[str, str, Mapping[str, int]]]


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Everything in the text, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[name, frozenset(labels.items())]


def with_depths(depths: Depths) -> Metrics:
    return Metrics(Sources(depths=lambda: iter(depths)))


def test_a_fresh_node_renders_every_metric_under_its_own_prefix() -> None:
    found = samples(Metrics())
    assert found
    assert all(name.startswith("codeq_") for name, _ in found)


def test_what_the_listener_reports_is_counted() -> None:
    metrics = Metrics()
    metrics.connection_opened("h1")
    metrics.connection_opened("h1")
    metrics.connection_closed("h1")
    metrics.refused("header-too-large")
    for status, seconds in ((200, 0.001), (204, 0.3), (404, 0.0001), (503, 100.0)):
        metrics.responded(status, seconds)
    assert value(metrics, "codeq_connections_open", kind="h1") == 1
    assert value(metrics, "codeq_connections_total", kind="h1") == 2
    assert value(metrics, "codeq_refusals_total", reason="header-too-large") == 1
    assert value(metrics, "codeq_responses_total", status="2xx") == 2
    assert value(metrics, "codeq_responses_total", status="5xx") == 1
    assert value(metrics, "codeq_request_seconds_bucket", le="0.001") == 2
    assert value(metrics, "codeq_request_seconds_count") == 4
    assert value(metrics, "codeq_request_seconds_sum") == pytest.approx(100.3011)


def test_the_life_of_a_task_is_shown_in_seconds() -> None:
    metrics = Metrics()
    metrics.wait.observe(1)
    metrics.run.observe(250)
    metrics.total.observe(86_400_001)
    assert value(metrics, "codeq_task_wait_seconds_bucket", le="0.001") == 1
    assert value(metrics, "codeq_task_run_seconds_bucket", le="0.2") == 0
    assert value(metrics, "codeq_task_run_seconds_bucket", le="0.5") == 1
    assert value(metrics, "codeq_task_total_seconds_bucket", le="86400.0") == 0
    assert value(metrics, "codeq_task_total_seconds_bucket", le="+Inf") == 1
    assert value(metrics, "codeq_task_total_seconds_sum") == pytest.approx(86_400.001)


def test_counters_of_tasks_follow_from_the_edges_taken() -> None:
    metrics = Metrics()
    edges = {
        ("absent", "create", "at-once"): 1,
        ("absent", "create", "later"): 2,
        ("ready", "create", "same"): 4,
        ("ready", "create", "other"): 8,
        ("ready", "claim", "-"): 16,
        ("claimed", "complete", "-"): 32,
        ("completed", "complete", "repeat"): 64,
        ("claimed", "complete", "overdue"): 128,
        ("claimed", "fail", "-"): 256,
        ("ready", "cancel", "-"): 512,
        ("claimed", "expire", "later"): 1_024,
        ("claimed", "expire", "spent"): 2_048,
        ("claimed", "nack", "spent"): 4_096,
        ("dlq", "sweep", "-"): 8_192,
        ("completed", "sweep", "-"): 16_384,
    }
    for _ in range(2):
        metrics.count_edges(edges)
        found = {name: number for (name, labels), number in samples(metrics).items() if not labels}
        assert found["codeq_tasks_created_total"] == 1 + 2
        assert found["codeq_tasks_replayed_total"] == 4
        assert found["codeq_tasks_claimed_total"] == 16
        assert found["codeq_leases_expired_total"] == 1_024 + 2_048
        assert found["codeq_tasks_swept_total"] == 8_192 + 16_384
        assert value(metrics, "codeq_tasks_finished_total", outcome="completed") == 32
        assert value(metrics, "codeq_tasks_finished_total", outcome="failed") == 256 + 512
        assert value(metrics, "codeq_tasks_finished_total", outcome="dlq") == 2_048 + 4_096


def test_every_edge_of_the_table_can_be_counted() -> None:
    Metrics().count_edges(dict.fromkeys(table.TABLE, 1))


def test_groups_and_the_loop_are_measured() -> None:
    metrics = Metrics()
    metrics.group_committed(1_000, 0.4, 2.4)
    metrics.loop_delayed(3)
    metrics.loop_delayed(12)
    metrics.loop_delayed(4)
    assert value(metrics, "codeq_loop_delay_max_seconds") == 0.012
    assert value(metrics, "codeq_loop_delay_max_seconds") == 0, "the maximum starts anew with each scrape"
    assert value(metrics, "codeq_group_transitions_bucket", le="1000.0") == 1
    assert value(metrics, "codeq_group_parked_seconds_sum") == pytest.approx(0.0004)
    assert value(metrics, "codeq_group_commit_seconds_bucket", le="0.005") == 1


def test_what_others_count_is_asked_for_at_each_scrape() -> None:
    metrics = Metrics()
    assert not [name for name, _ in samples(metrics) if "certificate" in name]
    metrics.sources.certificate_days_left = lambda: 12.5
    metrics.sources.store_used_bytes = lambda: 4_096
    metrics.sources.transitions = lambda: [("create", 3), ("claim", 2)]
    metrics.sources.oldest_ready_seconds = lambda: 7.5
    assert value(metrics, "codeq_certificate_days_left") == 12.5
    assert value(metrics, "codeq_store_used_bytes") == 4_096
    assert value(metrics, "codeq_transitions_total", edge="claim") == 2
    assert value(metrics, "codeq_oldest_ready_age_seconds") == 7.5


def test_the_process_reports_itself() -> None:
    metrics = Metrics()
    assert value(metrics, "codeq_process_cpu_seconds_total") > 0
    assert value(metrics, "codeq_process_resident_bytes") > 1_000_000
    assert [name for name, _ in samples(metrics) if name == "codeq_build_info"]


def test_depths_are_shown_per_queue_and_state() -> None:
    metrics = with_depths([("acme", "mail", {"ready": 2, "claimed": 1}), ("acme", "sms", {"ready": 5})])
    assert value(metrics, "codeq_tasks", tenant="acme", command="mail", state="ready") == 2
    assert value(metrics, "codeq_tasks", tenant="acme", command="mail", state="claimed") == 1
    assert value(metrics, "codeq_tasks", tenant="acme", command="sms", state="ready") == 5


def test_a_name_can_not_break_the_text() -> None:
    name = 'a"} 1\nevil{x="\\'
    assert value(with_depths([(name, "c", {"ready": 1})]), "codeq_tasks", tenant=name, command="c", state="ready") == 1


def queues(labels: Iterable[tuple[str, frozenset[tuple[str, str]]]]) -> set[tuple[str, str]]:
    found = (dict(pairs) for name, pairs in labels if name == "codeq_tasks")
    return {(each["tenant"], each["command"]) for each in found}


def test_queue_labels_are_bounded_and_the_rest_is_summed() -> None:
    depths: Depths = [("acme", f"c{number}", {"ready": 1}) for number in range(QUEUES_NAMED_MAX + 10)]
    metrics = with_depths(depths)
    assert len(queues(samples(metrics))) == QUEUES_NAMED_MAX + 1
    assert value(metrics, "codeq_tasks", tenant="acme", command="other", state="ready") == 10


def test_tenant_labels_are_bounded_and_the_rest_is_summed() -> None:
    depths: Depths = [(f"t{number}", "c", {"ready": 2}) for number in range(TENANTS_NAMED_MAX + 10)]
    metrics = with_depths(depths)
    assert len({tenant for tenant, _ in queues(samples(metrics))}) == TENANTS_NAMED_MAX + 1
    assert value(metrics, "codeq_tasks", tenant="other", command="other", state="ready") == 20


def test_named_queues_stay_named_whatever_comes_later() -> None:
    depths: Depths = [("acme", f"c{number}", {"ready": 1}) for number in range(QUEUES_NAMED_MAX)]
    metrics = with_depths(depths)
    before = queues(samples(metrics))
    depths[:0] = [("acme", f"new{number}", {"ready": 1}) for number in range(50)]
    assert queues(samples(metrics)) == before | {("acme", "other")}


def test_reasons_and_kinds_are_bounded() -> None:
    metrics = Metrics()
    for number in range(WORDS_NAMED_MAX * 2):
        metrics.refused(f"reason {number}")
        metrics.connection_opened(f"kind {number}")
        metrics.connection_closed(f"kind {number}")
    assert len(metrics.refusals) == WORDS_NAMED_MAX + 1
    assert metrics.refusals["other"] == WORDS_NAMED_MAX
    assert set(metrics.connections_open.values()) == {0}


@settings(deadline=None)
@given(st.lists(st.floats(min_value=0, max_value=1_000)))
def test_a_histogram_counts_as_a_simple_one_does(values: list[float]) -> None:
    bounds = (0.5, 1, 10, 100)
    histogram = Histogram(bounds)
    for each in values:
        histogram.observe(each)
    family = histogram.family("x", "x")
    buckets = {s.labels["le"]: s.value for s in family.samples if s.name == "x_bucket"}
    assert buckets == {
        **{repr(float(bound)): sum(each <= bound for each in values) for bound in bounds},
        "+Inf": len(values),
    }
