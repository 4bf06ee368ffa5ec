"""The commands of the README and of the document about gRPC, run as they stand there against a real node.

The convention: a bash block that follows `<!-- run -->` is run, all of them in one shell and in order, as in a reader's
terminal. A block that follows `<!-- prints -->` is the standard output of the run block before it, line by line, where
`…` stands for anything. Only the ports change, and the scheme for a plaintext node. Python blocks of a document are one
program.
"""

import contextlib
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.e2e.node import CODEQ, ROOT, Node, clean_environment, free_port

README: Final = ROOT / "README.md"
GRPC: Final = ROOT / "docs" / "grpc.md"
DOCUMENTS: Final = (README, *sorted((ROOT / "docs").glob("*.md")))
CONFIGURED: Final = ":9443"
"""The port of the configured node."""
SECONDS_MAX: Final = 90.0
"""The run takes about fifteen seconds; a busy machine may take many times that."""

END_OF_BLOCK: Final = "--- end of block ---"
_MARKED: Final = re.compile(r"<!-- (run|prints) -->\n```\w+\n(.*?)```\n", re.DOTALL)
_LINK: Final = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
_ANCHOR: Final = re.compile(r"\]\(([^)#:]*)#([^)]*)\)")
_HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)
_SOURCE: Final = re.compile(r"`((?:appliance|codeq|tests|loadtest|docs|examples|proto)/[\w./*-]*)`")


class Block(NamedTuple):
    """A run block and the lines that it prints, where the README says so."""

    commands: str
    printed: list[str] | None


def blocks(text: str) -> list[Block]:
    """The run blocks of a document, in order."""
    found: list[Block] = []
    for kind, content in _MARKED.findall(text):
        if kind == "run":
            found.append(Block(content, None))
        else:
            assert found[-1].printed is None, "a run block has one output"
            found[-1] = found[-1]._replace(printed=content.splitlines())
    return found


def same(written: str, printed: str) -> bool:
    """Whether a line of output is what the README says, with anything at each `…`."""
    return re.fullmatch(".*".join(map(re.escape, written.split("…"))), printed) is not None


def run(script: str, folder: Path) -> str:
    """What `script` prints in bash, in `folder`; fails where a command of it does. Nothing it started is left."""
    commands = folder / "commands"
    commands.mkdir()
    codeq = commands / "codeq"
    codeq.write_text(f'#!/bin/sh\nexec {" ".join(CODEQ)} "$@"\n')
    codeq.chmod(codeq.stat().st_mode | stat.S_IXUSR)
    python = Path(sys.executable).parent
    path = os.pathsep.join((str(commands), str(python), os.environ["PATH"]))
    environ = clean_environment({"PATH": path, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)})
    with subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as shell:
        try:
            printed, complaints = shell.communicate(timeout=SECONDS_MAX)
        finally:
            if shell.poll() != 0:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(shell.pid, signal.SIGKILL)
    assert shell.returncode == 0, printed + complaints
    return printed


@pytest.fixture(params=["https", "http"])
def node(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Node]:
    """A node as `./dev run` starts it, in the folder where the commands are run."""
    one = Node(tmp_path / "codeq-dev", plaintext=request.param == "http")
    try:
        yield one.up()
        one.stop()
    finally:
        one.kill()


def test_every_command_of_the_readme_does_what_it_says(node: Node, tmp_path: Path) -> None:
    todo = blocks(README.read_text())
    assert len(todo) > 10
    if node.plaintext:
        # The rest starts a node of its own, which is the same whatever this one speaks.
        todo = todo[: next(number for number, block in enumerate(todo) if CONFIGURED in block.commands)]
    script = "".join(f"{block.commands}echo '{END_OF_BLOCK}'\n" for block in todo)
    script = script.replace("https://localhost:8443", node.url).replace(CONFIGURED, f":{free_port()}")
    check_printed(todo, run(script, tmp_path))


@pytest.mark.parametrize("node", ["https"], indirect=True)
def test_the_calls_of_the_grpc_document_do_what_it_says(node: Node, tmp_path: Path) -> None:
    generate, *program = blocks(GRPC.read_text())
    (tmp_path / "proto").symlink_to(ROOT / "proto")
    lines = "".join(f"{block.commands}print({END_OF_BLOCK!r})\n" for block in program)
    script = f"{generate.commands}python - <<'END'\n{lines}END\n"
    check_printed(program, run(script.replace("localhost:8443", f"localhost:{node.port}"), tmp_path))


def check_printed(todo: list[Block], printed: str) -> None:
    """Hold what was printed, with a mark behind each block, against what is written."""
    for block, text in zip(todo, printed.split(f"{END_OF_BLOCK}\n")[:-1], strict=True):
        lines, written = text.splitlines(), block.printed or []
        matches = len(lines) == len(written) and all(map(same, written, lines))
        assert matches, f"{block.commands}\nprints\n\n{text}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_is_named_is_there(document: Path) -> None:
    text = document.read_text()
    for target in _LINK.findall(text):
        assert (document.parent / target).exists(), target
    for pattern in _SOURCE.findall(text):
        assert list(ROOT.glob(pattern.rstrip("/"))), pattern


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_anchor_is_a_heading(document: Path) -> None:
    for target, anchor in _ANCHOR.findall(document.read_text()):
        headings = _HEADING.findall((document.parent / target if target else document).read_text())
        assert anchor in map(slug, headings), f"{target}#{anchor}"


def slug(heading: str) -> str:
    """The anchor of a heading: lower case, words joined by hyphens, nothing else."""
    text = heading.replace("&lt;", "").replace("&gt;", "").lower()
    return re.sub(r"[^\w -]", "", text).replace(" ", "-")
