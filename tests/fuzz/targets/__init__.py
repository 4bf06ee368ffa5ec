"""What is fuzzed: each module has `SEEDS`, inputs to begin with, and `run`, which takes any bytes.

`run` swallows the refusals that a wrong input may get, and nothing else: whatever it raises is a finding.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Final, NamedTuple

NAMES: Final = (
    "sniffer", "client_hello", "http1", "frames", "http2", "grpc_framing", "events", "json_bodies", "json_depth",
    "configuration", "token", "rows",
)  # fmt: skip


class Target(NamedTuple):
    """One of them."""

    name: str
    seeds: tuple[bytes, ...]
    run: Callable[[bytes], None]


def load(name: str) -> Target:
    """The target of this name. Only then is what it fuzzes imported."""
    module = import_module(f"tests.fuzz.targets.{name}")
    return Target(name, tuple(module.SEEDS), module.run)
