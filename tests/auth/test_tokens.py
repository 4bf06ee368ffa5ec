"""Validation of whole tokens, as attacks and as honest mistakes, and the cache."""

import base64
import hashlib
import hmac
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.auth import tokens
from appliance.auth.caller import PRODUCER, WORKER
from appliance.auth.claims import Rules, caller_of
from appliance.auth.keys import KeySet
from appliance.auth.tokens import CACHE_ENTRIES_MAX, TOKEN_BYTES_MAX, Validator
from appliance.errors import RATE_LIMITED, UNAUTHENTICATED, Problem
from tests.auth.makers import (
    ED25519,
    NOW,
    PRODUCER_EC,
    RSA_2048,
    SECRET,
    STRANGER_EC,
    WORKER_EC,
    claims,
    key,
    key_set,
    part,
    public_pem,
    token,
)


def validator() -> Validator:
    return Validator(key_set(), Rules())


def refused(text: str, by: Validator | None = None) -> str:
    with pytest.raises(Problem) as problem:
        (by or validator()).validate(text, NOW)
    assert problem.value.code == UNAUTHENTICATED
    return problem.value.message


def test_a_token_of_each_algorithm_is_accepted_and_tells_its_kind() -> None:
    one = validator()
    assert one.validate(token(), NOW).kind == PRODUCER
    assert one.validate(token(signer=WORKER_EC), NOW).kind == WORKER
    rsa = token(header={"alg": "RS256", "kid": "rsa"}, signer=RSA_2048, algorithm="RS256")
    assert one.validate(rsa, NOW).kind == PRODUCER
    ed = token(header={"alg": "EdDSA", "kid": "ed"}, signer=ED25519, algorithm="EdDSA")
    assert one.validate(ed, NOW).kind == WORKER
    shared = token(header={"alg": "HS256", "kid": "hmac"}, signer=SECRET, algorithm="HS256")
    assert one.validate(shared, NOW).kind == WORKER


def test_a_token_of_a_stranger_is_refused() -> None:
    refused(token(signer=STRANGER_EC))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None, 1, ["ES256"], "HS512", "es256"])
def test_no_other_algorithm_is_accepted(algorithm: object) -> None:
    refused(token(header={"alg": algorithm}))
    refused(f"{part({'alg': algorithm})}.{part(claims())}.")


def test_a_missing_algorithm_is_refused() -> None:
    refused(token(header={"typ": "JWT"}))


@pytest.mark.parametrize("private", [PRODUCER_EC, RSA_2048])
def test_a_public_key_is_no_secret(private: object) -> None:
    secret = public_pem(private)  # type: ignore[arg-type]
    signed = f"{part({'alg': 'HS256'})}.{part(claims())}"
    mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    refused(f"{signed}.{part(mac)}")


def test_a_header_that_names_another_algorithm_than_the_keys_is_refused() -> None:
    refused(token(header={"alg": "RS256"}))
    refused(token(header={"alg": "ES256", "kid": "rsa"}, signer=RSA_2048, algorithm="RS256"))


@pytest.mark.parametrize("kid", ["../../etc/passwd", "' OR 1=1", "x" * 128, "\0", "ä"])
def test_an_unknown_kid_falls_back_to_unnamed_keys_only(kid: str) -> None:
    assert validator().validate(token(header={"alg": "ES256", "kid": kid}), NOW)
    refused(token(header={"alg": "RS256", "kid": kid}, signer=RSA_2048, algorithm="RS256"))


@pytest.mark.parametrize("kid", ["x" * 129, 1, None, ["rsa"], {}])
def test_a_kid_that_is_no_short_string_is_refused(kid: object) -> None:
    refused(token(header={"alg": "ES256", "kid": kid}))


def test_a_named_key_does_not_verify_a_token_without_its_name() -> None:
    refused(token(header={"alg": "RS256"}, signer=RSA_2048, algorithm="RS256"))


@pytest.mark.parametrize("name", ["jku", "x5u", "jwk", "x5c"])
def test_a_key_offered_by_the_token_is_never_used_and_counted(name: str) -> None:
    one = validator()
    assert one.validate(token(header={"alg": "ES256", name: "https://evil"}), NOW)
    refused(token(header={"alg": "ES256", name: "https://evil"}, signer=STRANGER_EC), one)
    assert one.foreign_keys == 2


@pytest.mark.parametrize(
    "extra", [{"crit": ["x"]}, {"crit": []}, {"b64": False}, {"b64": True}, {"typ": "ticket"}, {"typ": 1}]
)
def test_extensions_and_other_types_are_refused(extra: dict[str, object]) -> None:
    refused(token(header={"alg": "ES256", **extra}))


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "AT+JWT"])
def test_the_usual_types_are_accepted(kind: str) -> None:
    assert validator().validate(token(header={"alg": "ES256", "typ": kind}), NOW)


def test_duplicate_names_are_refused_in_header_and_claims() -> None:
    refused(token(header=b'{"alg":"ES256","alg":"ES256"}'))
    body = json.dumps(claims()).encode()
    refused(token(body[:-1] + b',"sub":"bob"}'))


def test_a_token_longer_than_8_kib_is_refused_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    size = TOKEN_BYTES_MAX
    padding = size - len(token(claims(x="")))
    fits = next(
        text for text in (token(claims(x="y" * (padding * 3 // 4 - cut))) for cut in range(20)) if len(text) <= size
    )
    assert validator().validate(fits, NOW)
    monkeypatch.setattr(tokens, "decode_part", lambda _: pytest.fail("parsed"))
    refused("a" * (size + 1))
    refused("a." * 600_000)


@pytest.mark.parametrize("text", ["", ".", "..", "...", "a.b", "a.b.c.d", "ä.b.c", "\udc80.b.c"])
def test_a_malformed_token_is_refused(text: str) -> None:
    refused(text)


def test_a_fourth_segment_is_refused() -> None:
    refused(token() + ".x")


@settings(deadline=None)
@given(st.integers(min_value=0), st.integers(min_value=1, max_value=127))
def test_a_changed_character_makes_a_token_invalid(place: int, change: int) -> None:
    text = GOOD
    index = place % len(text)
    changed = text[:index] + chr((ord(text[index]) + change) % 128) + text[index + 1 :]
    if changed != text:
        refused(changed, SHARED)


GOOD = token()
SHARED = validator()
WORDS = st.sampled_from(["ES256", "RS256", "HS256", "none", "JWT", "rsa", "ed", "hmac"])
VALUES = st.one_of(WORDS, st.none(), st.text(), st.integers())


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_header_is_a_caller_or_a_refusal(raw: bytes) -> None:
    with pytest.raises(Problem):
        SHARED.authenticate(b"Bearer " + raw, NOW)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit"]), VALUES))
def test_any_signed_header_is_a_caller_or_a_refusal(header: dict[str, object]) -> None:
    try:
        SHARED.validate(token(header=header), NOW)
    except Problem as problem:
        assert problem.code == UNAUTHENTICATED


def test_whatever_a_key_raises_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise TypeError("surprise")

    monkeypatch.setattr(tokens, "caller_of", broken)
    assert "surprise" not in refused(token())


@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BEARER", b"bEaReR"])
def test_the_scheme_is_matched_without_case(scheme: bytes) -> None:
    assert validator().authenticate(scheme + b" " + token().encode(), NOW).subject == "alice"


@pytest.mark.parametrize(
    "header",
    [None, b"", b"Bearer", b"Bearer ", b"Basic abc", b"Bearer a b", b"Bearertoken", b"\xff\xfe x", b"x" * 99_999],
)
def test_a_header_that_is_no_bearer_token_is_refused(header: bytes | None) -> None:
    with pytest.raises(Problem) as problem:
        validator().authenticate(header, NOW)
    assert problem.value.code == UNAUTHENTICATED


def test_a_signature_is_verified_once_and_remembered() -> None:
    one, header = validator(), b"Bearer " + token().encode()
    first = one.authenticate(header, NOW)
    assert one.authenticate(bytes(bytearray(header)), NOW) is first
    assert (one.verifications, one.cache_size) == (1, 1)


def test_a_remembered_token_ends_when_it_expires() -> None:
    one, header = validator(), b"Bearer " + token().encode()
    one.authenticate(header, NOW)
    assert one.authenticate(header, NOW + 3_659.9)
    with pytest.raises(Problem):
        one.authenticate(header, NOW + 3_660)
    assert one.cache_size == 0


def test_a_refused_token_is_not_remembered() -> None:
    one = validator()
    for _ in range(3):
        with pytest.raises(Problem):
            one.authenticate(b"Bearer " + token(signer=STRANGER_EC).encode(), NOW)
    assert (one.cache_size, one.refusals) == (0, 3)


def test_new_keys_drop_what_the_old_ones_verified() -> None:
    one, header = validator(), b"Bearer " + token().encode()
    one.authenticate(header, NOW)
    one.replace_keys(KeySet([key(STRANGER_EC)], [key(WORKER_EC)]))
    with pytest.raises(Problem):
        one.authenticate(header, NOW)


def test_a_token_verified_while_the_keys_change_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    one, header = validator(), b"Bearer " + token().encode()

    def rotating(*arguments: object) -> object:
        one.replace_keys(KeySet([key(STRANGER_EC)], [key(WORKER_EC)]))
        return caller_of(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(tokens, "caller_of", rotating)
    one.authenticate(header, NOW)
    monkeypatch.undo()
    with pytest.raises(Problem):
        one.authenticate(header, NOW)


def test_one_token_can_not_fill_the_cache_by_its_spellings() -> None:
    one = validator()
    for spaces in range(1, 50):
        assert one.authenticate(b"Bearer" + b" " * spaces + token().encode(), NOW)
    assert one.cache_size <= 1


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CACHE_ENTRIES_MAX == 10_000
    monkeypatch.setattr(tokens, "CACHE_ENTRIES_MAX", 3)
    one = validator()
    headers = [b"Bearer " + token(claims(sub=f"s{number}")).encode() for number in range(5)]
    for header in headers:
        one.authenticate(header, NOW)
    assert one.cache_size == 3
    before = one.verifications
    one.authenticate(headers[4], NOW)
    one.authenticate(headers[0], NOW)
    assert one.verifications == before + 1


def test_an_unknown_kid_asks_for_a_refresh_and_a_known_one_does_not() -> None:
    asked: list[int] = []
    one = Validator(key_set(), Rules(), lambda: asked.append(1))
    refused(token(header={"alg": "RS256", "kid": "rsa"}, signer=STRANGER_EC), one)
    refused(token(signer=STRANGER_EC), one)
    assert not asked
    refused(token(header={"alg": "ES256", "kid": "new"}, signer=STRANGER_EC), one)
    assert asked == [1]


def test_a_forged_token_costs_one_check_until_the_keys_change() -> None:
    asked: list[int] = []
    one = Validator(key_set(), Rules(), lambda: asked.append(1))
    forged = token(header={"alg": "ES256", "kid": "new"}, signer=STRANGER_EC)
    refused(forged, one)
    before = one.verifications
    refused(forged, one)
    assert one.verifications == before and len(asked) == 2, "the keys may still have rotated"
    one.replace_keys(KeySet([key(STRANGER_EC)], [key(WORKER_EC)]))
    assert one.validate(forged, NOW)


def test_an_address_that_sends_forged_tokens_is_told_to_wait_and_nobody_else_is() -> None:
    one = validator()
    known = b"Bearer " + token().encode()
    one.authenticate(known, NOW, "10.0.0.1")
    codes = []
    for number in range(tokens.FORGERIES_BURST + 1):
        forged = b"Bearer " + token(claims(sub=f"s{number}")).encode()[:-8] + b"AAAAAAAA"
        with pytest.raises(Problem) as problem:
            one.authenticate(forged, NOW, "10.0.0.1")
        codes.append(problem.value.code)
    assert codes == [UNAUTHENTICATED] * tokens.FORGERIES_BURST + [RATE_LIMITED]
    assert one.throttled == 1 and problem.value.retry_after_seconds == 1
    fresh = b"Bearer " + token(claims(sub="fresh")).encode()
    with pytest.raises(Problem):
        one.authenticate(fresh, NOW, "10.0.0.1")
    assert one.authenticate(known, NOW, "10.0.0.1"), "what was verified before goes on"
    assert one.authenticate(fresh, NOW, "10.0.0.2")
    assert one.authenticate(b"Bearer " + token(claims(sub="later")).encode(), NOW + 1, "10.0.0.1")


def test_a_signed_token_that_is_refused_counts_against_its_address_too() -> None:
    one = validator()
    expired = b"Bearer " + token(claims(exp=int(NOW) - 1_000)).encode()
    for _ in range(tokens.FORGERIES_BURST + 1):
        with pytest.raises(Problem) as problem:
            one.authenticate(expired, NOW, "10.0.0.1")
    assert problem.value.code == RATE_LIMITED


def test_random_bytes_as_token_parts_are_refused() -> None:
    chance = random.Random(7)
    for _ in range(300):
        parts = (base64.urlsafe_b64encode(chance.randbytes(chance.randrange(40))).rstrip(b"=") for _ in range(3))
        refused(b".".join(parts).decode(), SHARED)
