"""A backup of a running node under load, ended in the middle too, and a node on the restored store."""

import json
import shutil
import signal
import subprocess
import threading
from pathlib import Path

from tests.e2e.node import CODEQ, ROOT, Node, clean_environment, codeq
from tests.e2e.user import User


def test_a_backup_under_load_has_every_task_that_was_acknowledged_before_it(own_node: Node, tmp_path: Path) -> None:
    own_node.up()
    stop = threading.Event()
    acknowledged: list[str] = []

    def produce() -> None:
        with User(own_node, "dev") as user:
            while not stop.is_set():
                items = [{"command": "load", "payload": number} for number in range(100)]
                made = user.post("/tasks/batch", items, token=user.producer).json()
                acknowledged.extend(each["task"]["id"] for each in made)

    producer = threading.Thread(target=produce)
    producer.start()
    with User(own_node, "dev") as user:
        finished = user.created("finish")["id"]
        lease = user.claimed("finish")["leaseId"]
        user.act("result", finished, status="COMPLETED", result={"n": 1}, leaseId=lease)
        while len(acknowledged) < 1_000:
            assert producer.is_alive()
        before = list(acknowledged)
        made = codeq("backup", "--directory", str(own_node.folder / "data"), str(tmp_path / "copy"), "--json")
        stop.set()
        producer.join()
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["tasks"] > len(before)
    assert own_node.metrics()["codeq_store_readers"] <= 1
    own_node.stop()

    shutil.copytree(own_node.folder, tmp_path / "other", ignore=shutil.ignore_patterns("data"))
    other = Node(tmp_path / "other")
    restored = codeq("restore", str(tmp_path / "copy"), "--directory", str(tmp_path / "other" / "data"))
    assert restored.returncode == 0, restored.stderr
    try:
        other.up()
        with User(other, "dev") as user:
            assert all(user.get(f"/tasks/{task}").status_code == 200 for task in (before[0], before[-1]))
            assert user.get(f"/tasks/{finished}/result").json()["result"] == {"n": 1}
            assert user.claim("finish").status_code == 204
            claimed = {user.claimed("load")["id"] for _ in range(3)}
        assert claimed == set(before[:3])
        found = other.metrics()['codeq_tasks{command="load",state="ready",tenant="dev"}']
        assert found >= len(before) - 3
        again = codeq("restore", str(tmp_path / "copy"), "--directory", str(other.folder / "data"))
        assert again.returncode == 75 and "in use" in again.stderr
        other.stop()
    finally:
        other.kill()
    assert other.check().returncode == 0


def test_a_backup_that_is_stopped_leaves_nothing(own_node: Node, tmp_path: Path) -> None:
    own_node.up()
    with User(own_node, "dev") as user:
        items = [{"command": "load", "payload": "x" * 100_000} for _ in range(70)]
        for _ in range(5):
            user.post("/tasks/batch", items, token=user.producer)
    command = [*CODEQ, "backup", "--directory", str(own_node.folder / "data"), str(tmp_path / "copies" / "one")]
    with subprocess.Popen(command, cwd=ROOT, env=clean_environment({}), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("copying: ")
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
    assert process.returncode == 143
    assert list((tmp_path / "copies").iterdir()) == []
    own_node.stop()
