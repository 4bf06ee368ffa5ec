"""Reading tasks on an event loop: `codeq.Admin`, each request in a thread."""

import asyncio
from pathlib import Path

from codeq._admin import TIMEOUT_SECONDS, Result, TaskInfo
from codeq._admin import Admin as _Admin
from codeq._dial import Targets, Token


class Admin:
    """Reads tasks and results over REST. Arguments, answers and errors are those of `codeq.Admin`."""

    def __init__(
        self,
        target: Targets,
        token: Token,
        *,
        ca: str | Path | bytes | None = None,
        plaintext: bool = False,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._admin = _Admin(target, token, ca=ca, plaintext=plaintext, timeout_seconds=timeout_seconds)

    async def task(self, task_id: str) -> TaskInfo:
        """A task as it is now."""
        return await asyncio.to_thread(self._admin.task, task_id)

    async def result(self, task_id: str, *, wait_seconds: int = 0) -> Result:
        """The result of a task, after waiting for it at most `wait_seconds` (0 to 60)."""
        return await asyncio.to_thread(self._admin.result, task_id, wait_seconds=wait_seconds)
