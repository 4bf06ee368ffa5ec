"""A node meets a store that a later release wrote: it says so, touches nothing, and the later release goes on."""

from pathlib import Path

import lmdb

from appliance.engine.rows import encode_row, seal
from appliance.engine.stamp import writing
from appliance.engine.store import FORMAT_KEY, FORMAT_VERSION
from appliance.engine.tables import META, TABLE_NAMES
from tests.e2e.node import Node
from tests.e2e.user import User


def set_format(directory: Path, version: int) -> None:
    """What a release with this format would have written; the store is closed."""
    with lmdb.open(str(directory), max_dbs=32, map_size=1 << 30, create=False) as environment:
        meta = environment.open_db(TABLE_NAMES[META].encode(), create=False)
        with writing(environment) as txn:
            txn.put(FORMAT_KEY, seal(META, FORMAT_KEY, encode_row(version)), db=meta)


def test_a_store_of_a_later_release_is_refused_untouched_and_that_release_goes_on(own_node: Node) -> None:
    own_node.up()
    with User(own_node, "format") as user:
        task = user.post("/tasks", {"command": "greet", "payload": 1}, token=user.producer).json()["id"]
    own_node.stop()
    data = own_node.folder / "data"
    set_format(data, FORMAT_VERSION + 1)
    before = (data / "data.mdb").read_bytes()

    own_node.start()
    assert own_node.wait() == 78
    assert f"has format version {FORMAT_VERSION + 1}, this program reads version {FORMAT_VERSION}" in own_node.log
    assert (data / "data.mdb").read_bytes() == before

    set_format(data, FORMAT_VERSION)
    own_node.up()
    with User(own_node, "format") as user:
        assert user.get(f"/tasks/{task}").json()["status"] == "PENDING"
