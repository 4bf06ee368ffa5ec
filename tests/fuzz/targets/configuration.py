"""Configuration: any file is settings, or a ConfigError that names the file."""

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import Final

from appliance.config import ConfigError, load
from tests.e2e.node import ROOT

_MEMORY: Final = Path("/dev/shm")
_FOLDER: Final = Path(tempfile.mkdtemp(prefix="codeq-fuzz-", dir=_MEMORY if _MEMORY.is_dir() else None))
_FILE: Final = _FOLDER / "codeq.yml"
SEEDS: Final = (
    (ROOT / "docs" / "codeq.example.yml").read_bytes(),
    b'listen: ["127.0.0.1:9443"]\nstore: {directory: data}\nauth:\n  producer: [{algorithm: ES256, file: a}]\n',
    b"listen:\n  - {address: ':8080', plaintext: true}\nallowPlaintext: true\nlimits: {connections: 10}\n",
    b"&a [*a, 1e999, 0x10, !!binary aGk=, ~]",
)


def run(data: bytes) -> None:
    """Read it, with nothing in the environment."""
    _FILE.write_bytes(data)
    try:
        load(_FILE, {})
    except ConfigError as error:
        assert str(error)


atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
