"""`codeq doctor`: what is well, what is not, and what to do about it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.cli import dev, doctor, probes, status
from appliance.cli.doctor import judge_certificate, judge_filesystem, judge_flush, judge_space
from appliance.cli.installed import service_environ
from appliance.cli.main import main
from appliance.cli.probes import Flush
from appliance.engine.datafile import DATA_NAME
from appliance.engine.disk import DirectoryLock
from tests.engine.filling import fill, sound_rows

Captured = pytest.CaptureFixture[str]
CHECKS = [
    "configuration", "certificate", "store", "file system", "disk sync",
    "free space", "clock", "map size", "open files",
]  # fmt: skip
LEVELS = ["", "ok", "warning", "error"]


@pytest.fixture
def healthy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A configured node on a machine where all is well."""
    monkeypatch.setattr(doctor, "filesystem_of", lambda _: "ext4")
    monkeypatch.setattr(doctor, "free_bytes", lambda _: 1 << 40)
    monkeypatch.setattr(probes, "flush", lambda _: Flush(0.5, 2.0))
    monkeypatch.setattr(probes, "clock_is_synchronized", lambda: True)
    monkeypatch.setattr(probes, "address_space", lambda _: True)
    monkeypatch.setattr(probes, "open_files_max", lambda _: 1 << 20)
    dev.prepare(tmp_path, 1_234, plaintext=False)
    fill(tmp_path / "data", sound_rows())
    return tmp_path


def findings(folder: Path, capsys: Captured, expected: int) -> dict[str, str]:
    """The level of each check, by its name; the worst where one says more than one thing."""
    assert main(["doctor", "--config", str(folder / "codeq.yml"), "--json"]) == expected
    levels: dict[str, str] = {}
    for line in capsys.readouterr().out.splitlines():
        finding = json.loads(line)
        assert (finding["remedy"] == "") == (finding["level"] == "ok"), finding
        levels[finding["check"]] = max(levels.get(finding["check"], ""), finding["level"], key=LEVELS.index)
    return levels


def test_a_healthy_node_has_no_finding(healthy: Path, capsys: Captured) -> None:
    assert findings(healthy, capsys, status.OK) == dict.fromkeys(CHECKS, "ok")
    lock = DirectoryLock(healthy / "data")
    assert main(["doctor", "--config", str(healthy / "codeq.yml")]) == status.OK
    assert f"process {os.getpid()} has it" in capsys.readouterr().out
    lock.release()


def test_each_trouble_is_found_and_has_a_remedy(
    healthy: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "filesystem_of", lambda _: "nfs4")
    monkeypatch.setattr(doctor, "free_bytes", lambda _: 1 << 20)
    monkeypatch.setattr(probes, "flush", lambda _: Flush(30.0, 2.0))
    monkeypatch.setattr(probes, "clock_is_synchronized", lambda: False)
    monkeypatch.setattr(probes, "address_space", lambda _: False)
    monkeypatch.setattr(probes, "open_files_max", lambda _: 1_024)
    (healthy / "worker-key.pub").write_text("nonsense")
    (healthy / "server-key.pem").chmod(0o644)
    (healthy / "data" / DATA_NAME).write_bytes(bytes(100_000))
    found = findings(healthy, capsys, status.FAILURE)
    assert set(found) == set(CHECKS) and "ok" not in found.values()


def test_without_a_usable_configuration_the_machine_is_looked_at(healthy: Path, capsys: Captured) -> None:
    (healthy / "codeq.yml").write_text("listen: 1")
    found = findings(healthy, capsys, status.FAILURE)
    assert found == {"configuration": "error", "clock": "ok", "map size": "ok"}


def test_a_directory_is_enough(healthy: Path, capsys: Captured) -> None:
    assert main(["doctor", "--directory", str(healthy / "data")]) == status.OK
    assert "configuration" not in capsys.readouterr().out
    assert main(["doctor", "--directory", str(healthy / "none")]) == status.FAILURE
    assert "first start" in capsys.readouterr().out
    (healthy / "empty").mkdir()
    assert main(["doctor", "--directory", str(healthy / "empty")]) == status.OK


def test_a_certificate_that_is_made_at_the_start_is_no_trouble(healthy: Path, capsys: Captured) -> None:
    text = (healthy / "codeq.yml").read_text()
    (healthy / "codeq.yml").write_text(text.replace("tls: {certificate: server.pem, key: server-key.pem}\n", ""))
    assert findings(healthy, capsys, status.OK)["certificate"] == "ok"


@pytest.mark.parametrize(
    ("measured", "kind", "level"),
    [
        (Flush(0.5, 10.0), "ext4", "ok"), (Flush(11.0, 12.0), "ext4", "warning"), (Flush(1.0, 300.0), "xfs", "warning"),
        (Flush(0.001, 0.1), "ext4", "warning"), (Flush(0.001, 0.1), "tmpfs", "ok"),
    ],
)  # fmt: skip
def test_flushes_are_neither_slow_nor_too_fast_to_be_true(measured: Flush, kind: str, level: str) -> None:
    assert judge_flush(measured, kind).level == level


@pytest.mark.parametrize(
    ("kind", "allowed", "level"),
    [
        ("ext4", False, "ok"), ("tmpfs", True, "error"), ("nfs", False, "error"), ("nfs", True, "warning"),
        ("", False, "ok"),
    ],
)  # fmt: skip
def test_file_systems_are_judged(kind: str, allowed: bool, level: str) -> None:
    assert judge_filesystem(Path("/d"), kind, allowed=allowed).level == level


def test_space_and_certificates_are_judged_before_it_is_too_late() -> None:
    assert [judge_space(free, 100).level for free in (99, 100, 199, 200)] == ["error", "warning", "warning", "ok"]
    assert [judge_certificate(Path("c"), days).level for days in (0, 13.9, 14)] == ["error", "warning", "ok"]


def test_the_probes_ask_this_machine(tmp_path: Path) -> None:
    measured = probes.flush(tmp_path)
    assert 0 <= measured.median_ms <= measured.worst_ms
    assert list(tmp_path.iterdir()) == []
    assert probes.clock_is_synchronized() in (True, False, None)
    assert probes.address_space(1 << 20) and not probes.address_space(1 << 62)
    assert probes.open_files_max(0) == probes.open_files_max(os.getpid()) > 0


def test_a_bound_on_address_space_is_noticed() -> None:
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 33, 1 << 33))\n"
        "from appliance.cli import probes; print(probes.address_space(4 << 40))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_credentials_of_the_running_service_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.cli.installed.SERVICE_CREDENTIALS", tmp_path)
    assert service_environ({"A": "b"}) == {"A": "b", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert service_environ({"CREDENTIALS_DIRECTORY": "/own"}) == {"CREDENTIALS_DIRECTORY": "/own"}
    monkeypatch.setattr("appliance.cli.installed.SERVICE_CREDENTIALS", tmp_path / "none")
    assert service_environ({}) == {}
