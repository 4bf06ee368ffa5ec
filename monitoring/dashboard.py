"""The Grafana dashboard: which panels, in which rows, with which queries.

Owns `monitoring/codeq-dashboard.json`, which `python -m monitoring.dashboard` writes anew; a test compares. Must not
know how a metric comes about. Every query is for the instances that are chosen at the top; the data source is a
variable too, so the file can be imported as it is.
"""

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

FILE: Final = Path(__file__).resolve().parent / "codeq-dashboard.json"

COLUMNS: Final = 24
WIDTH: Final = 8
HEIGHT: Final = 7

_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}
_NODE: Final = 'job="$job",instance=~"$instance"'


class Panel(NamedTuple):
    """A graph: its title, its unit in Grafana's words, and its queries with the legend of each."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    text: str = ""


def rate(counter: str, by: str = "", matchers: str = "") -> str:
    """Per second, summed over instances, and kept apart by one label."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping}(rate({counter}{{{_NODE}{matchers}}}[$__rate_interval]))"


def quantiles(histogram: str) -> tuple[tuple[str, str], ...]:
    """Half, and all but one in a hundred, stay below these."""
    buckets = f"sum by (le)(rate({histogram}_bucket{{{_NODE}}}[$__rate_interval]))"
    return tuple(
        (f"histogram_quantile({quantile}, {buckets})", name) for quantile, name in ((0.5, "p50"), (0.99, "p99"))
    )


def gauge(name: str, how: str = "max by (instance)", matchers: str = "") -> str:
    """The value itself."""
    return f"{how}({name}{{{_NODE}{matchers}}})"


ROWS: Final[tuple[tuple[str, tuple[Panel, ...]], ...]] = (
    (
        "Tasks",
        (
            Panel(
                "Tasks per second",
                "ops",
                (
                    (rate("codeq_tasks_created_total"), "created"),
                    (rate("codeq_tasks_claimed_total"), "claimed"),
                    (rate("codeq_tasks_finished_total", "outcome"), "{{outcome}}"),
                ),
                "Claims far above finishes: tasks come back.",
            ),
            Panel(
                "Waiting for a worker",
                "short",
                ((gauge("codeq_tasks", "sum by (tenant, command)", ',state="ready"'), "{{tenant}} {{command}}"),),
                "Grows without end: too few workers.",
            ),
            Panel(
                "Oldest claimable task",
                "s",
                ((gauge("codeq_oldest_ready_age_seconds"), "{{instance}}"),),
                "Age since its creation.",
            ),
            Panel("From create to claim", "s", quantiles("codeq_task_wait_seconds")),
            Panel("From claim to finish", "s", quantiles("codeq_task_run_seconds")),
            Panel(
                "By state",
                "short",
                ((gauge("codeq_tasks", "sum by (state)"), "{{state}}"),),
                "Finished tasks stay for their retention.",
            ),
            Panel(
                "Trouble of workers",
                "ops",
                (
                    (rate("codeq_leases_expired_total"), "leases expired"),
                    (rate("codeq_tasks_finished_total", "", ',outcome="dlq"'), "dead letters"),
                ),
                "Leases expire when workers die, hang or forget heartbeats.",
            ),
            Panel(
                "Dead letters",
                "short",
                ((gauge("codeq_tasks", "sum by (tenant, command)", ',state="dlq"'), "{{tenant}} {{command}}"),),
            ),
            Panel("Sweep behind", "s", ((gauge("codeq_sweep_lag_seconds"), "{{instance}}"),)),
        ),
    ),
    (
        "Port",
        (
            Panel("REST responses", "reqps", ((rate("codeq_responses_total", "status"), "{{status}}"),)),
            Panel("REST requests take", "s", quantiles("codeq_request_seconds"), "Waits for work or a result count."),
            Panel(
                "Connections and streams",
                "short",
                (
                    (gauge("codeq_connections_open", "sum by (kind)"), "{{kind}}"),
                    (gauge("codeq_streams_open", "sum"), "streams"),
                ),
            ),
            Panel("Streams ended", "ops", ((rate("codeq_streams_ended_total", "status"), "{{status}}"),)),
            Panel("Refused", "ops", ((rate("codeq_refusals_total", "reason"), "{{reason}}"),)),
            Panel(
                "Tokens",
                "ops",
                (
                    (rate("codeq_token_verifications_total"), "signatures checked"),
                    (rate("codeq_token_refusals_total"), "refused"),
                    (rate("codeq_tokens_throttled_total"), "throttled"),
                    (rate("codeq_token_foreign_keys_total"), "with a key of their own"),
                ),
            ),
        ),
    ),
    (
        "Webhooks",
        (
            Panel(
                "Deliveries",
                "ops",
                (
                    (rate("codeq_webhooks_sent_total"), "sent"),
                    (rate("codeq_webhook_failures_total"), "failed attempts"),
                    (rate("codeq_webhooks_given_up_total"), "given up"),
                    (rate("codeq_webhook_targets_refused_total", "reason"), "refused: {{reason}}"),
                ),
            ),
            Panel(
                "Waiting",
                "short",
                (
                    (gauge("codeq_webhooks_waiting", "sum"), "waiting"),
                    (gauge("codeq_webhooks_under_way", "sum"), "under way"),
                ),
            ),
            Panel("Oldest one is due for", "s", ((gauge("codeq_webhook_lag_seconds"), "{{instance}}"),)),
        ),
    ),
    (
        "Node",
        (
            Panel("Commits take", "s", quantiles("codeq_group_commit_seconds"), "The flush to the disk included."),
            Panel(
                "Transitions per commit",
                "short",
                quantiles("codeq_group_transitions"),
                "Near 1,000 all the time: the node is at its limit.",
            ),
            Panel(
                "Delay of the event loop",
                "s",
                (*quantiles("codeq_loop_delay_seconds"), (gauge("codeq_loop_delay_max_seconds"), "max {{instance}}")),
            ),
            Panel("CPU", "percentunit", ((rate("codeq_process_cpu_seconds_total", "instance"), "{{instance}}"),)),
            Panel(
                "Memory",
                "bytes",
                (
                    (gauge("codeq_process_resident_bytes"), "resident {{instance}}"),
                    (gauge("codeq_buffered_bytes"), "buffered {{instance}}"),
                ),
                "Resident memory includes pages of the store that the system can take back.",
            ),
            Panel(
                "Disk",
                "bytes",
                (
                    (gauge("codeq_store_used_bytes"), "used {{instance}}"),
                    (gauge("codeq_store_free_bytes", "min by (instance)"), "free {{instance}}"),
                ),
            ),
            Panel("Loop waits for a commit", "s", quantiles("codeq_group_parked_seconds")),
            Panel(
                "Certificate, days left",
                "short",
                ((gauge("codeq_certificate_days_left", "min by (instance)"), "{{instance}}"),),
            ),
            Panel(
                "Up for",
                "s",
                ((f"time() - {gauge('codeq_process_start_time_seconds')}", "{{instance}}"),),
            ),
        ),
    ),
)


def dashboard() -> dict[str, Any]:
    """The dashboard in Grafana's form."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS:
        panels.append({"type": "row", "title": title, "collapsed": False, "gridPos": _place(0, top, COLUMNS, 1)})
        top += 1
        for index, panel in enumerate(row):
            left = index % (COLUMNS // WIDTH) * WIDTH
            panels.append(_graph(panel, _place(left, top + index // (COLUMNS // WIDTH) * HEIGHT, WIDTH, HEIGHT)))
        top += -(-len(row) // (COLUMNS // WIDTH)) * HEIGHT
    for number, each in enumerate(panels, start=1):
        each["id"] = number
    return {
        "title": "codeq",
        "uid": "codeq",
        "tags": ["codeq"],
        "schemaVersion": 38,
        "editable": True,
        "time": {"from": "now-3h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": [_source(), _variable("job", "job"), _variable("instance", "instance", many=True)]},
        "panels": panels,
    }


def _place(left: int, top: int, width: int, height: int) -> dict[str, int]:
    return {"x": left, "y": top, "w": width, "h": height}


def _graph(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + index), "datasource": _SOURCE, "expr": query, "legendFormat": legend}
        for index, (query, legend) in enumerate(panel.queries)
    ]
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.text,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": {"fillOpacity": 8}}, "overrides": []},
        "options": {"tooltip": {"mode": "multi", "sort": "desc"}, "legend": {"displayMode": "list"}},
        "targets": targets,
    }


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _variable(name: str, label: str, *, many: bool = False) -> dict[str, Any]:
    within = '{job="$job"}' if many else ""
    return {
        "name": name,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": f"label_values(codeq_build_info{within}, {label})", "refId": name},
        "refresh": 2,
        "multi": many,
        "includeAll": many,
        "current": {"text": "All", "value": "$__all"} if many else {},
    }


def text() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
