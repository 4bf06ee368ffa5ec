"""The key ring: where keys come from, and how they change while the node runs.

Owns reading key sources (inline, file, JWKS file, JWKS URL), one thread that notices changed files and refreshes
URLs, and the rule that a failed refresh keeps the old keys. Must not know claims, HTTP requests or tasks. Files and
inline keys are read when the ring is made, so a bad one stops the start; URLs are fetched by the thread only, so a node
starts while its identity provider is down and answers 401 until it is back. The event loop never waits for any of this.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from appliance.auth.caller import PRODUCER, WORKER, Kind
from appliance.auth.fetch import DOCUMENT_BYTES_MAX, FetchError, fetch
from appliance.auth.keys import BadKeyError, Key, KeySet, jwks_keys, public_key, secret_key
from appliance.config import Auth, KeySource

POLL_SECONDS: Final = 2.0
"""How long a changed key file, or a token that names a new key, may go unnoticed."""
URL_REFRESH_SECONDS: Final = 300.0
URL_REFRESH_SECONDS_MIN: Final = 30.0
"""Unknown key names ask for a refresh at once, but a flood of them must not become a flood at the provider."""

_log = logging.getLogger("codeq.auth")

Fetch = Callable[[str, bool], bytes]
Stamp = tuple[int, int, int]


class _Source:
    """One configured source, the keys it last gave, and what is known about when to ask it again."""

    __slots__ = ("asked_seconds", "failed", "keys", "kind", "place", "setting", "stamp")

    def __init__(self, kind: Kind, place: str, setting: KeySource) -> None:
        self.kind = kind
        self.place = place
        self.setting = setting
        self.keys: tuple[Key, ...] = ()
        self.stamp: Stamp | None = None
        self.asked_seconds = float("-inf")
        self.failed = False

    @property
    def path(self) -> str:
        return self.setting.file or self.setting.jwks_file


class KeyRing:
    """All configured keys. `keys` is the set that is valid now; `on_change` gets each new set, on the ring's thread.

    `fetch` and `clock` (monotonic seconds) are arguments for tests.
    """

    def __init__(
        self,
        settings: Auth,
        *,
        fetch: Fetch = lambda url, allow_private: fetch(url, allow_private=allow_private),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises `BadKeyError`, which names the configured source, when a file or an inline key can't be used."""
        self.on_change: Callable[[KeySet], None] = _ignore
        self._fetch = fetch
        self._clock = clock
        self._sources = [*_sources(PRODUCER, settings.producer), *_sources(WORKER, settings.worker)]
        for source in self._sources:
            if not source.setting.jwks_url:
                _load_local(source)
        self.keys = self._assembled()
        self._refusal = ""
        self._wanted = False
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, when any source can change."""
        if any(source.path or source.setting.jwks_url for source in self._sources):
            self._thread = threading.Thread(target=self._run, name="codeq-keys", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop the thread. A fetch under way is left to its own deadline: the thread never outlives the process."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=1.0)

    def leave(self) -> None:
        """Have the thread end by itself, without waiting for it."""
        self._stopping.set()

    def want_refresh(self) -> None:
        """A token named an unknown key: ask the URLs at the next poll. A flag only, so a flood costs nothing."""
        self._wanted = True

    def refresh(self, *, wanted: bool = False) -> bool:
        """Ask every source that is due now; whether the keys changed. The thread's work, callable alone in tests."""
        now_seconds = self._clock()
        before = [source.keys for source in self._sources]
        for source in self._sources:
            self._refresh_one(source, now_seconds, wanted)
        if all(old is source.keys for old, source in zip(before, self._sources, strict=True)):
            return False
        try:
            self.keys = self._assembled()
        except BadKeyError as error:
            if str(error) != self._refusal:
                self._refusal = str(error)
                _log.error("new token keys refused, the old ones stay: %s", error)
            for source, old in zip(self._sources, before, strict=True):
                source.keys, source.stamp = old, None
            return False
        self._refusal = ""
        _log.info("token keys changed, %d are valid now", self.keys.size)
        self.on_change(self.keys)
        return True

    def _assembled(self) -> KeySet:
        def of(kind: Kind) -> list[Key]:
            return [key for source in self._sources if source.kind == kind for key in source.keys]

        return KeySet(of(PRODUCER), of(WORKER))

    def _refresh_one(self, source: _Source, now_seconds: float, wanted: bool) -> None:
        try:
            if source.setting.jwks_url:
                pause_seconds = URL_REFRESH_SECONDS_MIN if wanted or source.failed else URL_REFRESH_SECONDS
                if now_seconds - source.asked_seconds < pause_seconds:
                    return
                source.asked_seconds = now_seconds
                _adopt(source, jwks_keys(self._fetch(source.setting.jwks_url, source.setting.allow_private)))
            elif source.path and _stamp(source.path) != source.stamp:
                _load_local(source)
            source.failed = False
        except (BadKeyError, FetchError, OSError) as error:
            if not source.failed or source.setting.jwks_url:
                _log.error("%s could not be refreshed, the old keys stay: %s", source.place, error)
            source.failed = True

    def _run(self) -> None:
        while not self._stopping.is_set():
            wanted, self._wanted = self._wanted, False
            try:
                self.refresh(wanted=wanted)
            except Exception:  # noqa: BLE001 - the thread must outlive any surprise, or no key would ever rotate again
                _log.exception("refreshing token keys failed, the old ones stay")
            self._stopping.wait(POLL_SECONDS)


def _sources(kind: Kind, settings: tuple[KeySource, ...]) -> list[_Source]:
    return [_Source(kind, f"auth.{kind}[{index}]", setting) for index, setting in enumerate(settings)]


def _ignore(_keys: KeySet) -> None:
    """Nobody listens yet."""


def _adopt(source: _Source, keys: tuple[Key, ...]) -> None:
    """Keep the old tuple where nothing changed, so that a refresh without news drops no cache."""
    if [(key.kid, key.algorithm, key.identity) for key in keys] != [
        (key.kid, key.algorithm, key.identity) for key in source.keys
    ]:
        source.keys = keys


def _stamp(path: str) -> Stamp:
    status = Path(path).stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _load_local(source: _Source) -> None:
    setting = source.setting
    try:
        if source.path:
            stamp = _stamp(source.path)
            text = _read(source.path)
        else:
            stamp = None
            text = (setting.pem or setting.secret).encode()
        if setting.jwks_file:
            keys = jwks_keys(text)
        elif setting.algorithm == "HS256":
            keys = (secret_key(text.rstrip(b"\r\n") if source.path else text, setting.kid),)
        else:
            keys = (public_key(text, setting.algorithm, setting.kid),)
    except OSError as error:
        raise BadKeyError(f"{source.place}: {source.path} can't be read: {error.strerror}") from None
    except BadKeyError as error:
        raise BadKeyError(f"{source.place}: {error}") from None
    source.stamp = stamp
    _adopt(source, keys)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        text = file.read(DOCUMENT_BYTES_MAX + 1)
    if len(text) > DOCUMENT_BYTES_MAX:
        raise BadKeyError(f"{path} is larger than {DOCUMENT_BYTES_MAX} bytes")
    return text
