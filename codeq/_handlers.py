"""Which handler a command has.

Owns the registration and its rules. Must not know how handlers are run.
"""

import dataclasses
import inspect
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from codeq.tasks import Task

COMMANDS_MAX: Final = 100
"""What the server takes in one request for work."""
_COMMAND: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")

Function = Callable[[Task], Any] | Callable[[Task], Awaitable[Any]]
_F = TypeVar("_F", bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True, slots=True)
class Handler:
    """A function or a coroutine function, and the exceptions by which a task of it is FAILED for good."""

    function: Callable[[Task], Any]
    is_coroutine: bool
    fail_on: tuple[type[Exception], ...]


class Handlers:
    """The handlers of one worker."""

    def __init__(self) -> None:
        self._by_command: dict[str, Handler] = {}

    @property
    def commands(self) -> list[str]:
        """The commands that have a handler."""
        return list(self._by_command)

    def register(self, commands: tuple[str, ...], fail_on: tuple[type[Exception], ...]) -> Callable[[_F], _F]:
        """A decorator for the handler of these commands. Raises ValueError for a bad or a second one."""
        for command in commands:
            if not _COMMAND.fullmatch(command):
                raise ValueError(f"not a command: {command!r}")
        if not commands:
            raise ValueError("a handler needs a command")

        def decorate(function: _F) -> _F:
            for command in commands:
                if command in self._by_command:
                    raise ValueError(f"{command} has a handler already")
                self._by_command[command] = Handler(function, inspect.iscoroutinefunction(function), fail_on)
            if len(self._by_command) > COMMANDS_MAX:
                raise ValueError(f"a worker has at most {COMMANDS_MAX} commands")
            return function

        return decorate

    def get(self, command: str) -> Handler:
        """The handler of a command that was asked for."""
        return self._by_command[command]
