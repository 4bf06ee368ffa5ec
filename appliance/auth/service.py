"""Authentication as the wiring uses it: a key ring and a validator that follows it.

Owns joining the two and their start and stop. Must not know HTTP or tasks. `authenticate` runs on the event loop.
"""

from appliance.auth.claims import Rules
from appliance.auth.ring import KeyRing
from appliance.auth.tokens import Validator
from appliance.config import Auth


class Authenticator(Validator):
    """A validator whose keys follow the configuration's sources. Call `start` once, `stop` at the end."""

    __slots__ = ("_ring",)

    def __init__(self, settings: Auth, ring: KeyRing | None = None) -> None:
        """Raises `BadKeyError` when a configured key can't be used."""
        self._ring = ring or KeyRing(settings)
        rules = Rules(settings.issuer, settings.audience, settings.max_lifetime_days, settings.skew_seconds)
        super().__init__(self._ring.keys, rules, self._ring.want_refresh)
        self._ring.on_change = self.replace_keys

    def start(self) -> None:
        """Begin to follow files and URLs, on a thread of its own."""
        self._ring.start()

    def stop(self) -> None:
        """Stop following them."""
        self._ring.stop()
