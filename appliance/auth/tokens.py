"""Validation of tokens, and the cache that makes it cost one dictionary look-up per request.

Owns the order of the checks and the memory of tokens already verified. Must not know HTTP, tasks, or where keys come
from. Runs on the event loop; `replace_keys` may be called from any thread: keys and cache are one object that is
swapped whole, so a token verified by a key that has gone is never remembered. Every way to be wrong is the same
`Problem`, 401, except that an address which makes us check too many wrong signatures is told to wait, 429.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import Final, TypeVar

from appliance.auth.caller import Caller, Kind
from appliance.auth.claims import Rules, TokenError, caller_of, decode_part, parse_object
from appliance.auth.keys import ALGORITHMS, KID_CHARS_MAX, KeySet
from appliance.budgets import AddressBudgets
from appliance.errors import RATE_LIMITED, UNAUTHENTICATED, Problem

TOKEN_BYTES_MAX: Final = 8_192
"""Checked before anything is parsed: a token of 1 MiB would otherwise cost milliseconds of base64 and JSON."""

CACHE_ENTRIES_MAX: Final = 10_000
"""At a usual 600 bytes per token 6 MB, at the longest possible ones 80 MB. Only tokens that verified get in."""

FORGED_ENTRIES_MAX: Final = 10_000
"""Tokens remembered as not signed by us, by their hash: a client that goes on with its old token costs a look-up."""

FORGERIES_BURST: Final = 1_000
FORGERIES_PER_SECOND: Final = 50.0
"""Wrong signatures that one address may have checked: with the most keys that a token is tried against, 8 checks of
about 60 µs each, a fortieth of a core. Tokens that were verified before are not held back by it."""

_HASH_BYTES: Final = 16

_TOKEN_TYPES: Final = frozenset({"JWT", "AT+JWT"})
_FOREIGN_KEY_HEADERS: Final = frozenset({"jku", "x5u", "jwk", "x5c"})


T = TypeVar("T")


class _Epoch:
    """One set of keys, the tokens that it verified, and hashes of those that it did not: whether their `kid` is
    unknown."""

    __slots__ = ("cache", "forged", "keys")

    def __init__(self, keys: KeySet) -> None:
        self.keys = keys
        self.cache: dict[bytes, Caller] = {}
        self.forged: dict[bytes, bool] = {}


class Validator:
    """Turns a token into a `Caller`, or raises a `Problem` with `unauthenticated`.

    `on_unknown_kid` is called when a token names a key that is not there: a hint that keys have rotated.
    `verifications` counts signatures checked, `refusals` tokens refused, `foreign_keys` tokens whose header offered a
    key of its own (which is never used), `throttled` tokens not looked at. All four only grow.
    """

    __slots__ = (
        "_epoch",
        "_forgeries",
        "_on_unknown_kid",
        "_rules",
        "foreign_keys",
        "refusals",
        "throttled",
        "verifications",
    )

    def __init__(self, keys: KeySet, rules: Rules, on_unknown_kid: Callable[[], None] | None = None) -> None:
        self._epoch = _Epoch(keys)
        self._rules = rules
        self._on_unknown_kid = on_unknown_kid
        self._forgeries = AddressBudgets(FORGERIES_PER_SECOND, FORGERIES_BURST)
        self.throttled = 0
        self.verifications = 0
        self.refusals = 0
        self.foreign_keys = 0

    @property
    def cache_size(self) -> int:
        """Tokens remembered now."""
        return len(self._epoch.cache)

    def replace_keys(self, keys: KeySet) -> None:
        """From now on only these keys count; everything verified by the old ones is forgotten. Any thread."""
        self._epoch = _Epoch(keys)

    def authenticate(self, header: bytes | None, now_seconds: float, peer: str = "") -> Caller:
        """The caller of a request with this `Authorization` header, at this wall-clock time in epoch seconds, from this
        address.

        Raises `Problem` (`unauthenticated`) when the header is absent, no bearer token, or the token is not valid, and
        `rate-limited` when too many wrong ones came from there.
        """
        epoch = self._epoch
        caller = epoch.cache.get(header)  # type: ignore[arg-type]  # None is no key of the cache, which is the answer
        if caller is not None and now_seconds < caller.expires:
            return caller
        return self._authenticate_slowly(epoch, header, now_seconds, peer)

    def validate(self, token: str, now_seconds: float) -> Caller:
        """The caller of a bare token, without the cache. Raises `Problem` (`unauthenticated`)."""
        return self._validate(self._epoch, token, now_seconds, "")

    def _authenticate_slowly(self, epoch: _Epoch, header: bytes | None, now_seconds: float, peer: str) -> Caller:
        if header is None:
            raise self._refusal("a bearer token is required")
        epoch.cache.pop(header, None)
        parts = header.split(maxsplit=2) if len(header) <= TOKEN_BYTES_MAX + 64 else []
        if len(parts) != 2 or parts[0].lower() != b"bearer":
            raise self._refusal("the Authorization header is not a bearer token")
        caller = self._validate(epoch, parts[1].decode("latin-1"), now_seconds, peer)
        # A header with extra spaces is valid but not remembered: one token must not fill the cache by its spellings.
        if len(header) == len(parts[0]) + 1 + len(parts[1]):
            _remember(epoch.cache, header, caller, CACHE_ENTRIES_MAX)
        return caller

    def _validate(self, epoch: _Epoch, token: str, now_seconds: float, peer: str) -> Caller:
        try:
            return self._verified(epoch, token, now_seconds, peer)
        except _TooManyForgeries:
            self.throttled += 1
            message = "too many tokens from this address were not signed by a key of this node"
            raise Problem(RATE_LIMITED, message, retry_after_seconds=1) from None
        except TokenError as refused:
            raise self._refusal(str(refused)) from None
        except Exception:  # noqa: BLE001  # whatever a hostile token provokes is a refusal, never a 500
            raise self._refusal("the token is not valid") from None

    def _refusal(self, message: str) -> Problem:
        self.refusals += 1
        return Problem(UNAUTHENTICATED, message)

    def _verified(self, epoch: _Epoch, token: str, now_seconds: float, peer: str) -> Caller:
        if not token.isascii() or len(token) > TOKEN_BYTES_MAX:
            raise TokenError("the token is malformed or too long")
        segments = token.split(".", 3)
        if len(segments) != 3:
            raise TokenError("the token is malformed")
        algorithm, kid = self._read_header(segments[0])
        payload = decode_part(segments[1])
        signature = decode_part(segments[2])
        signed = token[: len(segments[0]) + 1 + len(segments[1])].encode()
        digest = blake2b(token.encode(), digest_size=_HASH_BYTES).digest()
        if digest in epoch.forged:
            raise self._forgery(epoch.forged[digest])
        if self._forgeries.left(peer, now_seconds) < 1:
            raise _TooManyForgeries
        kind = self._signer(epoch.keys, kid, algorithm, signed, signature)
        if kind is None:
            self._forgeries.spend(peer, now_seconds)
            unknown_kid = bool(kid) and not epoch.keys.knows(kid)
            _remember(epoch.forged, digest, unknown_kid, FORGED_ENTRIES_MAX)
            raise self._forgery(unknown_kid)
        try:
            return caller_of(parse_object(payload), kind, self._rules, now_seconds)
        except TokenError:
            # Its signature was checked in vain as well, and will be each time: what is wrong now may be right later.
            self._forgeries.spend(peer, now_seconds)
            raise

    def _forgery(self, unknown_kid: bool) -> TokenError:
        if unknown_kid and self._on_unknown_kid is not None:
            self._on_unknown_kid()
        return TokenError("the token is not signed by a key of this node")

    def _read_header(self, segment: str) -> tuple[str, str]:
        """The algorithm and the `kid` (empty when absent) that the header claims. Nothing else in it is used."""
        header = parse_object(decode_part(segment))
        algorithm, kid = header.get("alg"), header.get("kid", "")
        if not _FOREIGN_KEY_HEADERS.isdisjoint(header):
            self.foreign_keys += 1
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise TokenError("the token's algorithm is not accepted")
        if not isinstance(kid, str) or len(kid) > KID_CHARS_MAX:
            raise TokenError("the token's kid is not accepted")
        if "crit" in header or "b64" in header:
            raise TokenError("the token uses extensions that this node does not know")
        if "typ" in header:
            token_type = header["typ"]
            if not isinstance(token_type, str) or token_type.upper() not in _TOKEN_TYPES:
                raise TokenError("the token is of another type")
        return algorithm, kid

    def _signer(self, keys: KeySet, kid: str, algorithm: str, signed: bytes, signature: bytes) -> Kind | None:
        """The kind of the key that made the signature, if it is one of ours."""
        for kind, key in keys.candidates(kid):
            if key.algorithm == algorithm:
                self.verifications += 1
                if key.verifies(algorithm, signed, signature):
                    return kind
        return None


class _TooManyForgeries(Exception):
    """The address has had enough wrong signatures checked for now."""


def _remember(cache: dict[bytes, T], key: bytes, value: T, entries_max: int) -> None:
    if len(cache) >= entries_max:
        del cache[next(iter(cache))]
    cache[key] = value
