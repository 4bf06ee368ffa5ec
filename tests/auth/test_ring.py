"""Where keys come from, and how they change."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.auth import ring as ring_module
from appliance.auth.fetch import FetchError
from appliance.auth.keys import BadKeyError, KeySet
from appliance.auth.ring import URL_REFRESH_SECONDS, URL_REFRESH_SECONDS_MIN, KeyRing
from appliance.auth.service import Authenticator
from appliance.config import Auth, KeySource
from appliance.errors import Problem
from tests.auth.makers import (
    NOW,
    PRODUCER_EC,
    RSA_2048,
    SECRET,
    STRANGER_EC,
    WORKER_EC,
    jwk,
    key,
    pem,
    public_pem,
    token,
)

WORKER_PEM = KeySource(algorithm="ES256", pem=public_pem(WORKER_EC).decode())
URL = "https://id.example/keys"


def document(*keys: object) -> bytes:
    return json.dumps({"keys": keys}).encode()


class Provider:
    """A JWKS server and a clock."""

    def __init__(self, answer: bytes) -> None:
        self.answer: bytes | Exception = answer
        self.asked = 0
        self.now_seconds = 1_000.0

    def fetch(self, url: str, allow_private: bool) -> bytes:
        assert (url, allow_private) == (URL, False)
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def ring(self) -> KeyRing:
        auth = Auth(producer=(KeySource(jwks_url=URL),), worker=(WORKER_PEM,))
        return KeyRing(auth, fetch=self.fetch, clock=lambda: self.now_seconds)


def put(path: Path, content: bytes) -> str:
    """Replace a file whole, as a careful operator does: a new inode each time."""
    aside = path.with_suffix(".new")
    aside.write_bytes(content)
    aside.replace(path)
    return str(path)


def test_keys_come_from_text_secrets_files_and_documents(tmp_path: Path) -> None:
    sources = (
        KeySource(algorithm="ES256", pem=public_pem(PRODUCER_EC).decode()),
        KeySource(algorithm="HS256", secret=SECRET.decode(), kid="a"),
        KeySource(algorithm="HS256", file=put(tmp_path / "secret", SECRET + b"x\n"), kid="b"),
        KeySource(algorithm="RS256", file=put(tmp_path / "rsa.pub", public_pem(RSA_2048))),
        KeySource(jwks_file=put(tmp_path / "jwks", document(jwk(STRANGER_EC, "ES256", kid="c")))),
    )
    keys = KeyRing(Auth(producer=sources, worker=(WORKER_PEM,))).keys
    assert keys.size == 6
    assert keys.candidates("b")[0][1].material == SECRET + b"x"
    assert keys.knows("c")


@pytest.mark.parametrize(
    "source",
    [
        KeySource(algorithm="ES256", pem="nonsense"),
        KeySource(algorithm="HS256", secret="short"),
        KeySource(algorithm="ES256", file="/nowhere/at/all"),
        KeySource(jwks_file="/nowhere/at/all"),
        KeySource(algorithm="ES256", file="/dev/zero"),
        KeySource(algorithm="ES256", pem=pem(PRODUCER_EC).decode()),
        WORKER_PEM,
    ],
)
def test_a_bad_key_stops_the_start_and_is_named_without_its_content(source: KeySource) -> None:
    with pytest.raises(BadKeyError) as error:
        KeyRing(Auth(producer=(source,), worker=(WORKER_PEM,)))
    assert "auth.producer[0]" in str(error.value) or "both" in str(error.value)
    assert "short" not in str(error.value).replace("too short", "")


def test_a_changed_file_is_noticed_and_a_bad_one_keeps_the_old_key(tmp_path: Path) -> None:
    path = tmp_path / "key.pub"
    source = KeySource(algorithm="ES256", file=put(path, public_pem(PRODUCER_EC)))
    ring = KeyRing(Auth(producer=(source,), worker=(WORKER_PEM,)))
    changes: list[KeySet] = []
    ring.on_change = changes.append
    assert not ring.refresh()
    put(path, b"half a ke")
    assert not ring.refresh()
    path.unlink()
    assert not ring.refresh()
    put(path, public_pem(PRODUCER_EC))
    assert not ring.refresh(), "the same key again drops no cache"
    put(path, public_pem(STRANGER_EC))
    assert ring.refresh()
    assert changes == [ring.keys]


def test_new_keys_that_clash_are_refused_whole_and_taken_once_they_do_not(tmp_path: Path) -> None:
    producer, worker = tmp_path / "producer.pub", tmp_path / "worker.pub"
    ring = KeyRing(
        Auth(
            producer=(KeySource(algorithm="ES256", file=put(producer, public_pem(PRODUCER_EC))),),
            worker=(KeySource(algorithm="ES256", file=put(worker, public_pem(WORKER_EC))),),
        )
    )
    before = ring.keys
    put(producer, public_pem(WORKER_EC))
    assert not ring.refresh()
    assert ring.keys is before
    put(worker, public_pem(STRANGER_EC))
    assert ring.refresh()
    identities = [(kind, one.identity) for kind, one in ring.keys.candidates("")]
    assert identities == [("producer", key(WORKER_EC).identity), ("worker", key(STRANGER_EC).identity)]


def test_a_url_is_asked_by_refresh_only_and_then_every_five_minutes() -> None:
    provider = Provider(document(jwk(PRODUCER_EC, "ES256", kid="a")))
    ring = provider.ring()
    assert (provider.asked, ring.keys.knows("a")) == (0, False)
    assert ring.refresh() and ring.keys.knows("a")
    provider.now_seconds += URL_REFRESH_SECONDS - 1
    assert not ring.refresh()
    assert provider.asked == 1
    provider.now_seconds += 1
    assert not ring.refresh()
    assert provider.asked == 2


def test_unknown_kids_ask_at_most_every_thirty_seconds() -> None:
    provider = Provider(document(jwk(PRODUCER_EC, "ES256", kid="a")))
    ring = provider.ring()
    ring.refresh()
    provider.answer = document(jwk(PRODUCER_EC, "ES256", kid="a"), jwk(STRANGER_EC, "ES256", kid="b"))
    for _ in range(int(URL_REFRESH_SECONDS_MIN) - 1):
        provider.now_seconds += 1
        assert not ring.refresh(wanted=True)
    assert provider.asked == 1
    provider.now_seconds += 1
    assert ring.refresh(wanted=True) and ring.keys.knows("b")


@pytest.mark.parametrize("answer", [FetchError("down"), OSError("down"), b"", b"{}", document()])
def test_old_keys_stay_when_a_url_fails_and_it_is_asked_again_after_thirty_seconds(answer: bytes | Exception) -> None:
    provider = Provider(document(jwk(PRODUCER_EC, "ES256", kid="a")))
    ring = provider.ring()
    ring.refresh()
    good, provider.answer = provider.answer, answer
    provider.now_seconds += URL_REFRESH_SECONDS
    assert not ring.refresh()
    assert ring.keys.knows("a")
    assert not ring.refresh()
    assert provider.asked == 2
    provider.answer = good
    provider.now_seconds += URL_REFRESH_SECONDS_MIN
    ring.refresh()
    assert provider.asked == 3


def wait(event: threading.Event) -> None:
    assert event.wait(10)


def test_the_thread_rotates_keys_of_a_running_validator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_module, "POLL_SECONDS", 0.005)
    path = tmp_path / "key.pub"
    source = KeySource(algorithm="ES256", file=put(path, public_pem(PRODUCER_EC)))
    ring = KeyRing(Auth(producer=(source,), worker=(WORKER_PEM,)))
    one = Authenticator(Auth(producer=(source,), worker=(WORKER_PEM,)), ring)
    header = b"Bearer " + token().encode()
    assert one.authenticate(header, NOW)
    changed = threading.Event()
    replace: Callable[[KeySet], None] = ring.on_change

    def notice(keys: KeySet) -> None:
        replace(keys)
        changed.set()

    ring.on_change = notice
    one.start()
    try:
        put(path, public_pem(STRANGER_EC))
        wait(changed)
        with pytest.raises(Problem):
            one.authenticate(header, NOW)
        assert one.authenticate(b"Bearer " + token(signer=STRANGER_EC).encode(), NOW)
    finally:
        one.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "codeq-keys"]


def test_an_unknown_kid_makes_the_thread_ask_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_module, "POLL_SECONDS", 0.005)
    provider = Provider(document(jwk(PRODUCER_EC, "ES256", kid="a")))
    ring = provider.ring()
    ring.refresh()
    one = Authenticator(Auth(worker=(WORKER_PEM,)), ring)
    changed = threading.Event()

    def notice(keys: KeySet) -> None:
        one.replace_keys(keys)
        changed.set()

    ring.on_change = notice
    provider.answer = document(jwk(STRANGER_EC, "ES256", kid="b"))
    provider.now_seconds += URL_REFRESH_SECONDS_MIN
    text = token(header={"alg": "ES256", "kid": "b"}, signer=STRANGER_EC)
    one.start()
    try:
        with pytest.raises(Problem):
            one.validate(text, NOW)
        wait(changed)
        assert one.validate(text, NOW)
    finally:
        one.stop()


def test_inline_keys_need_no_thread() -> None:
    source = KeySource(algorithm="ES256", pem=public_pem(PRODUCER_EC).decode())
    one = Authenticator(Auth(producer=(source,), worker=(WORKER_PEM,)))
    one.start()
    assert not [thread for thread in threading.enumerate() if thread.name == "codeq-keys"]
    one.stop()
