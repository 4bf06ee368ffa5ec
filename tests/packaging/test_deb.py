"""The parts of the Debian package that can be judged without making one."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.config import Settings, load

ROOT = Path(__file__).resolve().parents[2]
DEB = ROOT / "packaging" / "deb"
SCRIPTS = sorted(
    path
    for path in (ROOT / "packaging").rglob("*")
    if path.is_file() and path.read_bytes().startswith((b"#!/bin/sh", b"#!/usr/bin/env bash"))
)


def conffile() -> str:
    """The configuration that is installed."""
    example = ROOT / "docs" / "codeq.example.yml"
    run = subprocess.run(["sed", "-E", "-f", str(DEB / "conffile.sed"), str(example)], capture_output=True, check=True)
    return run.stdout.decode()


def test_the_installed_configuration_sets_nothing(tmp_path: Path) -> None:
    path = tmp_path / "codeq.yml"
    path.write_text(conffile())
    assert replace(load(path, {}), source="") == Settings()


def test_the_installed_configuration_still_shows_how_to_name_a_certificate_and_keys() -> None:
    lines = conffile().splitlines()
    for line in ("tls:", "  #certificate: server.pem", "auth:", "  #producer:", "      #file: producer-key.pub"):
        assert line in lines


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_is_whole(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_a_purge_names_every_directory_that_a_unit_makes() -> None:
    made = {
        word
        for unit in (ROOT / "systemd").glob("*.service")
        for line in unit.read_text().splitlines()
        if line.startswith("StateDirectory=")
        for word in line.removeprefix("StateDirectory=").split()
    }
    purged = (DEB / "postrm").read_text()
    for name in made:
        assert f" /var/lib/{name} " in purged


def test_the_maintainer_scripts_know_every_unit_that_can_be_enabled() -> None:
    for unit in (ROOT / "systemd").glob("*.*"):
        if "[Install]" in unit.read_text():
            for script in ("postinst", "postrm"):
                assert unit.name in (DEB / script).read_text(), script
