"""Two stages on one event loop: the handler of the first creates the tasks of the second.

    python examples/pipeline.py [FOLDER [TARGET]]

FOLDER is the directory of a `codeq dev` node (default: codeq-dev), TARGET its address (default: localhost:8443).
The handler gives each task that it creates a key made of its own task's id: if it is delivered twice, the second stage
still gets one task.
"""

import asyncio
import sys
from pathlib import Path

import codeq
from codeq.aio import Producer, Worker

WORDS = ("queue", "worker", "lease")


async def main(folder: Path, target: str) -> None:
    """Run both stages for three words and print them."""
    ca = folder / "ca.pem"
    done: list[str] = []
    worker = Worker(target, (folder / "worker.token").read_text().strip(), ca=ca, concurrency=8)
    async with Producer(target, (folder / "producer.token").read_text().strip(), ca=ca) as producer:

        @worker.handler("reverse")
        async def reverse(task: codeq.Task) -> None:
            await producer.create("shout", task.payload[::-1], idempotency_key=f"shout-{task.id}")

        @worker.handler("shout")
        async def shout(task: codeq.Task) -> None:
            done.append(task.payload.upper())
            if len(done) == len(WORDS):
                worker.stop()

        await producer.create_many(codeq.NewTask(command="reverse", payload=word) for word in WORDS)
        await worker.run()
    print(*sorted(done))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    asyncio.run(
        main(Path(arguments[0] if arguments else "codeq-dev"), arguments[1] if len(arguments) > 1 else "localhost:8443")
    )
