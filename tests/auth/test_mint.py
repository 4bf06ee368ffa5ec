"""What is minted passes validation."""

import pytest

from appliance.auth.caller import PRODUCER, WORKER
from appliance.auth.claims import Rules
from appliance.auth.keys import BadKeyError, KeySet, secret_key
from appliance.auth.mint import Grant, PrivateKey, mint, signing_key
from appliance.auth.tokens import Validator
from tests.auth.makers import ED25519, NOW, PRODUCER_EC, RSA_2048, SECRET, WORKER_EC, key, pem, public_pem
from tests.auth.test_keys import P384, RSA_1024


@pytest.mark.parametrize(("private", "algorithm"), [(PRODUCER_EC, "ES256"), (RSA_2048, "RS256"), (ED25519, "EdDSA")])
def test_a_minted_token_is_valid_and_says_what_was_granted(private: PrivateKey, algorithm: str) -> None:
    rules = Rules(issuer="me", audience="node")
    validator = Validator(KeySet([], [key(private, algorithm, "k")]), rules)
    grant = Grant(WORKER, "w", "acme", 60, ("codeq:claim",), ("a", "a", "b"), issuer="me", audience="node")
    caller = validator.validate(mint(signing_key(pem(private)), grant, NOW, "k"), NOW)
    assert (caller.kind, caller.subject, caller.tenant) == (WORKER, "w", "acme")
    assert caller.commands == frozenset("ab") and caller.scopes == {"codeq:claim"} and caller.expires == NOW + 120


def test_a_minted_producer_token_carries_its_role() -> None:
    validator = Validator(KeySet([secret_key(SECRET)], []), Rules())
    signing = signing_key(SECRET + b"\n", "HS256")
    caller = validator.validate(mint(signing, Grant(PRODUCER, "p", "acme", 60, role="ADMIN"), NOW), NOW)
    assert caller.admin and caller.commands is None


@pytest.mark.parametrize(
    ("text", "algorithm"),
    [
        (b"", ""),
        (public_pem(PRODUCER_EC), ""),
        (pem(PRODUCER_EC), "RS256"),
        (pem(RSA_1024), ""),
        (pem(P384), ""),
        (b"short", "HS256"),
        (pem(WORKER_EC), "HS256"),
        (pem(WORKER_EC), "none"),
    ],
)
def test_a_key_that_is_weak_or_does_not_fit_makes_no_token(text: bytes, algorithm: str) -> None:
    with pytest.raises(BadKeyError):
        signing_key(text, algorithm)
