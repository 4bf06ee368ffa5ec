"""What lies under the node: a disk that fills, a store of another version, a bit that flips, a second owner."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from appliance.engine.rows import encode_row, seal
from appliance.engine.stamp import writing
from appliance.engine.store import FORMAT_KEY, FORMAT_VERSION
from appliance.engine.tables import META, TABLE_NAMES
from tests.e2e.node import Node, codeq, free_port
from tests.e2e.user import User, refusal

TEBIBYTE = 1 << 40


def test_two_nodes_on_one_store_even_with_directories_of_their_own(own_node: Node, tmp_path: Path) -> None:
    own_node.up()
    second = Node(
        tmp_path / "second", port=free_port(), environ={"CODEQ_STORE_DIRECTORY": str(own_node.folder / "data")}
    )
    second.start()
    try:
        assert second.wait() == 75
        assert f"in use by process {own_node.process.pid}" in second.log
    finally:
        second.kill()
    checked = own_node.check()
    assert checked.returncode == 75 and "in use by process" in checked.stderr, "a running store is not checked"
    own_node.stop()


def test_below_the_free_floor_creates_wait_while_work_goes_on(own_node: Node) -> None:
    if shutil.disk_usage(own_node.folder.parent).free >= TEBIBYTE:
        pytest.skip("the largest floor is below what is free here")
    own_node.up()
    with User(own_node, "floor") as user:
        tasks = [user.created("floor", n)["id"] for n in range(3)]
        user.created("floor", "key", idempotencyKey="before")
    own_node.stop()
    own_node.up({"CODEQ_STORE_FREE_FLOOR_BYTES": str(TEBIBYTE)})
    with User(own_node, "floor") as user:
        response = user.create("floor")
        assert refusal(response) == (503, "unavailable")
        assert int(response.headers["retry-after"]) >= 1
        batch = user.post("/tasks/batch", [{"command": "floor", "payload": 1}], token=user.producer)
        assert [item["error"]["code"] for item in batch.json()] == ["unavailable"]
        assert user.created("floor", "key", idempotencyKey="before")["id"], "a replay needs no room"
        assert user.claimed("floor")["id"] == tasks[0]
        assert user.act("heartbeat", tasks[0]).status_code == 200
        assert user.act("result", tasks[0], status="COMPLETED").status_code == 200
        assert user.claimed("floor")["id"] == tasks[1]
        assert user.act("nack", tasks[1], delaySeconds=0).status_code == 200
        assert user.task(tasks[2])["status"] == "PENDING"
    own_node.stop()
    own_node.up()
    with User(own_node, "floor") as user:
        assert user.create("floor").status_code == 201
    own_node.stop()
    assert own_node.check().returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small file system can't be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_loses_nothing_and_recovers_when_there_is_room(own_node: Node, small_disk: Path) -> None:
    own_node.environ["CODEQ_STORE_DIRECTORY"] = str(small_disk / "data")
    own_node.up({"CODEQ_STORE_FREE_FLOOR_BYTES": "0"})
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(4 << 20))
    acknowledged = []
    with User(own_node, "full") as user:
        deadline = time.monotonic() + 30
        while (response := user.create("full", "x" * 200_000)).status_code == 201:
            acknowledged.append(response.json()["id"])
            assert time.monotonic() < deadline, "the disk never filled"
        assert refusal(response) == (503, "unavailable") and "retry-after" in response.headers
        assert acknowledged
        for task in acknowledged:
            assert user.task(task)["status"] == "PENDING"
        ballast.unlink()
        deadline = time.monotonic() + 10
        while (again := user.create("full", 1)).status_code != 201:
            assert refusal(again) == (503, "unavailable")
            assert time.monotonic() < deadline, "creates were never accepted again"
            time.sleep(0.1)
        for task in acknowledged:
            assert user.claimed("full")["id"] == task
            assert user.act("result", task, status="COMPLETED").status_code == 200
    own_node.stop()
    checked = codeq("check", "--directory", str(small_disk / "data"))
    assert checked.returncode == 0, checked.stdout + checked.stderr


def filled(node: Node, payload: str) -> str:
    """Start the node, make one task, and stop it: the task."""
    node.up()
    with User(node, "stored") as user:
        task: str = user.created("stored", payload)["id"]
    node.stop()
    return task


def test_a_store_of_a_newer_format_is_refused(own_node: Node) -> None:
    filled(own_node, "any")
    with (
        lmdb.open(
            str(own_node.folder / "data"), max_dbs=32, map_size=1 << 30, subdir=True, lib_version=0
        ) as environment,
        writing(environment) as transaction,
    ):
        table = environment.open_db(TABLE_NAMES[META].encode(), transaction, create=False)
        transaction.put(FORMAT_KEY, seal(META, FORMAT_KEY, encode_row(FORMAT_VERSION + 1)), db=table)
    own_node.start()
    assert own_node.wait() == 78
    assert f"format version {FORMAT_VERSION + 1}" in own_node.log and "Traceback" not in own_node.log
    checked = own_node.check()
    assert checked.returncode == 78 and f"format version {FORMAT_VERSION + 1}" in checked.stderr


def test_a_flipped_byte_is_found_and_never_served(own_node: Node) -> None:
    mark = "the payload whose first letter changes"
    task = filled(own_node, mark)
    path = own_node.folder / "data" / "data.mdb"
    data = path.read_bytes()
    assert data.count(mark.encode()) == 1
    path.write_bytes(data.replace(mark.encode(), b"T" + mark.encode()[1:]))
    checked = own_node.check()
    assert checked.returncode == 1 and "NOT clean" in checked.stdout, checked.stdout + checked.stderr
    assert "body" in checked.stdout
    own_node.up()
    with User(own_node, "stored") as user:
        assert refusal(user.get(f"/tasks/{task}")) == (503, "unavailable")
        assert user.create("stored", "another").status_code == 201, "the rest of the store is served"
    own_node.kill()
