"""`codeq queue …`: what queues hold, pauses and settings."""

import argparse
import datetime
import sys
from typing import Any

import codeq
from appliance.cli import status
from appliance.cli.remote.arguments import DEFAULT, SETTINGS
from appliance.cli.remote.output import age, plain, print_fields, print_json, print_table
from appliance.cli.remote.session import Session, run


def run_list(arguments: argparse.Namespace) -> int:
    """Print all queues."""

    def action(session: Session) -> int:
        queues = session.admin.queues(tenant=session.tenant)
        if session.as_json:
            for queue in queues:
                print_json(queue.fields)
            return status.OK
        print_table(
            ("COMMAND", "TENANT", "READY", "DELAYED", "CLAIMED", "DLQ", "OLDEST", "PAUSED"),
            (
                (each.command, each.tenant_id, each.ready, each.delayed, each.in_progress, each.dlq,
                 age(each.oldest_ready_age_seconds), paused(each))
                for each in queues
            ),
        )  # fmt: skip
        return status.OK

    return run(arguments, action)


def run_show(arguments: argparse.Namespace) -> int:
    """Print one queue."""
    return run(
        arguments,
        lambda session: _print(session, session.admin.queue(arguments.command_name, tenant=session.tenant)),
    )


def run_pause(arguments: argparse.Namespace) -> int:
    """Pause a queue."""
    until = arguments.until
    if arguments.span:
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=arguments.span)
    return run(
        arguments,
        lambda session: _print(
            session,
            session.admin.pause(arguments.command_name, what=arguments.what, until=until, tenant=session.tenant),
        ),
    )


def run_resume(arguments: argparse.Namespace) -> int:
    """End a pause."""
    return run(
        arguments,
        lambda session: _print(
            session, session.admin.resume(arguments.command_name, what=arguments.what, tenant=session.tenant)
        ),
    )


def run_set(arguments: argparse.Namespace) -> int:
    """Change settings of a queue."""
    settings = _settings(arguments)
    if not settings:
        print("codeq: nothing to set is given", file=sys.stderr)
        return status.USAGE
    return run(
        arguments,
        lambda session: _print(
            session, session.admin.set_queue(arguments.command_name, settings, tenant=session.tenant)
        ),
    )


def paused(queue: codeq.Queue) -> str:
    """What of a queue is paused, in a word or two."""
    what = [name for name, is_so in (("dispatch", queue.dispatch_paused), ("intake", queue.intake_paused)) if is_so]
    return " ".join(what)


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(arguments, option) for option, name, _, _ in SETTINGS}
    settings: dict[str, Any] = {
        name: None if value == DEFAULT else value for name, value in given.items() if value is not None
    }
    parts = {
        "policy": arguments.backoff,
        "baseSeconds": arguments.backoff_base_seconds,
        "capSeconds": arguments.backoff_cap_seconds,
    }
    backoff = {name: value for name, value in parts.items() if value is not None}
    if backoff:
        settings["backoff"] = None if arguments.backoff == DEFAULT else backoff
    return settings


def _print(session: Session, queue: codeq.Queue) -> int:
    if session.as_json:
        print_json(queue.fields)
        return status.OK
    print_fields(
        (
            ("command", queue.command),
            ("tenant", queue.tenant_id),
            ("ready", queue.ready),
            ("delayed", queue.delayed),
            ("claimed", queue.in_progress),
            ("dead letters", queue.dlq),
            ("oldest ready", age(queue.oldest_ready_age_seconds)),
            ("dispatch", _pause(is_paused=queue.dispatch_paused, until=queue.dispatch_until)),
            ("intake", _pause(is_paused=queue.intake_paused, until=queue.intake_until)),
            *((name, value) for name, value in queue.settings.items()),
        )
    )
    return status.OK


def _pause(*, is_paused: bool, until: datetime.datetime | None) -> str:
    if not is_paused:
        return "open"
    return "paused" if until is None else f"paused until {plain(until)}"
