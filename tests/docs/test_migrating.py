"""The document on migrating names what is there: its configuration is accepted, and its endpoints are routes."""

import json
import re
from pathlib import Path
from typing import Final

from tests.api.support import Node as Api
from tests.e2e.node import ROOT, Node, codeq

TEXT: Final = (ROOT / "docs" / "migrating.md").read_text()


def test_the_configuration_is_accepted(tmp_path: Path) -> None:
    node = Node(tmp_path / "made")
    try:
        node.up().stop()
    finally:
        node.kill()
    found = re.search(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert found
    file = node.folder / "migrated.yml"
    file.write_text(found[1].replace("/var/lib/codeq", "data"))
    checked = codeq("config", "check", "--config", str(file))
    assert checked.returncode == 0, checked.stderr


def test_every_endpoint_of_the_list_is_described() -> None:
    paths = json.loads(Api().call("GET", "/openapi.json").body)["paths"]
    start = TEXT.index("## Endpoints")
    rows = [line.split("|")[1] for line in TEXT[start : TEXT.index("## Data")].splitlines() if line.startswith("| `")]
    named = {(row.split("`")[1].split()[0], path) for row in rows for path in re.findall(r"(/[\w/<>-]+)`", row)}
    assert len(named) >= 15
    for method, short in named:
        pattern = re.escape(short).replace(r"<id>", r"\{\w+\}").replace(r"<command>", r"\{\w+\}")
        fitting = [methods for path, methods in paths.items() if re.search(f"{pattern}$", path)]
        assert any(method.lower() in methods for methods in fitting), (method, short)
