"""The check in a process of its own, for the command line.

Owns that process and the lines it prints. A damaged page can lead LMDB beyond the end of the file or into one of its
assertions, and either ends the reader with a signal; apart, that is one more finding. Must not know what is checked.

    python -m appliance.engine.apart DIRECTORY      prints one JSON object per line, a message each
"""

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec

from appliance.engine.check import check
from appliance.engine.faults import DiskNotTrusted, StoreError, StoreLocked, StoreRefused
from appliance.engine.findings import FILE, Finding, Report
from appliance.engine.tables import TABLE_NAMES
from appliance.engine.walk import Progress


class _Step(msgspec.Struct, tag="step"):
    table: str
    done: int
    total: int


class _Refusal(msgspec.Struct, tag="refusal"):
    name: str
    message: str


class _Outcome(msgspec.Struct, tag="outcome"):
    rows: dict[str, int]
    findings: list[Finding]
    counts: dict[str, int]


_decode = msgspec.json.Decoder(_Step | _Refusal | _Outcome).decode
_encode = msgspec.json.Encoder().encode

_REFUSALS: Final[dict[str, type[StoreError]]] = {each.__name__: each for each in (StoreLocked, StoreRefused)}


def check_apart(directory: Path, progress: Progress) -> Report:
    """Check the store in `directory`, which no node may have open, in another process.

    Damage of any kind is in the report, also where reading it killed the other process. Raises StoreLocked and
    StoreRefused as `check` does.
    """
    report = Report()
    finished: list[str] = []
    command = [sys.executable, "-m", "appliance.engine.apart", str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                message = _decode(line)
                if isinstance(message, _Refusal):
                    raise _REFUSALS.get(message.name, DiskNotTrusted)(message.message)
                if isinstance(message, _Outcome):
                    report = Report(message.rows, message.findings, Counter(message.counts))
                else:
                    finished += [message.table] if message.done == message.total else []
                    progress(message.table, message.done, message.total)
        except BaseException:
            process.kill()
            raise
    if process.returncode < 0:
        at = ", ".join(name for name in TABLE_NAMES if name not in finished)
        name = signal.Signals(-process.returncode).name
        report.add(FILE, None, b"", f"a damaged page ended the check with {name}; not checked to the end: {at}")
    elif process.returncode > 0:
        raise RuntimeError(f"the check ended with status {process.returncode}")
    return report


def _send(message: msgspec.Struct) -> None:
    sys.stdout.buffer.write(_encode(message) + b"\n")
    sys.stdout.buffer.flush()


def _main(directory: Path) -> None:
    try:
        report = check(directory, lambda table, done, total: _send(_Step(table, done, total)))
    except StoreError as refusal:
        _send(_Refusal(type(refusal).__name__, str(refusal)))
    else:
        _send(_Outcome(report.rows, report.findings, dict(report.counts)))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
