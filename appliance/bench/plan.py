"""What each load process is to do: plain values that travel to it.

Owns their shapes. Must not know scenarios, nor how anything is done.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server listens. `ca` is the file of certificates to trust; without TLS it does not matter."""

    host: str
    port: int
    tls: bool = False
    ca: Path | None = None

    @property
    def authority(self) -> str:
        """Host and port as in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ProducerPlan:
    """One producer stream. Creates take commands in turn, priorities after each round of commands."""

    token: str
    commands: tuple[str, ...]
    priorities: tuple[int, ...] = (0,)
    offset: int = 0
    """The place in that sequence where this one begins."""
    batch: int = 1
    """Tasks in a message; 1 sends single creates."""
    in_flight: int = 128
    """Tasks that may be unacknowledged at once."""
    payload_bytes: int = 120
    key_suffix: str = ""
    """Where not empty, each task gets an idempotency key that ends with it; keys rise with time."""
    interval_seconds: float = 0.0
    """Above 0 the next message is due so long after the last, whatever was acknowledged."""
    phase_seconds: float = 0.0
    """From the beginning to the first of them."""
    limit: int = 0
    """Above 0: tasks after which this one is done."""
    sample_every: int = 16
    """Of this many single creates one is timed on its whole way; of each batch it is the first task."""


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """One worker stream; each Ready is for `count` tasks and sent anew once it is answered."""

    token: str
    commands: tuple[str, ...]
    worker_id: str
    count: int = 1
    slots: int = 256
    """Tasks that all its Readys ask for together."""
    lease_seconds: int = 300


@dataclass(frozen=True, slots=True)
class ProcessPlan:
    """One load process: its streams are dealt to its connections in turn."""

    target: Target
    connections: int
    producers: tuple[ProducerPlan, ...] = ()
    workers: tuple[WorkerPlan, ...] = ()
