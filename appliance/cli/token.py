"""`codeq token mint`: make a token from a key and print it, alone, so that it can go into a variable or a file."""

import argparse
import sys
import time
from pathlib import Path

from appliance.auth.caller import WORKER, WORKER_SCOPES, Kind
from appliance.auth.claims import ADMIN_ROLE, Rules, TokenError, caller_of, parse_object
from appliance.auth.keys import BadKeyError
from appliance.auth.mint import Grant, mint, signing_key
from appliance.cli import status
from appliance.cli.options import seconds_of, words


def run(arguments: argparse.Namespace) -> int:
    """Print the token; the exit status."""
    lifetime_seconds = seconds_of(arguments.expires)
    if lifetime_seconds is None:
        print("codeq: --expires is a number and s, m, h or d, for example 30d", file=sys.stderr)
        return status.USAGE
    grant = _grant(arguments, lifetime_seconds)
    complaint = _complaint(arguments)
    if complaint:
        print(f"codeq: {complaint}", file=sys.stderr)
        return status.USAGE
    try:
        key = signing_key(Path(arguments.key).read_bytes(), arguments.algorithm)
        token = mint(key, grant, time.time(), arguments.kid)
        _prove(token, grant.kind)
    except OSError as error:
        print(f"codeq: {arguments.key} can't be read: {error.strerror}", file=sys.stderr)
        return status.FAILURE
    except (BadKeyError, TokenError) as error:
        print(f"codeq: {error}", file=sys.stderr)
        return status.FAILURE
    print(token)
    return status.OK


def _complaint(arguments: argparse.Namespace) -> str:
    if arguments.kind == WORKER and arguments.role:
        return "--role is for producer tokens: a node ignores it on a worker's"
    if arguments.kind != WORKER and arguments.commands:
        return "--commands is for worker tokens: a producer may create any"
    if arguments.role not in ("", ADMIN_ROLE):
        return f"the only role is {ADMIN_ROLE}"
    return ""


def _grant(arguments: argparse.Namespace, lifetime_seconds: int) -> Grant:
    scopes = words(arguments.scopes)
    return Grant(
        kind=arguments.kind,
        subject=arguments.subject,
        tenant=arguments.tenant,
        lifetime_seconds=lifetime_seconds,
        scopes=scopes or (WORKER_SCOPES if arguments.kind == WORKER else ()),
        commands=words(arguments.commands),
        role=arguments.role,
        issuer=arguments.issuer,
        audience=arguments.audience,
    )


def _prove(token: str, kind: Kind) -> None:
    """Refuse to print what no node would accept: a name that is too long, a lifetime beyond every default."""
    from appliance.auth.claims import decode_part

    caller_of(parse_object(decode_part(token.split(".")[1])), kind, Rules(), time.time())
