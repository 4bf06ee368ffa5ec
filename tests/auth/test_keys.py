"""Reading keys, their strength, and the set of all."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.auth.keys import (
    KEYS_PER_KIND_MAX,
    UNNAMED_KEYS_MAX,
    BadKeyError,
    Key,
    KeySet,
    jwks_keys,
    public_key,
    secret_key,
)
from tests.auth.makers import ED25519, PRODUCER_EC, RSA_2048, SECRET, WORKER_EC, jwk, key, pem, public_pem

RSA_1024 = rsa.generate_private_key(public_exponent=65537, key_size=1024)
P384 = ec.generate_private_key(ec.SECP384R1())


def named(kid: str, number: int = 0) -> Key:
    return secret_key(SECRET + str(number).encode(), kid)


@pytest.mark.parametrize(("private", "algorithm"), [(PRODUCER_EC, "ES256"), (RSA_2048, "RS256"), (ED25519, "EdDSA")])
def test_a_public_key_belongs_to_one_algorithm(private: object, algorithm: str) -> None:
    text = public_pem(private)  # type: ignore[arg-type]
    assert public_key(text, algorithm, "k").algorithm == algorithm
    for other in {"RS256", "ES256", "EdDSA", "HS256", "none", ""} - {algorithm}:
        with pytest.raises(BadKeyError):
            public_key(text, other)


def test_weak_keys_are_refused() -> None:
    with pytest.raises(BadKeyError, match="2048"):
        public_key(public_pem(RSA_1024), "RS256")
    with pytest.raises(BadKeyError, match="P-256"):
        public_key(public_pem(P384), "ES256")
    with pytest.raises(BadKeyError, match="32"):
        secret_key(b"x" * 31)
    assert secret_key(b"x" * 32)


def test_a_pem_is_no_secret_and_a_private_key_no_public_one() -> None:
    with pytest.raises(BadKeyError, match="PEM"):
        secret_key(public_pem(PRODUCER_EC))
    with pytest.raises(BadKeyError, match="private"):
        public_key(pem(PRODUCER_EC), "ES256")


@pytest.mark.parametrize("text", [b"", b"hello", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_garbage_is_no_public_key(text: bytes) -> None:
    with pytest.raises(BadKeyError):
        public_key(text, "ES256")


def test_another_curve_of_edwards_is_refused() -> None:
    other = ed448.Ed448PrivateKey.generate().public_key()
    with pytest.raises(BadKeyError):
        public_key(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "EdDSA")


def test_a_key_does_not_show_its_material() -> None:
    assert "0123" not in repr(secret_key(SECRET, "k"))


def document(*keys: object) -> bytes:
    return json.dumps({"keys": keys}).encode()


def test_a_jwks_document_gives_its_signing_keys() -> None:
    keys = jwks_keys(
        document(
            jwk(PRODUCER_EC, "ES256", kid="a"),
            jwk(RSA_2048, "RS256", kid="b", use="sig", alg="RS256"),
            jwk(ED25519, "EdDSA", kid="c"),
            jwk(WORKER_EC, "ES256", kid="encryption", use="enc"),
            {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"},
            {"kty": "unheard-of"},
            jwk(RSA_2048, "RS256", kid="d", alg="RS512"),
            "nonsense",
        )
    )
    assert [(one.kid, one.algorithm) for one in keys] == [("a", "ES256"), ("b", "RS256"), ("c", "EdDSA")]


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{}", b"[]", b"null", b'{"keys":{}}', b'{"keys":[]}', b"\xff", b"[" * 100_000,
        document({"kty": "oct", "k": "x"}),
        document({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}),
        document({"kty": "EC", "crv": "P-256"}),
        document({"kty": "RSA", "n": 1, "e": 2}),
        document({**jwk(PRODUCER_EC, "ES256"), "kid": 7}),
        document({**jwk(PRODUCER_EC, "ES256"), "kid": "x" * 129}),
        document(jwk(RSA_1024, "RS256", kid="weak")),
        document(*[jwk(PRODUCER_EC, "ES256", kid=str(n)) for n in range(KEYS_PER_KIND_MAX + 1)]),
    ],
)  # fmt: skip
def test_a_jwks_document_that_is_malformed_weak_or_empty_is_refused(text: bytes) -> None:
    with pytest.raises(BadKeyError):
        jwks_keys(text)


def test_one_key_can_not_be_of_both_kinds() -> None:
    with pytest.raises(BadKeyError, match="separate"):
        KeySet([key(PRODUCER_EC, kid="a")], [key(PRODUCER_EC, kid="b")])


def test_one_kid_may_name_a_key_of_each_kind_but_not_two_of_one() -> None:
    both = KeySet([named("k", 1)], [named("k", 2)])
    assert [kind for kind, _ in both.candidates("k")] == ["producer", "worker"]
    with pytest.raises(BadKeyError, match="same kid"):
        KeySet([named("k", 1), named("k", 2)], [])


def test_the_number_of_keys_is_bounded() -> None:
    with pytest.raises(BadKeyError):
        KeySet([named(f"k{n}", n) for n in range(KEYS_PER_KIND_MAX + 1)], [])
    with pytest.raises(BadKeyError):
        KeySet([named("", n) for n in range(UNNAMED_KEYS_MAX + 1)], [])
