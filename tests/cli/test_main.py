"""The command line: arguments, exit statuses, and what the small commands print."""

import stat
import sys
import time
import types
from pathlib import Path

import pytest

from appliance.auth.claims import Rules
from appliance.auth.keys import KeySet
from appliance.auth.mint import signing_key
from appliance.auth.tokens import Validator
from appliance.cli import dev, status
from appliance.cli.main import main
from appliance.cli.options import seconds_of
from appliance.engine.faults import StoreLocked
from appliance.engine.findings import Report
from tests.auth.makers import PRODUCER_EC, RSA_2048, SECRET, WORKER_EC, key, pem
from tests.cli.test_dev import with_app


def usage_error(*arguments: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == status.USAGE


@pytest.mark.parametrize(
    "arguments",
    [
        "", "unknown", "serve", "config", "config check", "token", "token mint", "check", "dev --port 0",
        "dev --port 65536", "dev --port x", "token mint --key k --kind other --subject s --tenant t", "version x",
    ],
)  # fmt: skip
def test_arguments_that_make_no_sense_are_a_usage_error(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    usage_error(*arguments.split())
    assert "usage: codeq" in capsys.readouterr().err


def test_help_lists_the_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(str(number) in text for number in status.MEANINGS)


def test_version_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == status.OK
    assert capsys.readouterr().out.startswith("codeq ")


def test_dev_gets_its_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started = with_app(monkeypatch, 0)
    assert main(["dev", "--dir", str(tmp_path), "--port", "1234", "--plaintext"]) == status.OK
    assert started[0].listen[0].port == 1_234 and started[0].listen[0].plaintext


def test_an_interrupt_ends_quietly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(dev, "run", interrupted)
    assert main(["dev", "--dir", str(tmp_path)]) == 130


def test_serve_runs_a_configured_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dev.prepare(tmp_path, 1_234, plaintext=False)
    started = with_app(monkeypatch, status.DISK_NOT_TRUSTED)
    assert main(["serve", "--config", str(tmp_path / "codeq.yml")]) == status.DISK_NOT_TRUSTED
    assert started[0].source == str(tmp_path / "codeq.yml")


@pytest.mark.parametrize("command", [["serve"], ["config", "check"]])
def test_a_bad_configuration_has_its_own_status_and_names_the_line(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "codeq.yml"
    path.write_text("\nlog: {format: xml}\n")
    assert main([*command, "--config", str(path)]) == status.CONFIGURATION
    assert f"{path}:2: log.format" in capsys.readouterr().err


def test_config_check_says_that_all_is_fine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dev.prepare(tmp_path, 1_234, plaintext=False)
    monkeypatch.setenv("CODEQ_LOG_LEVL", "info")
    assert main(["config", "check", "--config", str(tmp_path / "codeq.yml")]) == status.OK
    captured = capsys.readouterr()
    assert "is fine" in captured.out
    assert "CODEQ_LOG_LEVL" in captured.err


@pytest.mark.parametrize(
    ("name", "content"),
    [("server.pem", None), ("server.pem", b"x"), ("server-key.pem", pem(WORKER_EC)), ("worker-key.pub", b"x")],
)
def test_config_check_tries_the_files_that_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None
) -> None:
    dev.prepare(tmp_path, 1_234, plaintext=False)
    (tmp_path / name).unlink()
    if content:
        (tmp_path / name).write_bytes(content)
    assert main(["config", "check", "--config", str(tmp_path / "codeq.yml")]) == status.CONFIGURATION
    assert "tls" in capsys.readouterr().err or name == "worker-key.pub"


def mint(folder: Path, *more: str, kind: str = "worker", private: bytes = b"") -> int:
    path = folder / "key.pem"
    path.write_bytes(private or pem(WORKER_EC))
    return main(["token", "mint", "--key", str(path), "--kind", kind, "--subject", "s", "--tenant", "t", *more])


def test_a_minted_worker_token_is_printed_alone_and_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mint(tmp_path, "--commands", "a, b", "--expires", "2h") == status.OK
    text = capsys.readouterr().out
    caller = Validator(KeySet([], [key(WORKER_EC)]), Rules()).validate(text.removesuffix("\n"), time.time())
    assert (caller.kind, caller.subject, caller.tenant) == ("worker", "s", "t")
    assert caller.commands == frozenset("ab") and caller.has_scope("codeq:claim")
    assert 7_200 < caller.expires - time.time() <= 7_260


def test_scopes_can_be_narrowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mint(tmp_path, "--commands", "*", "--scopes", "codeq:claim,codeq:result") == status.OK
    validator = Validator(KeySet([], [key(WORKER_EC)]), Rules())
    caller = validator.validate(capsys.readouterr().out.strip(), time.time())
    assert caller.scopes == frozenset({"codeq:claim", "codeq:result"}) and caller.commands is None


def test_a_minted_producer_token_may_be_an_admins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--role", "ADMIN", "--kid", "main", "--algorithm", "ES256")
    assert mint(tmp_path, *arguments, kind="producer", private=pem(PRODUCER_EC)) == status.OK
    validator = Validator(KeySet([key(PRODUCER_EC, kid="main")], []), Rules())
    assert validator.validate(capsys.readouterr().out.strip(), time.time()).admin


@pytest.mark.parametrize(
    ("kind", "more", "private", "expected"),
    [
        ("worker", ["--role", "ADMIN"], b"", status.USAGE),
        ("producer", ["--role", "USER"], b"", status.USAGE),
        ("producer", ["--commands", "a"], b"", status.USAGE),
        ("worker", ["--expires", "30"], b"", status.USAGE),
        ("worker", ["--expires", "0d"], b"", status.USAGE),
        ("worker", ["--expires", "9999d"], b"", status.FAILURE),
        ("worker", ["--tenant", "x" * 257], b"", status.FAILURE),
        ("worker", ["--subject", ""], b"", status.FAILURE),
        ("worker", ["--algorithm", "ES256"], pem(RSA_2048), status.FAILURE),
        ("worker", ["--algorithm", "HS256"], b"short", status.FAILURE),
        ("worker", [], b"nonsense", status.FAILURE),
        ("worker", ["--key", "/nowhere"], b"", status.FAILURE),
    ],
)
def test_a_token_that_no_node_would_accept_is_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, more: list[str], private: bytes, expected: int
) -> None:
    assert mint(tmp_path, *more, kind=kind, private=private) == expected
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("codeq: ")


def test_a_secret_signs_with_hs256_only_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mint(tmp_path, "--algorithm", "HS256", private=SECRET) == status.OK
    assert capsys.readouterr().out.count(".") == 2
    assert mint(tmp_path, private=SECRET) == status.FAILURE
    assert signing_key(SECRET, "HS256").algorithm == "HS256"


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("12h", 43_200), ("30d", 2_592_000)])
def test_durations_are_read(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "d", "1", "-1d", "1.5d", "1w", " 1d", "1d ", "0d", "9" * 20 + "s", "١d"])
def test_other_durations_are_not(text: str) -> None:
    assert seconds_of(text) is None


def with_check(monkeypatch: pytest.MonkeyPatch, report: Report | Exception) -> None:
    def check(directory: Path, progress: object) -> Report:
        assert directory == Path("d") and callable(progress)
        for done in range(1, 4):
            progress("body", done, 3)
        if isinstance(report, Exception):
            raise report
        return report

    module = types.ModuleType("appliance.engine.apart")
    module.check_apart = check  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "appliance.engine.apart", module)


def test_check_prints_progress_and_that_the_store_is_clean(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_check(monkeypatch, Report())
    assert main(["check", "--directory", "d"]) == status.OK
    captured = capsys.readouterr()
    assert captured.out == "d is clean\n"
    assert captured.err.splitlines()[-1] == "checking body: 3 of 3"


def test_check_prints_findings_and_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    report = Report()
    for number in range(1_200):
        report.add("seal", 0, bytes([number % 256]), "is damaged")
    with_check(monkeypatch, report)
    assert main(["check", "--directory", "d"]) == status.FAILURE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "seal: body 00: is damaged"
    assert lines[-1] == "d is NOT clean: 1,200 seal"


def test_check_of_a_store_in_use_says_try_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_check(monkeypatch, StoreLocked("in use"))
    assert main(["check", "--directory", "d"]) == status.TRY_AGAIN
    assert "in use" in capsys.readouterr().err


def test_the_token_files_of_dev_are_not_readable_by_others(tmp_path: Path) -> None:
    dev.prepare(tmp_path / "new", 1_234, plaintext=False)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
