"""What a service manager gives to a node and wants from it, taken from the environment once.

Must not know which manager it is, nor what is done with it. Without one everything is empty and the words go nowhere.
"""

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Self

from appliance.service.activation import Passed, take_sockets
from appliance.service.notify import Notifier


@dataclass(frozen=True, slots=True)
class Manager:
    """The way to speak to it, and the listening sockets it passed."""

    notifier: Notifier
    sockets: tuple[Passed, ...] = ()

    @classmethod
    def taken_from(cls, environ: MutableMapping[str, str], pid: int) -> Self:
        """What `environ` holds for process `pid`; the variables leave it, so that no child takes them for its own.

        Raises ActivationError where a passed socket can't be served.
        """
        return cls(Notifier.taken_from(environ, pid), tuple(take_sockets(environ, pid)))
