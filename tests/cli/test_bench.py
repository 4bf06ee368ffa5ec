"""`codeq bench` from its arguments to its files."""

import json
from pathlib import Path

import pytest

from appliance.bench.servers import free_port
from appliance.cli import status
from appliance.cli.main import main


def test_a_node_of_its_own_is_measured_and_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stores, record, plot = tmp_path / "stores", tmp_path / "row.json", tmp_path / "row.svg"
    arguments = ["--seconds", "1", "--warm-seconds", "1", "--in-flight", "512", "--directory", str(stores)]
    assert main(["bench", *arguments, "--tls", "--json", str(record), "--plot", str(plot)]) == status.OK
    printed = capsys.readouterr()
    assert "cycles" in printed.out and "durability fsync" in printed.out and "TLS yes" in printed.out
    assert "1 s  created" in printed.err
    row = json.loads(record.read_bytes())
    assert row["finished"] > 0
    assert row["scenario"]["in_flight"] == 512
    assert "finished per second" in plot.read_text()
    assert list(stores.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--batch", "0"], "a batch is 1 to"),
        (["--target", "nowhere"], "host:port"),
        (["--target", "a:1", "--prototype", "b"], "exclude each other"),
        (["--server-pid", "1"], "needs --target"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *arguments]) == status.USAGE
    assert words in capsys.readouterr().err


def test_a_target_that_does_not_answer_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token = tmp_path / "token"
    token.write_text("none")
    arguments = ["--target", f"127.0.0.1:{free_port()}", "--seconds", "1"]
    tokens = ["--producer-token-file", str(token), "--worker-token-file", str(token)]
    assert main(["bench", *arguments, *tokens]) == status.FAILURE
    assert "refused" in capsys.readouterr().err


def test_a_stream_of_each_kind_comes_with_each_tenant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["tenants", "--tenants", "6", "--seconds", "1", "--warm-seconds", "1", "--directory", str(tmp_path)]
    assert main(["bench", *arguments]) == status.OK
    assert "6 tenants" in capsys.readouterr().out
