"""wrk: run with a script, and what came out of it.

Owns the command line and the parsing. The scripts are `lua`'s.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from loadtest.lua import DONE

_GRACE_SECONDS: Final = 60
"""wrk ends within moments of its duration; one that has not by then hangs."""


class WrkError(Exception):
    """wrk is not there, or did not do its work."""


class Outcome(msgspec.Struct, frozen=True):
    """One run. `errors` are socket errors, timeouts and statuses from 400 on; `counters` are the script's own."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: int
    counters: dict[str, int]

    @property
    def per_second(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


class Load(msgspec.Struct, frozen=True):
    """How hard to push."""

    connections: int
    threads: int
    seconds: float


def run(base: str, script: str, load: Load) -> Outcome:
    """Run wrk against `base` (scheme, host and port) with a Lua script; raises WrkError."""
    program = shutil.which("wrk")
    if program is None:
        raise WrkError("wrk is not installed: on Debian, `apt-get install wrk`")
    # wrk takes whole seconds only.
    seconds = max(1, round(load.seconds))
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script + DONE)
        file.flush()
        command = [program, f"-t{load.threads}", f"-c{load.connections}", f"-d{seconds}s", "--timeout", "10s"]
        try:
            ended = subprocess.run(
                [*command, "-s", file.name, base],
                capture_output=True,
                text=True,
                timeout=seconds + _GRACE_SECONDS,
                check=False,
                cwd=Path(file.name).parent,
            )
        except subprocess.TimeoutExpired:
            raise WrkError(f"wrk did not end within {_GRACE_SECONDS} s after its {seconds} s") from None
    return parse(ended.stdout, ended.stderr)


def parse(output: str, complaints: str = "") -> Outcome:
    """What the script's last function printed; raises WrkError where there is no such line or nothing was served."""
    for line in output.splitlines():
        if line.startswith("RESULT "):
            outcome = msgspec.json.decode(line.removeprefix("RESULT "), type=Outcome)
            if outcome.requests == 0:
                raise WrkError(f"wrk got no answer at all\n{output}")
            return outcome
    raise WrkError(f"wrk failed: {complaints or output}")
