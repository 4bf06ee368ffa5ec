"""The outbound side of a node, put together from its settings.

Owns what is opened at the start and closed at the end: the secrets, what is trusted, the threads that look names up.
Must not know how any part works.
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Collection

from appliance.config import Webhooks
from appliance.tasks.scheduler import Scheduler
from appliance.webhooks.courier import CLAIM_PATH, Courier, Parcel
from appliance.webhooks.lanes import Lanes
from appliance.webhooks.resolver import LookUp, Resolver
from appliance.webhooks.secrets import Secrets, read_secrets
from appliance.webhooks.sender import Sender


class Means:
    """What a node needs before it can call anybody. Made before the store is opened, so that mistakes show early."""

    def __init__(self, settings: Webhooks) -> None:
        """Raises BadSecretError, and OSError where the certificates to trust can't be used (ssl.SSLError is one)."""
        self.secrets: Secrets = read_secrets(settings)
        self.trust = ssl.create_default_context()
        if settings.ca_file:
            self.trust.load_verify_locations(settings.ca_file)


class Outbound:
    """The courier and what it works with."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        scheduler: Scheduler,
        settings: Webhooks,
        means: Means,
        *,
        own_ports: Callable[[], Collection[int]],
        clock: Callable[[], int],
        version: str,
        look_up: LookUp | None = None,
    ) -> None:
        """`own_ports` are those that the node listens on, `clock` is the scheduler's time (ms)."""
        self._resolver = Resolver(
            allow_private=settings.allow_private,
            own_ports=own_ports,
            threads=settings.concurrency,
            look_up=look_up,
        )
        sender = Sender(
            self._resolver,
            trust=means.trust,
            seconds=settings.timeout_seconds,
            secret_of=means.secrets.of,
            epoch_seconds=time.time,
            user_agent=f"codeq/{version}",
        )
        lanes: Lanes[Parcel] = Lanes(settings.concurrency, settings.concurrency_per_host)
        self.courier = Courier(
            loop,
            scheduler,
            sender,
            lanes,
            allow_private=settings.allow_private,
            clock=clock,
            claim_url=settings.public_url.rstrip("/") + CLAIM_PATH,
        )
        scheduler.outgoing.courier = self.courier

    def stop(self) -> None:
        """End what is under way; it is made again after the next start."""
        self.courier.stop()
        self._resolver.close()
