"""The arguments of the commands that talk to a node.

Owns their names and options, and nothing else: what a command does is in a module of its own, loaded when it is called.
"""

import argparse
import datetime
from typing import Any, Final

from appliance.cli.options import add_json, call, duration, number

DAY_SECONDS: Final = 86_400
YEAR_SECONDS: Final = 366 * DAY_SECONDS
DEFAULT: Final = "default"
NONE: Final = "none"
STATES: Final = ("ready", "delayed", "claimed", "completed", "failed", "dlq")
PAUSES: Final = ("dispatch", "intake", "both")
POLICIES: Final = ("fixed", "linear", "exponential", "exp_full_jitter", "exp_equal_jitter")

SETTINGS: Final = (
    ("max_depth", "maxDepth", 10**12, "tasks that may wait, beyond which creates are refused"),
    ("retention_seconds", "retentionSeconds", 10 * YEAR_SECONDS, "how long ended tasks are kept"),
    ("dead_retention_seconds", "deadRetentionSeconds", 10 * YEAR_SECONDS, "how long dead letters are kept"),
    ("max_attempts", "maxAttempts", 1_000, "attempts of a task whose create does not say"),
)
"""Settings of a queue: option, name in the contract, largest value, meaning."""
LIMITS: Final = (
    ("rest_per_second", "REST requests per second"),
    ("hellos_per_second", "streams opened per second"),
    ("in_flight", "tasks claimed at once"),
    ("stored_bytes", "bytes of tasks in the store"),
)
"""Limits of a tenant: option and meaning."""

_HERE: Final = "appliance.cli.remote"
_Parsers = Any


def add_task(parser: argparse.ArgumentParser) -> None:
    """`codeq task`."""
    commands = _commands(parser)
    create = _leaf(commands, "create", "create a task and print its id", "tasks", tenant=False)
    create.add_argument("command_name", metavar="COMMAND", help="what kind of work it is")
    create.add_argument("payload", nargs="?", default="null", help="JSON; - reads it from the input (%(default)s)")
    create.add_argument("--priority", type=number(0, 255), default=0, metavar="N", help="0 to 255, higher first")
    create.add_argument("--max-attempts", type=number(1, 1_000), default=0, metavar="N", help="default: the queue's")
    later = create.add_mutually_exclusive_group()
    later.add_argument("--delay", type=duration, default=0, metavar="SPAN", help="not before this: 90s, 15m, 12h, 30d")
    later.add_argument("--run-at", type=moment, metavar="TIME", help="or not before this time, in RFC 3339")
    create.add_argument("--webhook", default="", metavar="URL", help="told when the task ends")
    create.add_argument("--key", default="", help="idempotency key: the same create again is the same task")
    create.add_argument("--wait", type=duration, default=0, metavar="SPAN", help="wait so long, and print the result")

    get = _leaf(commands, "get", "print a task", "tasks")
    get.add_argument("id", help="of the task")
    get.add_argument("--history", action="store_true", help="with deliveries and what happened to it (admin)")

    result = _leaf(commands, "result", "print the result of a task", "tasks", tenant=False)
    result.add_argument("id", help="of the task")
    result.add_argument("--wait", type=duration, default=0, metavar="SPAN", help="wait so long for it")

    cancel = _leaf(commands, "cancel", "end tasks that have not ended", "tasks")
    cancel.add_argument("id", nargs="+", help="of the tasks")
    cancel.add_argument("--reason", default="", help="kept in the audit log")

    listing = _leaf(commands, "list", "list tasks of a queue", "tasks")
    listing.add_argument("command_name", metavar="COMMAND", help="which queue")
    listing.add_argument("--status", choices=STATES, default="ready", help="(%(default)s)")
    _add_limit(listing, 100)

    watch = _leaf(commands, "watch", "follow a task until it ends", "tasks", tenant=False)
    watch.add_argument("id", help="of the task")

    finish = _leaf(commands, "finish", "give the result of a claimed task", "tasks", tenant=False)
    finish.add_argument("id", help="of the task")
    outcome = finish.add_mutually_exclusive_group(required=True)
    outcome.add_argument("--result", metavar="JSON", help="COMPLETED with this; - reads it from the input")
    outcome.add_argument("--error", metavar="TEXT", help="FAILED with this")
    _add_owner(finish)

    nack = _leaf(commands, "nack", "end an attempt at a claimed task without a result", "tasks", tenant=False)
    nack.add_argument("id", help="of the task")
    nack.add_argument("--delay", type=duration, metavar="SPAN", help="until the next attempt; default: the backoff")
    nack.add_argument("--reason", default="", help="kept with the task")
    _add_owner(nack)

    abandon = _leaf(commands, "abandon", "give a claimed task back", "tasks", tenant=False)
    abandon.add_argument("id", help="of the task")
    _add_owner(abandon)


def add_claim(parser: argparse.ArgumentParser) -> None:
    """`codeq claim`."""
    parser.description = "Claim one task with a worker's token, and print it. Finish it with `codeq task finish`."
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help="none means all that the token allows")
    parser.add_argument("--lease", type=duration, default=300, metavar="SPAN", help="how long it is yours (5m)")
    parser.add_argument("--wait", type=duration, default=0, metavar="SPAN", help="wait so long for one, at most 30s")
    parser.add_argument("--worker-id", default="", help="names this worker")
    _add_connection(parser)
    parser.set_defaults(command=call(f"{_HERE}.tasks", "run_claim"))


def add_queue(parser: argparse.ArgumentParser) -> None:
    """`codeq queue`."""
    commands = _commands(parser)
    _leaf(commands, "list", "list the queues; --tenant '*' lists all tenants'", "queues")
    show = _leaf(commands, "show", "print a queue with its settings", "queues")
    show.add_argument("command_name", metavar="COMMAND", help="which queue")
    pause = _leaf(commands, "pause", "stop giving out tasks, or taking them", "queues")
    pause.add_argument("command_name", metavar="COMMAND", help="which queue")
    pause.add_argument("--what", choices=PAUSES, default="dispatch", help="claims, creates, or both (%(default)s)")
    until = pause.add_mutually_exclusive_group()
    until.add_argument("--until", type=moment, metavar="TIME", help="ends by itself at this time, in RFC 3339")
    until.add_argument("--for", type=duration, dest="span", metavar="SPAN", help="or after this: 90s, 15m, 12h, 30d")
    resume = _leaf(commands, "resume", "end a pause", "queues")
    resume.add_argument("command_name", metavar="COMMAND", help="which queue")
    resume.add_argument("--what", choices=PAUSES, default="both", help="(%(default)s)")
    change = _leaf(commands, "set", f"change settings of a queue; `{DEFAULT}` takes one back", "queues")
    change.add_argument("command_name", metavar="COMMAND", help="which queue")
    for name, _, most, meaning in SETTINGS:
        change.add_argument(
            f"--{name.replace('_', '-')}", type=_or(DEFAULT, number(0, most)), metavar="N", help=meaning
        )
    change.add_argument("--backoff", choices=(*POLICIES, DEFAULT), help="the waits between attempts")
    change.add_argument("--backoff-base-seconds", type=number(0, DAY_SECONDS), metavar="N", help="the first of them")
    change.add_argument("--backoff-cap-seconds", type=number(0, YEAR_SECONDS), metavar="N", help="the longest of them")


def add_dlq(parser: argparse.ArgumentParser) -> None:
    """`codeq dlq`."""
    commands = _commands(parser)
    listing = _leaf(commands, "list", "list dead letters", "letters")
    _add_which(listing)
    _add_limit(listing, 100)
    for name, text in (("requeue", "make dead letters tasks again"), ("purge", "delete dead letters")):
        change = _leaf(commands, name, text, "letters")
        change.add_argument("id", nargs="*", help="these, or those that the options below name")
        _add_which(change)
        change.add_argument("--all", action="store_true", help="all there are, where nothing else says which")
        _add_limit(change, 0)
        if name == "purge":
            change.add_argument("--yes", action="store_true", help="don't ask")


def add_webhook(parser: argparse.ArgumentParser) -> None:
    """`codeq webhook`."""
    commands = _commands(parser)
    listing = _leaf(commands, "list", "list webhooks that were not delivered", "webhooks")
    listing.add_argument("--state", choices=("given-up", "waiting"), default="given-up", help="(%(default)s)")
    _add_limit(listing, 100)
    retry = _leaf(commands, "retry", "send webhooks again that were given up", "webhooks")
    retry.add_argument("id", nargs="*", metavar="DELIVERY", help="these, or those that the options below name")
    _add_before(retry)
    retry.add_argument("--all", action="store_true", help="all there are, where nothing else says which")
    _add_limit(retry, 0)


def add_tenant(parser: argparse.ArgumentParser) -> None:
    """`codeq tenant`."""
    commands = _commands(parser)
    limits = _leaf(
        commands, "limits", f"print the limits of a tenant, or change them (operator scope); `{NONE}` lifts one",
        "tenants", tenant=False,
    )  # fmt: skip
    limits.add_argument("tenant_name", metavar="TENANT", help="whose limits")
    for name, meaning in LIMITS:
        limits.add_argument(f"--{name.replace('_', '-')}", type=_or(NONE, number(0, 10**15)), metavar="N", help=meaning)


def add_audit(parser: argparse.ArgumentParser) -> None:
    """`codeq audit`."""
    parser.description = "Print who changed what, the newest first."
    _add_limit(parser, 100)
    _add_connection(parser)
    _add_tenant(parser)
    parser.set_defaults(command=call(f"{_HERE}.tenants", "run_audit"))


def add_top(parser: argparse.ArgumentParser) -> None:
    """`codeq top`."""
    parser.description = "Show the queues, live: depths, ages, and what ends per second. Ctrl-C ends it."
    parser.add_argument("--interval", type=number(1, 3_600), default=2, metavar="N", help="seconds (%(default)s)")
    parser.add_argument("--once", action="store_true", help="print it once")
    _add_connection(parser)
    _add_tenant(parser)
    parser.set_defaults(command=call(f"{_HERE}.top", "start"))


def moment(text: str) -> datetime.datetime:
    """A time in RFC 3339."""
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise argparse.ArgumentTypeError("a time with its zone, for example 2026-05-18T12:00:00Z")
    return time


def _or(word: str, parse: Any) -> Any:
    """A value, or `word`."""

    def either(text: str) -> Any:
        return text if text == word else parse(text)

    return either


def _commands(parser: argparse.ArgumentParser) -> _Parsers:
    return parser.add_subparsers(title="commands", required=True, metavar="COMMAND")


def _leaf(commands: _Parsers, name: str, text: str, module: str, *, tenant: bool = True) -> argparse.ArgumentParser:
    """One command of a group; `run_NAME` of `module` does it."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    _add_connection(parser)
    if tenant:
        _add_tenant(parser)
    parser.set_defaults(command=call(f"{_HERE}.{module}", f"run_{name}"))
    return parser


def _add_connection(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the node")
    group.add_argument("--url", metavar="URL", help="https://host:port or http://host:port; else CODEQ_URL")
    group.add_argument("--token-file", metavar="FILE", help="where the token is; else CODEQ_TOKEN has it")
    group.add_argument("--ca", metavar="FILE", help="the authority that signed the node's certificate; else CODEQ_CA")
    group.add_argument("--profile", metavar="NAME", help="all of these from the user's file; else CODEQ_PROFILE")
    group.add_argument("--timeout", type=number(1, 600), default=10, metavar="N", help="seconds (%(default)s)")
    add_json(parser)


def _add_tenant(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tenant", help="another tenant than the token's (operator scope)")


def _add_limit(parser: argparse.ArgumentParser, default: int) -> None:
    text = "at most so many; 0: all (%(default)s)"
    parser.add_argument("--limit", type=number(0, 10**9), default=default, metavar="N", help=text)


def _add_owner(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lease-id", default="", metavar="ID", help="the lease that the claim printed")
    parser.add_argument("--worker-id", default="", metavar="ID", help="as given at the claim")


def _add_which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--command", dest="command_name", default="", metavar="COMMAND", help="of this queue")
    _add_before(parser)


def _add_before(parser: argparse.ArgumentParser) -> None:
    age = parser.add_mutually_exclusive_group()
    age.add_argument("--before", type=moment, metavar="TIME", help="from before this time, in RFC 3339")
    age.add_argument("--older-than", type=duration, metavar="SPAN", help="or older than this: 90s, 15m, 12h, 30d")
