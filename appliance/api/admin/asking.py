"""What every operator's request says beside its body: for which tenant, in whose name, which page.

Owns the rule who may name another tenant, and the form of cursors. Must not know what is asked for. Pure functions.
"""

import base64
import binascii
from typing import Final, NamedTuple
from urllib.parse import parse_qs

from appliance.api.parse import QUERY_FIELDS_MAX, check_command
from appliance.api.times import parse_time
from appliance.auth.caller import Caller
from appliance.errors import PERMISSION_DENIED, Problem, invalid

PAGE_ITEMS: Final = 100
PAGE_ITEMS_MAX: Final = 1_000
CURSOR_CHARS_MAX: Final = 128
"""A cursor is a key of an index: 32 bytes and one more."""

EVERY_TENANT: Final = "*"

_LIMIT_DIGITS_MAX: Final = 4

Fields = dict[str, str]


class Asked(NamedTuple):
    """One request: the tenant that it is about, the name that the audit gets, and the fields of its query."""

    tenant: str
    by: str
    fields: Fields


def asked(query: str, caller: Caller, *, every: bool = False) -> Asked:
    """What a request says; raises Problem. `every` allows `tenant=*`, which only an operator may ask for."""
    fields = fields_of(query)
    tenant = fields.get("tenant") or caller.tenant
    if tenant != caller.tenant and not caller.operator:
        raise Problem(PERMISSION_DENIED, "another tenant needs the scope codeq:operator")
    if tenant == EVERY_TENANT and not every:
        raise invalid("this path takes the name of one tenant")
    return Asked(tenant, name_of(caller, tenant), fields)


def name_of(caller: Caller, tenant: str) -> str:
    """Who the audit of a tenant says it was; somebody of another tenant is named with theirs."""
    return caller.subject if caller.tenant == tenant else f"{caller.subject} of {caller.tenant}"


def fields_of(query: str) -> Fields:
    """The fields of a query, each once; raises `validation-error`."""
    if not query:
        return {}
    try:
        values = parse_qs(query, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX, errors="strict")
    except ValueError:
        raise invalid(f"the query must be UTF-8 and must not have more than {QUERY_FIELDS_MAX} fields") from None
    for name, each in values.items():
        if len(each) > 1:
            raise invalid(f"the query names {name} twice")
    return {name: each[0] for name, each in values.items()}


def limit_of(fields: Fields, default: int = PAGE_ITEMS) -> int:
    """How many items a page may have."""
    text = fields.get("limit")
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= _LIMIT_DIGITS_MAX and 1 <= int(text) <= PAGE_ITEMS_MAX):
        raise invalid(f"limit must be from 1 to {PAGE_ITEMS_MAX}")
    return int(text)


def cursor_of(fields: Fields) -> bytes:
    """Where a page begins; empty for the first one."""
    text = fields.get("cursor", "")
    try:
        if len(text) > CURSOR_CHARS_MAX:
            raise ValueError
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise invalid("cursor is none that this node has given out") from None


def cursor_text(cursor: bytes | None) -> str | None:
    """A cursor as clients see it."""
    return None if cursor is None else base64.urlsafe_b64encode(cursor).rstrip(b"=").decode()


def command_of(text: str | None) -> str | None:
    """A command that may be named; None for none."""
    return None if text is None else check_command(text, "command")


def moment_of(text: str | None, field: str) -> int:
    """A moment (ms) that may be named; 0 for none. An empty text is none that is named: without its bound a step would
    change all there is."""
    if text is None:
        return 0
    moment = parse_time(text)
    if moment is None:
        raise invalid(f"{field} must be an RFC 3339 time with an offset, for example 2026-05-18T12:00:00Z")
    return max(moment, 1)
