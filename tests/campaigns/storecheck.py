"""The check of a store after each kill, in one process that stays: starting one for each would take as long as a kill.

Owns that process. It is apart because a damaged page can make LMDB end whoever reads it.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from appliance.engine.check import check

_CONTEXT: Final = multiprocessing.get_context("spawn")


class StoreCheck:
    """Checks one store after another; a context, whose end ends the process."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(1, _CONTEXT)

    def findings(self, directory: Path) -> list[str]:
        """What is wrong with the store in `directory`, which nobody may have open; empty where it is clean."""
        try:
            return self._pool.submit(_findings, directory).result()
        except BrokenProcessPool:
            self._pool = ProcessPoolExecutor(1, _CONTEXT)
            return [f"whoever reads {directory} ends with it"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown()


def _findings(directory: Path) -> list[str]:
    return [str(finding) for finding in check(directory, _quiet).findings]


def _quiet(*_: object) -> None:
    """Nobody watches the progress."""
