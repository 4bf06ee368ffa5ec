"""What a process costs, from /proc: CPU time of it and of each thread, memory, and how idle a thread is. Linux only.

Owns reading those files. All times are seconds.
"""

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_IDLE = frozenset(("do_epoll_wait", "ep_poll", "do_epoll_pwait", "do_sys_poll", "do_select"))
"""Where in the kernel a thread sleeps that waits for its peers."""


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


@dataclass(frozen=True, slots=True)
class ThreadTime:
    """One thread so far: time on a core, and time ready to run while others had the cores."""

    ran: float
    waited: float


def thread_times(pid: int) -> dict[int, ThreadTime]:
    """Every thread that a process has, by id. Without scheduler statistics `waited` is 0. Raises OSError."""
    times = {}
    for entry in os.scandir(f"/proc/{pid}/task"):
        try:
            ran_ns, waited_ns, _ = Path(entry.path, "schedstat").read_text().split()
            times[int(entry.name)] = ThreadTime(int(ran_ns) / 1e9, int(waited_ns) / 1e9)
        except FileNotFoundError:
            # Either the thread has just ended, which its process's own file survives, or there are no such statistics.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            times[int(entry.name)] = ThreadTime((int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND, 0.0)
    return times


class IdleSampler:
    """Looks again and again whether the main thread of a process waits for its peers.

    CPU time alone cannot tell whether a server is at its limit: its loop also stands still while another thread
    writes, and while other processes have the cores. None of that is time that more load could use.
    """

    def __init__(self, pid: int) -> None:
        self._path = f"/proc/{pid}/task/{pid}/wchan"
        self._looks = self._idle = 0

    def look(self) -> None:
        """One sample; nothing where the system does not tell."""
        try:
            with open(self._path, encoding="ascii") as file:
                where = file.read()
        except OSError:
            return
        self._looks += 1
        self._idle += where in _IDLE

    def reset(self) -> None:
        """Forget what was seen so far."""
        self._looks = self._idle = 0

    @property
    def busy_share(self) -> float | None:
        """The part of looks at which it did not wait; None without looks."""
        return 1 - self._idle / self._looks if self._looks else None
