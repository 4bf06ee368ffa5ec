"""What of a configuration can change while the node runs.

Owns the list of those settings, and the difference between two configurations. Must not know how a change is applied.
"""

from dataclasses import fields, is_dataclass, replace
from typing import Any, Final

from appliance.config import Settings
from appliance.configfile import camel

LIVE: Final = ("tls", "auth", "log.level", "store.freeFloorBytes")
"""Sections and settings that a reload applies. The others shape what is built at the start."""


def changed(old: Settings, new: Settings) -> list[str]:
    """The keys, as they are written in the file, whose values differ."""
    return _changed(old, new, "")


def applied(old: Settings, new: Settings) -> Settings:
    """What counts after a reload: `old`, with what can change taken from `new`."""
    return replace(
        old,
        tls=new.tls,
        auth=new.auth,
        log=replace(old.log, level=new.log.level),
        store=replace(old.store, free_floor_bytes=new.store.free_floor_bytes),
    )


def is_live(key: str) -> bool:
    """Whether a reload applies a change of this key."""
    return any(key == each or key.startswith(f"{each}.") for each in LIVE)


def _changed(old: Any, new: Any, prefix: str) -> list[str]:
    found: list[str] = []
    for each in fields(old):
        if each.metadata.get("internal"):
            continue
        before, after = getattr(old, each.name), getattr(new, each.name)
        key = prefix + camel(each.name)
        if is_dataclass(before):
            found += _changed(before, after, f"{key}.")
        elif before != after:
            found.append(key)
    return found
