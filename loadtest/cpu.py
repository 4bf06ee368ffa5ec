"""What a process costs, from /proc: CPU time of all its threads and anonymous memory. Linux only."""

import os
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of every thread a process has or had, in seconds; resolution 10 ms."""
    text = Path(f"/proc/{pid}/stat").read_text()
    # The second field is the name in parentheses, which may hold anything; utime and stime are fields 14 and 15.
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def anonymous_bytes(pid: int) -> int:
    """Resident memory that is backed by no file, in bytes: what the process really needs, its mapped store left out."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"process {pid} has no RssAnon")
