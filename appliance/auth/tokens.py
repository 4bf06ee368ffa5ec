"""Validation of tokens, and the cache that makes it cost one dictionary look-up per request.

Owns the order of the checks and the memory of tokens already verified. Must not know HTTP, tasks, or where keys come
from. Runs on the event loop; `replace_keys` may be called from any thread: keys and cache are one object that is
swapped whole, so a token verified by a key that has gone is never remembered. Every way to be wrong is the same
`Problem`, 401.
"""

from collections.abc import Callable
from typing import Final

from appliance.auth.caller import Caller, Kind
from appliance.auth.claims import Rules, TokenError, caller_of, decode_part, parse_object
from appliance.auth.keys import ALGORITHMS, KID_CHARS_MAX, KeySet
from appliance.errors import UNAUTHENTICATED, Problem

TOKEN_BYTES_MAX: Final = 8_192
"""Checked before anything is parsed: a token of 1 MiB would otherwise cost milliseconds of base64 and JSON."""

CACHE_ENTRIES_MAX: Final = 10_000
"""At a usual 600 bytes per token 6 MB, at the longest possible ones 80 MB. Only tokens that verified get in."""

_TOKEN_TYPES: Final = frozenset({"JWT", "AT+JWT"})
_FOREIGN_KEY_HEADERS: Final = frozenset({"jku", "x5u", "jwk", "x5c"})


class _Epoch:
    """One set of keys and the tokens that it verified."""

    __slots__ = ("cache", "keys")

    def __init__(self, keys: KeySet) -> None:
        self.keys = keys
        self.cache: dict[bytes, Caller] = {}


class Validator:
    """Turns a token into a `Caller`, or raises a `Problem` with `unauthenticated`.

    `on_unknown_kid` is called when a token names a key that is not there: a hint that keys have rotated.
    `verifications` counts signatures checked, `refusals` tokens refused, `foreign_keys` tokens whose header offered a
    key of its own (which is never used). All three only grow.
    """

    __slots__ = ("_epoch", "_on_unknown_kid", "_rules", "foreign_keys", "refusals", "verifications")

    def __init__(self, keys: KeySet, rules: Rules, on_unknown_kid: Callable[[], None] | None = None) -> None:
        self._epoch = _Epoch(keys)
        self._rules = rules
        self._on_unknown_kid = on_unknown_kid
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

    def authenticate(self, header: bytes | None, now_seconds: float) -> Caller:
        """The caller of a request with this `Authorization` header, at this wall-clock time in epoch seconds.

        Raises `Problem` (`unauthenticated`) when the header is absent, no bearer token, or the token is not valid.
        """
        epoch = self._epoch
        caller = epoch.cache.get(header)  # type: ignore[arg-type]  # None is no key of the cache, which is the answer
        if caller is not None and now_seconds < caller.expires:
            return caller
        return self._authenticate_slowly(epoch, header, now_seconds)

    def validate(self, token: str, now_seconds: float) -> Caller:
        """The caller of a bare token, without the cache. Raises `Problem` (`unauthenticated`)."""
        return self._validate(self._epoch, token, now_seconds)

    def _authenticate_slowly(self, epoch: _Epoch, header: bytes | None, now_seconds: float) -> Caller:
        if header is None:
            raise self._refusal("a bearer token is required")
        epoch.cache.pop(header, None)
        parts = header.split(maxsplit=2) if len(header) <= TOKEN_BYTES_MAX + 64 else []
        if len(parts) != 2 or parts[0].lower() != b"bearer":
            raise self._refusal("the Authorization header is not a bearer token")
        caller = self._validate(epoch, parts[1].decode("latin-1"), now_seconds)
        # A header with extra spaces is valid but not remembered: one token must not fill the cache by its spellings.
        if len(header) == len(parts[0]) + 1 + len(parts[1]):
            _remember(epoch.cache, header, caller)
        return caller

    def _validate(self, epoch: _Epoch, token: str, now_seconds: float) -> Caller:
        try:
            return self._verified(epoch.keys, token, now_seconds)
        except TokenError as refused:
            raise self._refusal(str(refused)) from None
        except Exception:  # noqa: BLE001  # whatever a hostile token provokes is a refusal, never a 500
            raise self._refusal("the token is not valid") from None

    def _refusal(self, message: str) -> Problem:
        self.refusals += 1
        return Problem(UNAUTHENTICATED, message)

    def _verified(self, keys: KeySet, token: str, now_seconds: float) -> Caller:
        if not token.isascii() or len(token) > TOKEN_BYTES_MAX:
            raise TokenError("the token is malformed or too long")
        segments = token.split(".", 3)
        if len(segments) != 3:
            raise TokenError("the token is malformed")
        algorithm, kid = self._read_header(segments[0])
        payload = decode_part(segments[1])
        signature = decode_part(segments[2])
        signed = token[: len(segments[0]) + 1 + len(segments[1])].encode()
        kind = self._signer(keys, kid, algorithm, signed, signature)
        return caller_of(parse_object(payload), kind, self._rules, now_seconds)

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

    def _signer(self, keys: KeySet, kid: str, algorithm: str, signed: bytes, signature: bytes) -> Kind:
        """The kind of the key that made the signature."""
        for kind, key in keys.candidates(kid):
            if key.algorithm == algorithm:
                self.verifications += 1
                if key.verifies(algorithm, signed, signature):
                    return kind
        if self._on_unknown_kid is not None and kid and not keys.knows(kid):
            self._on_unknown_kid()
        raise TokenError("the token is not signed by a key of this node")


def _remember(cache: dict[bytes, Caller], header: bytes, caller: Caller) -> None:
    if len(cache) >= CACHE_ENTRIES_MAX:
        del cache[next(iter(cache))]
    cache[header] = caller
