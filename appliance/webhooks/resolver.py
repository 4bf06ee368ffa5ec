"""From the name in a target to the addresses that may be connected to.

Owns the look-up in threads of its own, and the refusals: addresses that are not public unless that is allowed, and this
node's own ports in any case. A name is looked up once per attempt and what is returned here is what gets connected to,
so a name that changes its mind between check and use gains nothing.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from appliance.addresses import PrivateAddress, resolve
from appliance.webhooks.target import Target

PRIVATE: Final = "private-address"
OWN: Final = "own-address"
URL: Final = "bad-url"
REASONS: Final = (PRIVATE, OWN, URL)

_DISCARD_PORT: Final = 9


class TargetRefused(Exception):
    """The target is never connected to; `reason` is one of `REASONS`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


LookUp = Callable[[str, int, bool], list[str]]
"""From host, port and whether private addresses are allowed to addresses; blocks. Raises OSError."""


class Resolver:
    """Looks names up. `own_ports` are those that this node listens on."""

    def __init__(
        self,
        *,
        allow_private: bool,
        own_ports: Callable[[], Collection[int]],
        threads: int,
        look_up: LookUp | None = None,
    ) -> None:
        """`threads` is as many as ask at once: a name server that hangs then holds up those who asked it, only."""
        self._allow_private = allow_private
        self._own_ports = own_ports
        self._look_up = look_up or _look_up
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="webhook-names")

    async def addresses(self, target: Target) -> list[str]:
        """The addresses of a target, in the system's order. Raises TargetRefused, and OSError for an unknown name."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(
                self._executor, self._look_up, target.host, target.port, self._allow_private
            )
        except PrivateAddress as error:
            raise TargetRefused(PRIVATE, str(error)) from None
        if target.port in self._own_ports() and any(map(_is_this_machine, found)):
            raise TargetRefused(OWN, "the host is this node")
        return found

    def close(self) -> None:
        """End the threads; a look-up under way is left behind."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int, allow_private: bool) -> list[str]:
    return resolve(host, port, allow_private=allow_private)


def _is_this_machine(address: str) -> bool:
    """Whether an address is one of this machine's own: what is sent there would be sent from there. Sends nothing."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if parsed.is_loopback or parsed.is_unspecified:
        return True
    try:
        with socket.socket(socket.AF_INET6 if parsed.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((str(parsed), _DISCARD_PORT))
            own: str = probe.getsockname()[0]
    except OSError:
        return False  # nothing can be sent there at all
    return own == str(parsed)
