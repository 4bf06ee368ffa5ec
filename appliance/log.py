"""Structured logs: on standard error as JSON or text, or in the journal.

Owns the form of a line, keeping secrets out of it, and the bound on how many there are. Must not know what is logged.
Modules log through the standard library under `codeq.…`; fields go into `extra`, by name:

    log.warning("refused", extra={"request_id": id, "reason": "header-too-large"})

A `reason` groups lines that hostile or broken input can cause: one line per reason and second is written, and the next
one says how many were not. Warnings and errors without one are grouped by their message's template.
"""

import contextlib
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

REASONS_MAX: Final = 1_000
"""Reasons and templates come from code; past this many they share one group, so a mistake can't grow memory."""
LINE_CHARS_MAX: Final = 16_384
"""A traceback fits; a payload that found its way into a message doesn't fill the disk."""
GROUP_SECONDS: Final = 1.0

REDACTED: Final = "[redacted]"

Form = Literal["auto", "json", "text", "journal"]
Level = Literal["debug", "info", "warning", "error"]

_SECRETS: Final = (
    re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}-----|\Z)", re.DOTALL),
    re.compile(r"eyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){0,2}"),
    re.compile(r"(?i)(?<=\bbearer )\s{0,8}[^\s'\",}\]]+"),
    re.compile(
        r"""(?ix)
        (?: authorization | proxy-authorization | cookie | ticket | secret | password | passwd
          | api[-_]?key | private[-_]?key | access[-_]?token | token )
        ['"]? \s{0,4} [=:] \s{0,4} (?: (?:b?['"]) | (?:bearer|basic) \s )?
        (?P<value> [^\s'",;&}\]]{1,8192} )
        """
    ),
)
"""Private keys, JWTs, bearer tokens wherever they stand, and the values of names that sound secret."""

_SECRET_NAME: Final = re.compile(r"(?i)(.*_)?(authorization|cookie|ticket|secret|password|token|private_key|api_key)")
_PLAIN_ATTRIBUTES: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def redact(text: str) -> str:
    """`text` without anything that looks like a credential."""
    for pattern in _SECRETS:
        text = pattern.sub(_hide, text)
    return text


def _hide(match: re.Match[str]) -> str:
    whole: str = match.group()
    if "value" not in match.re.groupindex:
        return REDACTED
    if match.group("value") == REDACTED.removesuffix("]"):  # an earlier pattern was here; values end before a bracket
        return whole
    return whole[: match.start("value") - match.start()] + REDACTED


def extra_fields(record: logging.LogRecord) -> dict[str, Any]:
    """What came in `extra`, in camelCase, without the values of names that sound secret."""
    return {
        _camel(name): REDACTED if _SECRET_NAME.fullmatch(name) else value
        for name, value in vars(record).items()
        if name not in _PLAIN_ATTRIBUTES
    }


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)


def clean(value: object) -> object:
    """Numbers as they are, everything else as bounded text without secrets."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact(str(value)[:LINE_CHARS_MAX])


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line without its end."""
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": clean(record.getMessage()),
        }
        line.update((name, clean(value)) for name, value in extra_fields(record).items())
        if record.exc_info:
            line["exception"] = clean(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=True)


class TextFormatter(logging.Formatter):
    """One line for people, a traceback below it where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line without its end. Control characters are escaped, so that input can't forge a line."""
        fields = "".join(f" {name}={_visible(str(clean(value)))}" for name, value in extra_fields(record).items())
        message = _visible(str(clean(record.getMessage())))
        line = f"{self.heading(record)}{message}{fields}"
        if record.exc_info:
            trace = str(clean(self.formatException(record.exc_info)))
            line += "".join(f"\n    {_visible(part)}" for part in trace.splitlines())
        return line

    def heading(self, record: logging.LogRecord) -> str:
        """What stands before the message."""
        return f"{_time(record)} {record.levelname.lower():<7} {record.name}: "


def _visible(text: str) -> str:
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text.replace("\n", "\\n"))


class OncePerSecond(logging.Filter):
    """Lets one record per reason and second through; the next one carries the number held back as `suppressed`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._groups: dict[object, list[float]] = {}
        self.suppressed_total = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        group = self._group(record)
        if group is None:
            return True
        now_seconds = self._clock()
        if group not in self._groups and len(self._groups) >= REASONS_MAX:
            group = "other"
        state = self._groups.setdefault(group, [float("-inf"), 0])
        if now_seconds - state[0] < GROUP_SECONDS:
            state[1] += 1
            self.suppressed_total += 1
            return False
        if state[1]:
            record.suppressed = int(state[1])
        state[:] = now_seconds, 0
        return True

    @staticmethod
    def _group(record: logging.LogRecord) -> object | None:
        reason = getattr(record, "reason", None)
        if reason is not None:
            return str(reason)
        if record.levelno >= logging.WARNING:
            return record.name, str(record.msg)
        return None


def configure(
    form: Form,
    level: Level,
    stream: TextIO | None = None,
) -> OncePerSecond:
    """Send all logs of the process to `stream` (standard error) in this form, and return the limiter for its count.

    `auto` is the journal where standard error leads to it, and JSON elsewhere. A journal that is not there is replaced
    by JSON too. Libraries log from warnings on, whatever the level: their debug lines repeat bytes of clients.
    """
    handler = _handler(form, stream)
    limiter = OncePerSecond()
    handler.addFilter(limiter)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    set_level(level)
    return limiter


def set_level(level: Level) -> None:
    """Log from this level on."""
    logging.getLogger("codeq").setLevel(level.upper())


def _handler(form: Form, stream: TextIO | None) -> logging.Handler:
    from appliance.journal import JournalHandler, stderr_is_journal

    in_journal = stream is None and stderr_is_journal(os.environ.get("JOURNAL_STREAM", ""))
    if form == "journal" or (form == "auto" and in_journal):
        with contextlib.suppress(OSError):
            return JournalHandler()
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(TextFormatter() if form == "text" else JsonFormatter())
    return handler
