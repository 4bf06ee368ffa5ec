"""The form of log lines, the secrets that never reach one, and the bound on how many there are."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.log import LINE_CHARS_MAX, REASONS_MAX, OncePerSecond, configure, redact
from tests.auth.makers import PRODUCER_EC, pem, token


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("codeq")
    handlers, levels = root.handlers[:], (root.level, own.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    own.setLevel(levels[1])


def written(form: Literal["json", "text"], message: str, *arguments: object, **extra: Any) -> str:
    stream = io.StringIO()
    configure(form, "info", stream)
    logging.getLogger("codeq.test").info(message, *arguments, extra=extra)
    return stream.getvalue()


def test_a_json_line_has_time_level_logger_message_and_fields() -> None:
    line = json.loads(written("json", "took %d ms", 5, request_id="r-1", count=3))
    assert line.pop("time").endswith("Z")
    assert line == {"level": "info", "logger": "codeq.test", "message": "took 5 ms", "requestId": "r-1", "count": 3}


def test_a_text_line_has_the_same() -> None:
    line = written("text", "took %d ms", 5, request_id="r-1")
    assert line.rstrip().endswith("info    codeq.test: took 5 ms requestId=r-1")


@pytest.mark.parametrize("form", ["json", "text"])
def test_input_can_not_forge_a_line(form: Literal["json", "text"]) -> None:
    text = written(form, "path %s", "/x\n2026-01-01 forged\r\x1b[31m\u2028", request_id="a\nb")
    assert text.count("\n") == 1 and text.endswith("\n")
    assert not {"\r", "\x1b", "\u2028"} & set(text)


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_exception_is_shown_without_its_secrets(form: Literal["json", "text"]) -> None:
    stream = io.StringIO()
    configure(form, "info", stream)
    try:
        raise ValueError(f"bad token {token()}")
    except ValueError:
        logging.getLogger("codeq.test").exception("failed")
    text = stream.getvalue()
    assert "Traceback" in text and "ValueError" in text and "[redacted]" in text
    assert token().split(".")[0] not in text


SECRET = "s3cr3tS3cr3tS3cr3t"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {SECRET}", f"authorization: basic {SECRET}", f"{{'Authorization': 'Bearer {SECRET}'}}",
        f'{{"authorization":"bearer {SECRET}"}}', f"(b'authorization', b'Bearer {SECRET}')", f"BEARER {SECRET}",
        f"Authorization={SECRET}", f"cookie: {SECRET}", f"/x?ticket={SECRET}&a=b", f"GET /x?access_token={SECRET} HTTP",
        f"token={SECRET}", f"token: '{SECRET}'", f"api_key={SECRET}", f"secret: {SECRET}", f"password = {SECRET}",
        f"CODEQ_SECRET={SECRET}",
    ],
)  # fmt: skip
def test_a_secret_is_redacted_wherever_it_stands(text: str) -> None:
    assert SECRET not in redact(text)
    assert SECRET not in written("json", "%s", text, detail=text)
    assert SECRET not in written("text", "%s", text, detail=text)


@pytest.mark.parametrize("name", ["token", "authorization", "worker_token", "Cookie", "client_secret", "ticket"])
def test_a_field_whose_name_sounds_secret_is_redacted(name: str) -> None:
    line = written("json", "m", **{name: SECRET, "tokens_cached": 7})
    assert SECRET not in line and json.loads(line)["tokensCached"] == 7


def test_tokens_and_private_keys_are_redacted() -> None:
    text = token()
    assert not set(text.split(".")) & set(redact(f"got {text}, refused").replace(",", " ").split())
    assert text.split(".")[1] not in redact(f"x_{text}")
    private = pem(PRODUCER_EC).decode()
    assert private.splitlines()[1] not in redact(f"key {private}")
    assert private.splitlines()[1] not in redact(f"key {private[:80]}")


@pytest.mark.parametrize("text", ["a token was refused", "queue key rotation", "the secret is short", "took 5 ms: ok"])
def test_ordinary_words_stay(text: str) -> None:
    assert redact(text) == text


@settings(deadline=None)
@given(st.text(max_size=300))
def test_redaction_is_stable(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


def test_redaction_is_quick_on_hostile_text() -> None:
    for piece in ("-----BEGIN PRIVATE KEY", "eyJ", "bearer ", "token = ", "token" + " " * 50, "-----BEGIN "):
        redact(piece * (LINE_CHARS_MAX // len(piece)))


def test_a_long_message_is_cut() -> None:
    assert len(written("json", "%s", "x" * 1_000_000)) < LINE_CHARS_MAX + 1_000


def test_levels_are_kept_and_libraries_are_quiet() -> None:
    stream = io.StringIO()
    configure("text", "warning", stream)
    logging.getLogger("codeq.test").info("no")
    logging.getLogger("hpack").info("no")
    logging.getLogger("codeq.test").warning("yes")
    assert stream.getvalue().count("\n") == 1


class Limited:
    """A limiter over a clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_seconds = 0.0
        self.limiter = OncePerSecond(lambda: self.now_seconds)

    def passes(self, message: str = "m", level: int = logging.INFO, **fields: object) -> logging.LogRecord | None:
        record = logging.makeLogRecord({"name": "codeq.test", "msg": message, "levelno": level, **fields})
        return record if self.limiter.filter(record) else None


def test_one_line_per_reason_and_second_and_then_the_count() -> None:
    limited = Limited()
    assert limited.passes(reason="a")
    assert not any(limited.passes(reason="a") for _ in range(5))
    assert limited.passes(reason="b")
    limited.now_seconds = 1.0
    record = limited.passes(reason="a")
    assert record is not None and vars(record)["suppressed"] == 5
    limited.now_seconds = 2.0
    record = limited.passes(reason="a")
    assert record is not None and "suppressed" not in vars(record)
    assert limited.limiter.suppressed_total == 5


def test_warnings_without_a_reason_are_grouped_by_template_and_infos_are_not() -> None:
    limited = Limited()
    assert limited.passes("failed %s", logging.ERROR)
    assert not limited.passes("failed %s", logging.ERROR)
    assert limited.passes("other %s", logging.ERROR)
    assert limited.passes("listening %s") and limited.passes("listening %s")


def test_the_number_of_reasons_is_bounded() -> None:
    limited = Limited()
    passed = sum(limited.passes(reason=f"r{number}") is not None for number in range(REASONS_MAX * 2))
    assert passed == REASONS_MAX + 1
