"""The examples and the client's document, run as they stand against a real node."""

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import codeq
from tests.docs.test_readme import blocks
from tests.e2e.node import CODEQ, ROOT, Node, clean_environment

WAIT_SECONDS = 30
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node whose directory has the name that the document uses."""
    one = Node(tmp_path_factory.mktemp("examples") / "codeq-dev").up()
    try:
        yield one
        one.stop()
    finally:
        one.kill()


def target(node: Node) -> str:
    return f"localhost:{node.port}"


@contextlib.contextmanager
def background(*command: str) -> Iterator[None]:
    """A process that drains on SIGTERM."""
    process = subprocess.Popen(command, cwd=ROOT, env=clean_environment({"PYTHONPATH": str(ROOT)}))
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 0
    finally:
        process.kill()
        process.wait()


def run(name: str, node: Node) -> str:
    """What an example prints."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), str(node.folder), target(node)],
        cwd=ROOT,
        env=clean_environment({"PYTHONPATH": str(ROOT)}),
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_tasks_are_created_and_worked_on(node: Node) -> None:
    with background(sys.executable, str(EXAMPLES / "work.py"), str(node.folder), target(node)):
        printed = run("create.py", node)
    assert printed == "1 + 2 = 3\ndoubles: [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]\n"


def test_a_handler_creates_the_tasks_of_the_next_stage(node: Node) -> None:
    assert run("pipeline.py", node) == "ESAEL EUEUQ REKROW\n"


def test_a_shell_script_is_a_worker(node: Node) -> None:
    arguments = ["worker", "run", "--commands", "count-words", "--url", node.url]
    arguments += ["--token-file", str(node.folder / "worker.token"), "--ca", str(node.folder / "ca.pem")]
    token, ca = (node.folder / "producer.token").read_text().strip(), node.folder / "ca.pem"
    admin = codeq.Admin(target(node), token, ca=ca)
    with (
        background(*CODEQ, *arguments, "--", str(EXAMPLES / "count-words.sh")),
        codeq.Producer(target(node), token, ca=ca) as producer,
    ):
        good = producer.create("count-words", "one two three")
        bad = producer.create("count-words", {"no": "text"})
        assert admin.result(good, wait_seconds=WAIT_SECONDS).result == 3
        assert admin.result(bad, wait_seconds=WAIT_SECONDS).error == "the payload is no text"


def test_the_document_works_as_it_stands(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(node.folder.parent)
    names: dict[str, Any] = {"__name__": "document"}
    for block in blocks((ROOT / "docs" / "client.md").read_text()):
        exec(block.commands.replace("localhost:8443", target(node)), names)
    thread = threading.Thread(target=names["worker"].run, kwargs={"signals": False})
    thread.start()
    try:
        admin: codeq.Admin = names["admin"]
        assert admin.result(names["task_id"], wait_seconds=WAIT_SECONDS).result == {"sent": True}
        assert admin.result(names["ids"][0], wait_seconds=WAIT_SECONDS).result == {"width": 50}
        assert admin.result(names["answers"][0], wait_seconds=WAIT_SECONDS).status == "FAILED"
    finally:
        names["worker"].stop()
        thread.join(WAIT_SECONDS)
        names["producer"].close()
