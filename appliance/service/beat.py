"""The regular word to the service manager: a status line, and the watchdog's food while the node moves.

Owns the timer on the loop. Must not know how the node's pulse is taken nor what its status line says.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from appliance.service.notify import Notifier
from appliance.service.watchdog import LOOKS_PER_INTERVAL, Judge, Pulse

log = logging.getLogger("codeq.service")

STATUS_SECONDS: Final = 10.0
"""How old the status line may be where no watchdog asks for more."""


class Beat:
    """Runs from `start` to `stop`, on the loop's thread. Without a service manager it does nothing."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        notifier: Notifier,
        pulse: Callable[[], Pulse],
        status: Callable[[], str],
    ) -> None:
        self._loop = loop
        self._notifier = notifier
        self._pulse = pulse
        self._status = status
        watchdog_seconds = notifier.watchdog_seconds
        self._seconds = watchdog_seconds / LOOKS_PER_INTERVAL if watchdog_seconds else STATUS_SECONDS
        self._judge = Judge(watchdog_seconds or float("inf"))
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Beat now and from now on."""
        if self._notifier.enabled:
            self._beat()

    def stop(self) -> None:
        """Beat no more. Harmless when repeated."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _beat(self) -> None:
        self._timer = self._loop.call_later(self._seconds, self._beat)
        complaint = self._judge.complaint(self._pulse())
        if complaint:
            log.error("the watchdog is not fed: %s", complaint)
            self._notifier.status(complaint)
            return
        self._notifier.alive()
        self._notifier.status(self._status())
