"""The secrets that sign webhooks: one for the node, and others for single tenants.

Owns reading them and their least length. A tenant's receivers share its secret, so tenants that don't trust each other
need secrets of their own: whoever can verify a signature can make one. Must not know what is signed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from appliance.config import Webhooks

SECRET_BYTES_MIN: Final = 32
"""As long as the hash: a shorter secret is easier to guess than the signature."""


class BadSecretError(Exception):
    """A secret that can't be read or is too short; the text never has anything of it."""


class Secrets:
    """Secrets by tenant."""

    def __init__(self, default: bytes, of_tenants: Mapping[str, bytes]) -> None:
        self._default = default
        self._of_tenants = dict(of_tenants)

    def of(self, tenant: str) -> bytes:
        """The secret for what goes to this tenant's receivers."""
        return self._of_tenants.get(tenant, self._default)


def read_secrets(settings: Webhooks) -> Secrets:
    """The configured secrets. Raises `BadSecretError`."""
    default = _read("webhooks", settings.secret, settings.secret_file)
    of_tenants = {
        each.tenant: _read(f"webhooks.tenantSecrets[{index}]", each.secret, each.file)
        for index, each in enumerate(settings.tenant_secrets)
    }
    return Secrets(default, of_tenants)


def _read(place: str, text: str, file: str) -> bytes:
    if file:
        try:
            secret = Path(file).read_bytes().strip()
        except OSError as error:
            raise BadSecretError(f"{place}: {file} can't be read: {error.strerror}") from None
    else:
        secret = text.encode()
    if len(secret) < SECRET_BYTES_MIN:
        raise BadSecretError(f"{place}: the secret needs at least {SECRET_BYTES_MIN} bytes")
    return secret
