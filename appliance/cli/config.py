"""`codeq config check`: say whether a node would start with a configuration, without starting it.

Checks the file, the environment over it, and that the certificate and the token keys it names can be used. Opens no
port and no store.
"""

import ssl
import sys

from appliance.auth.keys import BadKeyError
from appliance.auth.ring import KeyRing
from appliance.cli import status
from appliance.cli.serve import loaded
from appliance.config import Settings


def check(path: str) -> int:
    """Print what is wrong, or that nothing is; the exit status."""
    settings = loaded(path)
    if settings is None:
        return status.CONFIGURATION
    problems = [*_certificate_problems(settings), *_key_problems(settings)]
    for problem in problems:
        print(f"codeq: {path}: {problem}", file=sys.stderr)
    if problems:
        return status.CONFIGURATION
    print(f"{path} is fine")
    return status.OK


def _certificate_problems(settings: Settings) -> list[str]:
    if not settings.tls.certificate:
        return []
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls.certificate, settings.tls.key, "")
    except ssl.SSLError as error:
        return [f"tls: the certificate and the key are no usable pair: {error.reason or error}"]
    except OSError as error:
        return [f"tls: {settings.tls.certificate} or {settings.tls.key} can't be read: {error.strerror}"]
    return []


def _key_problems(settings: Settings) -> list[str]:
    try:
        KeyRing(settings.auth)
    except BadKeyError as error:
        return [str(error)]
    return []
