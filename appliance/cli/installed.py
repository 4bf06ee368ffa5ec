"""An installed node's configuration, read by its operator beside the service.

Owns where the service manager keeps what it handed over. Must not know what a configuration says.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from appliance.configfile import CREDENTIALS_VARIABLE

SERVICE_CREDENTIALS: Final = Path("/run/credentials/codeq.service")
"""There while the service runs, for root."""


def service_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` with the credentials of the running service, where this process has none of its own."""
    found = dict(environ)
    if not found.get(CREDENTIALS_VARIABLE) and SERVICE_CREDENTIALS.is_dir():
        found[CREDENTIALS_VARIABLE] = str(SERVICE_CREDENTIALS)
    return found
