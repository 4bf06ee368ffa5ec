"""`codeq tenant limits` and `codeq audit`: what tenants may use, and who changed what."""

import argparse
from dataclasses import replace
from typing import Any

from appliance.cli import status
from appliance.cli.remote.arguments import LIMITS, NONE
from appliance.cli.remote.output import print_fields, print_json, print_table
from appliance.cli.remote.session import Session, run


def run_limits(arguments: argparse.Namespace) -> int:
    """Print the limits of a tenant, after changing those that are given."""
    given = {name: value for name, _ in LIMITS if (value := getattr(arguments, name)) is not None}

    def action(session: Session) -> int:
        limits = session.admin.limits(arguments.tenant_name)
        if given:
            changes: dict[str, Any] = {name: None if value == NONE else value for name, value in given.items()}
            limits = session.admin.set_limits(arguments.tenant_name, replace(limits, **changes))
        if session.as_json:
            print_json(limits.fields)
        else:
            values = ((meaning, getattr(limits, name)) for name, meaning in LIMITS)
            print_fields((meaning, NONE if value is None else value) for meaning, value in values)
        return status.OK

    return run(arguments, action)


def run_audit(arguments: argparse.Namespace) -> int:
    """Print the audit log."""

    def action(session: Session) -> int:
        entries = session.pages(
            lambda limit, cursor: session.admin.audit(limit=limit, cursor=cursor, tenant=session.tenant)
        )
        if session.as_json:
            for entry in entries:
                print_json(entry.fields)
            return status.OK
        print_table(
            ("AT", "TENANT", "WHO", "ACTION", "TARGET", "DETAIL"),
            (
                (each.at, each.tenant_id, each.subject, each.action, each.target, each.fields.get("detail"))
                for each in entries
            ),
        )
        return status.OK

    return run(arguments, action)
