"""A program that dies: it commits groups in the given directory and prints the number of each one that is durable.

Group n puts the rows of one create, and deletes those of group n - 1 where n is even. Arguments: directory, number of
groups, and optionally the largest size in bytes that the system lets its files have.
"""

import asyncio
import resource
import sys
from pathlib import Path

import uvloop

from appliance.engine.committer import Committer, CommitTimes
from appliance.engine.faults import StoreError
from appliance.engine.group import Group
from appliance.engine.store import Store
from tests.engine.committing import rows_of

CREATES = 20


def group_at(number: int) -> Group:
    group = Group(number)
    for row in rows_of(number, CREATES):
        group.put_new(*row)
    if number % 2 == 0:
        for table, key, _ in rows_of(number - 1, CREATES):
            group.delete(table, key)
    return group


async def main(directory: Path, last: int) -> int:
    loop = asyncio.get_running_loop()
    store = Store.open(directory)
    done: asyncio.Future[int] = loop.create_future()

    def durable(number: int, _times: CommitTimes) -> None:
        print(number, flush=True)
        if number == last:
            done.set_result(0)
        else:
            committer.submit(number + 1, group_at(number + 1).close())

    def failed(_number: int, error: StoreError) -> None:
        done.set_result(error.exit_status)

    committer = Committer(store, loop.call_soon_threadsafe, durable, failed)
    committer.submit(1, group_at(1).close())
    status = await done
    committer.stop()
    store.close()
    return status


if __name__ == "__main__":
    if len(sys.argv) > 3:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(runner.run(main(Path(sys.argv[1]), int(sys.argv[2]))))
