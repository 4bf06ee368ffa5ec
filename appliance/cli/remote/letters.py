"""`codeq dlq …`: dead letters, one by one or all that match, in steps that are bounded for the node."""

import argparse
import datetime
import sys

from appliance.cli import status
from appliance.cli.remote.output import plain, print_json
from appliance.cli.remote.session import Session, run
from appliance.cli.remote.tasks import print_tasks


def run_list(arguments: argparse.Namespace) -> int:
    """Print dead letters."""
    before = before_of(arguments)

    def action(session: Session) -> int:
        return print_tasks(
            session,
            session.pages(
                lambda limit, cursor: session.admin.dead_letters(
                    command=arguments.command_name, before=before, limit=limit, cursor=cursor, tenant=session.tenant
                )
            ),
        )

    return run(arguments, action)


def run_requeue(arguments: argparse.Namespace) -> int:
    """Make dead letters tasks again."""
    if not says_which(arguments, named=bool(arguments.command_name)):
        return status.USAGE
    before = before_of(arguments)

    def action(session: Session) -> int:
        if arguments.id:
            for task_id in arguments.id:
                task = session.admin.requeue_task(task_id, tenant=session.tenant)
                _print_one(session, task.id, "requeued")
            return status.OK
        done = session.steps(
            "requeued",
            lambda limit: session.admin.requeue(
                command=arguments.command_name, before=before, limit=limit, tenant=session.tenant
            ),
        )
        return print_count(session, "requeued", done)

    return run(arguments, action)


def run_purge(arguments: argparse.Namespace) -> int:
    """Delete dead letters, after a question."""
    if not says_which(arguments, named=bool(arguments.command_name)):
        return status.USAGE
    if not arguments.yes and not _agreed(arguments):
        return status.FAILURE
    before = before_of(arguments)

    def action(session: Session) -> int:
        if arguments.id:
            for task_id in arguments.id:
                session.admin.purge_task(task_id, tenant=session.tenant)
                _print_one(session, task_id, "purged")
            return status.OK
        done = session.steps(
            "purged",
            lambda limit: session.admin.purge(
                command=arguments.command_name, before=before, limit=limit, tenant=session.tenant
            ),
        )
        return print_count(session, "purged", done)

    return run(arguments, action)


def before_of(arguments: argparse.Namespace) -> datetime.datetime | None:
    """The time that `--before` or `--older-than` means."""
    before: datetime.datetime | None = arguments.before
    if arguments.older_than:
        before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=arguments.older_than)
    return before


def print_count(session: Session, what: str, count: int) -> int:
    """How many long work was done to."""
    if session.as_json:
        print_json({what: count})
    else:
        print(f"{count:,} {what}")
    return status.OK


def _print_one(session: Session, task_id: str, what: str) -> None:
    if session.as_json:
        print_json({"taskId": task_id, "status": what})
    else:
        print(f"{plain(task_id)} {what}")


def says_which(arguments: argparse.Namespace, *, named: bool) -> bool:
    """Whether the arguments name something: ids, or what matches, or all; not two of them."""
    matching = named or arguments.before is not None or arguments.older_than is not None
    if arguments.id and (matching or arguments.all):
        print("codeq: give ids or options that match, not both", file=sys.stderr)
        return False
    if not (arguments.id or matching or arguments.all):
        print("codeq: say which: ids, options that match, or --all", file=sys.stderr)
        return False
    return True


def _agreed(arguments: argparse.Namespace) -> bool:
    if not sys.stdin.isatty():
        print("codeq: a purge can't be taken back: say --yes", file=sys.stderr)
        return False
    which = f"{len(arguments.id)} dead letters" if arguments.id else "all dead letters that match"
    print(f"Delete {which} for good? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
