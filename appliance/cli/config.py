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
from appliance.mux.tls import TlsError, load_tls
from appliance.webhooks.secrets import BadSecretError, read_secrets


def check(path: str) -> int:
    """Print what is wrong, or that nothing is; the exit status."""
    settings = loaded(path)
    if settings is None:
        return status.CONFIGURATION
    found = problems(settings)
    for problem in found:
        print(f"codeq: {path}: {problem}", file=sys.stderr)
    if found:
        return status.CONFIGURATION
    print(f"{path} is fine")
    return status.OK


def problems(settings: Settings) -> list[str]:
    """What is wrong with what valid settings name: certificates, keys, secrets."""
    return [*_certificate_problems(settings), *_key_problems(settings), *_webhook_problems(settings)]


def _certificate_problems(settings: Settings) -> list[str]:
    if not settings.tls.certificate:
        return []
    try:
        load_tls(settings.tls)
    except TlsError as error:
        return [f"tls: {error}"]
    return []


def _webhook_problems(settings: Settings) -> list[str]:
    webhooks = settings.webhooks
    try:
        if webhooks.secret or webhooks.secret_file:
            read_secrets(webhooks)
        if webhooks.ca_file:
            ssl.create_default_context().load_verify_locations(webhooks.ca_file)
    except BadSecretError as error:
        return [str(error)]
    except OSError as error:
        return [f"webhooks.caFile: {webhooks.ca_file} can't be used: {error.strerror or error}"]
    return []


def _key_problems(settings: Settings) -> list[str]:
    try:
        KeyRing(settings.auth)
    except BadKeyError as error:
        return [str(error)]
    return []
