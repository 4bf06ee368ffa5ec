"""Keys and rules that change while the node runs."""

from pathlib import Path

import pytest

from appliance.auth.ring import KeyRing
from appliance.auth.service import Authenticator
from appliance.config import Auth, KeySource
from appliance.errors import Problem
from tests.auth.makers import NOW, PRODUCER_EC, STRANGER_EC, WORKER_EC, public_pem, token


def auth(producer: bytes, *, issuer: str = "") -> Auth:
    def source(pem: bytes) -> tuple[KeySource, ...]:
        return (KeySource(algorithm="ES256", pem=pem.decode()),)

    return Auth(producer=source(producer), worker=source(public_pem(WORKER_EC)), issuer=issuer)


def knows(keys: Authenticator, text: str) -> bool:
    try:
        keys.authenticate(f"Bearer {text}".encode(), NOW)
    except Problem:
        return False
    return True


def test_after_a_reconfiguration_only_the_new_keys_count_and_nothing_is_remembered() -> None:
    keys = Authenticator(auth(public_pem(PRODUCER_EC)))
    old, new = token(), token(signer=STRANGER_EC)
    assert knows(keys, old) and not knows(keys, new)
    settings = auth(public_pem(STRANGER_EC))
    keys.reconfigure(settings, KeyRing(settings))
    assert knows(keys, new) and not knows(keys, old)
    keys.stop()


def test_the_rules_change_with_the_keys() -> None:
    keys = Authenticator(auth(public_pem(PRODUCER_EC)))
    assert knows(keys, token())
    settings = auth(public_pem(PRODUCER_EC), issuer="https://id.example")
    keys.reconfigure(settings, KeyRing(settings))
    assert not knows(keys, token())
    keys.stop()


@pytest.mark.parametrize("started", [True, False])
def test_what_a_replaced_ring_finds_afterwards_changes_nothing(tmp_path: Path, started: bool) -> None:
    file = tmp_path / "producer.pub"
    file.write_bytes(public_pem(PRODUCER_EC))
    following = Auth(producer=(KeySource(algorithm="ES256", file=str(file)),), worker=auth(b"").worker)
    ring = KeyRing(following)
    keys = Authenticator(following, ring)
    if started:
        keys.start()
    settings = auth(public_pem(PRODUCER_EC))
    keys.reconfigure(settings, KeyRing(settings))
    file.unlink()
    file.write_bytes(public_pem(STRANGER_EC))
    assert ring.refresh() or started, "the thread may have been quicker"
    assert knows(keys, token()) and not knows(keys, token(signer=STRANGER_EC))
    keys.stop()
    ring.stop()
