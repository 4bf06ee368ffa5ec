"""What of a configuration can change while the node runs."""

from dataclasses import replace

from appliance import live
from appliance.config import Listen, Log, Settings, Store, Tls
from appliance.configfile import camel, setting_paths


def test_equal_configurations_differ_in_nothing() -> None:
    assert live.changed(Settings(source="a"), Settings(source="b")) == []


def test_differences_have_the_names_of_the_file() -> None:
    new = Settings(listen=(Listen("a:1"),), tls=Tls(minimum_version="1.3"), log=Log("text", "debug"))
    found = live.changed(Settings(), new)
    assert found == ["listen", "tls.minimumVersion", "log.format", "log.level"]
    assert [key for key in found if live.is_live(key)] == ["tls.minimumVersion", "log.level"]


def test_every_live_key_is_a_setting() -> None:
    names = {".".join(map(camel, path)) for path in setting_paths(Settings)}
    assert set(live.LIVE) <= names


def test_what_is_applied_is_what_is_live() -> None:
    old = Settings()
    new = replace(
        old,
        listen=(Listen("a:1"),),
        tls=Tls("a", "b"),
        log=Log("text", "debug"),
        store=Store("/elsewhere", free_floor_bytes=5),
        drain_seconds=7,
    )
    applied = live.applied(old, new)
    assert all(not live.is_live(key) for key in live.changed(applied, new)), "what is live is as in the new one"
    assert all(live.is_live(key) for key in live.changed(old, applied)), "and nothing else has changed"
