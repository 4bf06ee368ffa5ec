"""A worker with functions: it adds numbers until SIGTERM or Ctrl-C.

    python examples/work.py [FOLDER [TARGET]]

FOLDER is the directory of a `codeq dev` node (default: codeq-dev), TARGET its address (default: localhost:8443).
"""

import logging
import sys
from pathlib import Path

import codeq


def make_worker(folder: Path, target: str) -> codeq.Worker:
    """A worker with its handlers."""
    worker = codeq.Worker(
        target,
        lambda: (folder / "worker.token").read_text().strip(),  # read at each connection, so it may be renewed
        ca=folder / "ca.pem",
        concurrency=4,
    )

    @worker.handler("add", fail_on=(TypeError,))
    def add(task: codeq.Task) -> object:
        if len(task.payload) > 100:
            raise codeq.Fail("too many numbers")
        return sum(task.payload)

    return worker


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    arguments = sys.argv[1:]
    make_worker(
        Path(arguments[0] if arguments else "codeq-dev"), arguments[1] if len(arguments) > 1 else "localhost:8443"
    ).run()
