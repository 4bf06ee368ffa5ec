"""Which node is meant, and with which token: options, the environment, or a profile of the user's file.

Owns the file's form and what wins over what. Must not know what is asked of the node.

One place says which node: `--profile`, else `CODEQ_URL`, else the profile of `CODEQ_PROFILE` or the file's `default`.
What belongs to that place (token, authority, tenant) comes from it too, so that the token of one node never goes to
another; options, and `CODEQ_TOKEN` and `CODEQ_CA` unless `--profile` is given, win over single values.
"""

import os
import stat
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

API_PATH: Final = "/v1/codeq"
FILE_BYTES_MAX: Final = 1 << 20
TOKEN_BYTES_MAX: Final = 16 * 1024
"""Twice what a node takes in a header."""

_KEYS: Final = frozenset(("url", "token", "token_file", "ca", "tenant"))


class ProfileError(Exception):
    """Nothing says which node is meant, or what says it can't be used."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A node and how to speak to it. `token` is the secret itself and is never printed."""

    url: str
    token: str
    ca: str = ""
    tenant: str = ""

    def __repr__(self) -> str:
        return f"Profile({self.url!r})"


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the options of a command say; empty where they say nothing."""

    profile: str = ""
    url: str = ""
    token_file: str = ""
    ca: str = ""
    tenant: str = ""


def file_path(environ: Mapping[str, str]) -> Path:
    """The user's file: `codeq/config.toml` in the folder for configuration of the XDG rules."""
    folder = environ.get("XDG_CONFIG_HOME", "")
    base = Path(folder) if folder.startswith("/") else Path(environ.get("HOME") or "~").expanduser() / ".config"
    return base / "codeq" / "config.toml"


def resolve(chosen: Chosen, environ: Mapping[str, str]) -> Profile:
    """The node that is meant. Raises ProfileError, which says what to do."""
    values = _place(chosen, environ)
    if not chosen.profile:
        values |= {name: environ[variable] for name, variable in _OVERRIDES if environ.get(variable)}
    values |= {name: value for name in ("url", "ca", "tenant") if (value := getattr(chosen, name))}
    url = values.get("url", "").rstrip("/").removesuffix(API_PATH)
    if not url:
        raise ProfileError(f"no node is named: give --url, set CODEQ_URL, or write a profile in {file_path(environ)}")
    token_file = chosen.token_file or ("" if "token" in values else values.get("token_file", ""))
    token = _read_token(token_file) if token_file else values.get("token", "").strip()
    if not token:
        raise ProfileError("there is no token: give --token-file, or set CODEQ_TOKEN")
    ca = values.get("ca", "")
    return Profile(url, token, str(Path(ca).expanduser()) if ca else "", values.get("tenant", ""))


_OVERRIDES: Final = (("token", "CODEQ_TOKEN"), ("ca", "CODEQ_CA"))


def _place(chosen: Chosen, environ: Mapping[str, str]) -> dict[str, str]:
    """What the place that names the node says."""
    if not chosen.profile and (chosen.url or environ.get("CODEQ_URL")):
        return {"url": environ.get("CODEQ_URL", "")}
    path = file_path(environ)
    wanted = chosen.profile or environ.get("CODEQ_PROFILE", "")
    content = _content(path, required=bool(wanted))
    name = wanted or content.get("default", "")
    if not name:
        return {}
    profile = content.get("profiles", {}).get(name) if isinstance(content.get("profiles", {}), dict) else None
    if not isinstance(profile, dict):
        raise ProfileError(f"{path} has no [profiles.{name}]")
    for key, value in profile.items():
        if key not in _KEYS or not isinstance(value, str):
            raise ProfileError(f"{path}: profiles.{name}.{key} is not one of {', '.join(sorted(_KEYS))}, each a string")
    if "token" in profile:
        _warn_of_readers(path)
    return dict(profile)


def _content(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.loads(file.read(FILE_BYTES_MAX).decode())
    except FileNotFoundError:
        if required:
            raise ProfileError(f"there is no {path}, which profiles are in") from None
        return {}
    except OSError as error:
        raise ProfileError(f"{path} can't be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path}: {error}") from error


def _warn_of_readers(path: Path) -> None:
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        print(f"codeq: {path} holds a token and others may read it: chmod 600 it", file=sys.stderr)


def _read_token(path: str) -> str:
    try:
        with Path(path).expanduser().open(encoding="ascii") as file:
            return file.read(TOKEN_BYTES_MAX).strip()
    except OSError as error:
        raise ProfileError(f"the token file {path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ProfileError(f"the token file {path} holds no token") from error


def from_environment(chosen: Chosen) -> Profile:
    """The node that is meant in this process' environment. Raises ProfileError."""
    return resolve(chosen, os.environ)
