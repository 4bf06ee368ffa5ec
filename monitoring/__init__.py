"""Watching a node from outside: its metrics by name, a Grafana dashboard, alerts for Prometheus.

Owns what is drawn and what is worth waking somebody for. Must not know how a metric comes about.
"""
