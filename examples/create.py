"""Create tasks and wait for their results.

    python examples/create.py [FOLDER [TARGET]]

FOLDER is the directory of a `codeq dev` node (default: codeq-dev), TARGET its address (default: localhost:8443).
"""

import sys
from pathlib import Path

import codeq


def main(folder: Path, target: str) -> None:
    """Create one task, then many at once, and print what the workers made of them."""
    token = (folder / "producer.token").read_text().strip()
    ca = folder / "ca.pem"
    with codeq.Producer(target, token, ca=ca) as producer:
        first = producer.create("add", [1, 2], priority=10, max_attempts=3)
        others = producer.create_many(codeq.NewTask(command="add", payload=[n, n]) for n in range(10))

    admin = codeq.Admin(target, token, ca=ca)
    print("1 + 2 =", admin.result(first, wait_seconds=20).result)
    print("doubles:", [admin.result(each, wait_seconds=20).result for each in others])


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(Path(arguments[0] if arguments else "codeq-dev"), arguments[1] if len(arguments) > 1 else "localhost:8443")
