"""`codeq task …` and `codeq claim`: single tasks."""

import argparse
import json
import sys
import time
from typing import Any, Final

import codeq
from appliance.cli import status
from appliance.cli.remote.output import plain, print_fields, print_json, print_table
from appliance.cli.remote.session import Session, run

WAIT_SECONDS_MAX: Final = 60
"""The longest that a node lets a read of a result wait."""
CLAIM_WAIT_SECONDS_MAX: Final = 30
LOOK_SECONDS: Final = 2
"""How often a task that is watched is looked at for what is not its end, which is seen at once."""
INPUT_BYTES_MAX: Final = 8 * 1024 * 1024

_ENDED: Final = frozenset(("COMPLETED", "FAILED", "DLQ"))


def run_create(arguments: argparse.Namespace) -> int:
    """Create a task; print its id, or with `--wait` its result."""
    try:
        payload = _json(arguments.payload)
    except ValueError as error:
        return _usage(f"the payload is no JSON: {error}")

    def action(session: Session) -> int:
        task = session.admin.create(
            arguments.command_name,
            payload,
            priority=arguments.priority,
            max_attempts=arguments.max_attempts,
            webhook=arguments.webhook,
            idempotency_key=arguments.key,
            run_at=arguments.run_at,
            delay_seconds=arguments.delay,
        )
        if arguments.wait:
            print(task.id, file=sys.stderr)
            return _print_result(session, _awaited(session, task.id, arguments.wait))
        if session.as_json:
            print_json(task.fields)
        else:
            print(task.id)
        return status.OK

    return run(arguments, action)


def run_get(arguments: argparse.Namespace) -> int:
    """Print a task."""

    def action(session: Session) -> int:
        events: tuple[codeq.Event, ...] = ()
        # Another tenant's task is an operator's affair, and so is the history.
        if arguments.history or session.tenant:
            found = session.admin.history(arguments.id, tenant=session.tenant)
            fields, events = found.fields, found.history
        else:
            fields = session.admin.task(arguments.id).fields
        if session.as_json:
            print_json(fields)
            return status.OK
        print_fields((name, value) for name, value in fields.items() if value is not None and name != "history")
        for event in events:
            print(f"{plain(event.at)}  {plain(event.event)}  {plain(event.detail, cut=False)}")
        return status.OK

    return run(arguments, action)


def run_result(arguments: argparse.Namespace) -> int:
    """Print a result: 0 for COMPLETED, 1 for FAILED and DLQ, 66 where there is none yet."""
    return run(arguments, lambda session: _print_result(session, _awaited(session, arguments.id, arguments.wait)))


def run_cancel(arguments: argparse.Namespace) -> int:
    """Cancel tasks, one after the other."""

    def action(session: Session) -> int:
        for task_id in arguments.id:
            task = session.admin.cancel(task_id, reason=arguments.reason, tenant=session.tenant)
            if session.as_json:
                print_json(task.fields)
            else:
                print(f"{plain(task.id)} {plain(task.status)}")
        return status.OK

    return run(arguments, action)


def run_list(arguments: argparse.Namespace) -> int:
    """Print tasks of a queue by status."""

    def action(session: Session) -> int:
        return print_tasks(
            session,
            session.pages(
                lambda limit, cursor: session.admin.tasks(
                    arguments.command_name, arguments.status, limit=limit, cursor=cursor, tenant=session.tenant
                )
            ),
        )

    return run(arguments, action)


def run_watch(arguments: argparse.Namespace) -> int:
    """Print a line at each change of a task, and its result at the end."""

    def action(session: Session) -> int:
        before: tuple[str, int, str] | None = None
        while True:
            task = session.admin.task(arguments.id)
            now = (task.status, task.attempts, task.worker_id)
            if now != before:
                before = now
                _print_change(session, task)
            if task.status in _ENDED:
                return _print_result(session, session.admin.result(arguments.id))
            session.admin.result(arguments.id, wait_seconds=LOOK_SECONDS)

    return run(arguments, action)


def run_claim(arguments: argparse.Namespace) -> int:
    """Claim a task and print it; 66 where there is none."""

    def action(session: Session) -> int:
        ends = time.monotonic() + arguments.wait
        while True:
            left = max(0, round(ends - time.monotonic()))
            task = session.admin.claim(
                arguments.commands,
                lease_seconds=arguments.lease,
                wait_seconds=min(left, CLAIM_WAIT_SECONDS_MAX),
                worker_id=arguments.worker_id,
            )
            if task is not None or left <= CLAIM_WAIT_SECONDS_MAX:
                break
        if task is None:
            print("codeq: no task is there", file=sys.stderr)
            return status.NOT_THERE
        if session.as_json:
            print_json(task.fields)
        else:
            print_fields((name, value) for name, value in task.fields.items() if value is not None)
        return status.OK

    return run(arguments, action)


def run_finish(arguments: argparse.Namespace) -> int:
    """Give a result."""
    try:
        value = None if arguments.result is None else _json(arguments.result)
    except ValueError as error:
        return _usage(f"the result is no JSON: {error}")

    def action(session: Session) -> int:
        owner = {"lease_id": arguments.lease_id, "worker_id": arguments.worker_id}
        record = session.admin.finish(arguments.id, value, error=arguments.error or "", **owner)
        if session.as_json:
            print_json(record.fields)
        else:
            print(f"{plain(record.task_id)} {plain(record.status)}")
        return status.OK

    return run(arguments, action)


def run_nack(arguments: argparse.Namespace) -> int:
    """End an attempt."""

    def action(session: Session) -> int:
        became = session.admin.nack(
            arguments.id,
            delay_seconds=arguments.delay,
            reason=arguments.reason,
            lease_id=arguments.lease_id,
            worker_id=arguments.worker_id,
        )
        return _print_became(session, became)

    return run(arguments, action)


def run_abandon(arguments: argparse.Namespace) -> int:
    """Give a task back."""

    def action(session: Session) -> int:
        became = session.admin.abandon(arguments.id, lease_id=arguments.lease_id, worker_id=arguments.worker_id)
        return _print_became(session, became)

    return run(arguments, action)


def print_tasks(session: Session, tasks: Any) -> int:
    """Tasks, one line each."""
    if session.as_json:
        for task in tasks:
            print_json(task.fields)
        return status.OK
    print_table(
        ("ID", "COMMAND", "STATUS", "PRIO", "ATTEMPTS", "CREATED", "ERROR"),
        (
            (task.id, task.command, task.status, task.priority, f"{task.attempts}/{task.max_attempts}",
             task.created_at, task.error)
            for task in tasks
        ),
    )  # fmt: skip
    return status.OK


def _awaited(session: Session, task_id: str, wait_seconds: int) -> codeq.Result:
    """The result after waiting for it, in as many requests as that takes."""
    ends = time.monotonic() + wait_seconds
    while True:
        left = max(0, round(ends - time.monotonic()))
        result = session.admin.result(task_id, wait_seconds=min(left, WAIT_SECONDS_MAX))
        if result.finished or left <= WAIT_SECONDS_MAX:
            return result


def _print_result(session: Session, result: codeq.Result) -> int:
    if session.as_json:
        print_json(result.fields)
    elif result.status == "COMPLETED":
        print(json.dumps(result.result, ensure_ascii=False))
    elif result.finished:
        print(f"codeq: {plain(result.status)}: {plain(result.error, cut=False)}", file=sys.stderr)
    else:
        print("codeq: there is no result yet", file=sys.stderr)
    if not result.finished:
        return status.NOT_THERE
    return status.OK if result.status == "COMPLETED" else status.FAILURE


def _print_became(session: Session, became: str) -> int:
    task_id = session.arguments.id
    if session.as_json:
        print_json({"taskId": task_id, "status": became})
    else:
        print(f"{plain(task_id)} {plain(became)}")
    return status.OK


def _print_change(session: Session, task: codeq.TaskInfo) -> None:
    if session.as_json:
        print_json(task.fields)
    else:
        worker = f" by {plain(task.worker_id)}" if task.status == "CLAIMED" else ""
        print(f"{plain(task.status)}{worker}, attempt {task.attempts} of {task.max_attempts}", file=sys.stderr)
    sys.stdout.flush()


def _json(text: str) -> Any:
    if text == "-":
        text = sys.stdin.read(INPUT_BYTES_MAX + 1)
        if len(text) > INPUT_BYTES_MAX:
            raise ValueError(f"more than {INPUT_BYTES_MAX} characters")
    return json.loads(text, parse_constant=_refuse)


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _usage(message: str) -> int:
    print(f"codeq: {message}", file=sys.stderr)
    return status.USAGE
