"""Authentication as the wiring uses it: a key ring and a validator that follows it.

Owns joining the two, their start and stop, and changing the sources of keys while the node runs. Must not know HTTP or
tasks. `authenticate` and `reconfigure` run on the event loop; new keys arrive on the ring's thread.
"""

import threading

from appliance.auth.claims import Rules
from appliance.auth.keys import KeySet
from appliance.auth.ring import KeyRing
from appliance.auth.tokens import Validator
from appliance.config import Auth


class Authenticator(Validator):
    """A validator whose keys follow the configuration's sources. Call `start` once, `stop` at the end."""

    __slots__ = ("_change", "_ring")

    def __init__(self, settings: Auth, ring: KeyRing | None = None) -> None:
        """Raises `BadKeyError` when a configured key can't be used."""
        self._ring = ring or KeyRing(settings)
        self._change = threading.Lock()
        super().__init__(self._ring.keys, _rules(settings), self._ring.want_refresh)
        self._follow(self._ring)

    def start(self) -> None:
        """Begin to follow files and URLs, on a thread of its own."""
        self._ring.start()

    def stop(self) -> None:
        """Stop following them."""
        self._ring.stop()

    def reconfigure(self, settings: Auth, ring: KeyRing) -> None:
        """Use the keys of `ring`, made for `settings` and not started yet, and these rules from now on.

        Every token is verified anew.
        """
        with self._change:
            old, self._ring = self._ring, ring
            self._rules = _rules(settings)
            self._on_unknown_kid = ring.want_refresh
            self.replace_keys(ring.keys)
        self._follow(ring)
        ring.start()
        old.leave()

    def _follow(self, ring: KeyRing) -> None:
        def changed(keys: KeySet) -> None:
            # A ring that was replaced may be in the middle of a look; what it finds must not bring old keys back.
            with self._change:
                if ring is self._ring:
                    self.replace_keys(keys)

        ring.on_change = changed


def _rules(settings: Auth) -> Rules:
    return Rules(settings.issuer, settings.audience, settings.max_lifetime_days, settings.skew_seconds)
