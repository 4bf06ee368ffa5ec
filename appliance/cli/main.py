"""The command `codeq`: the list of its commands, and the way to the one that was called.

Owns the names of the commands. Their options are in `arguments` and `remote.arguments`; what a command does is in a
module of its own, loaded when it is called, so that `codeq --version` does not load an event loop.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from appliance.cli import arguments as here
from appliance.cli import status
from appliance.cli.options import Command
from appliance.cli.remote import arguments as remote


class Entry(NamedTuple):
    """One command: the line about it, and what adds its options."""

    help: str
    add: Callable[[argparse.ArgumentParser], None]


COMMANDS: Final = {
    "dev": Entry("run a node for development, with everything it needs made on the spot", here.add_dev),
    "serve": Entry("run a configured node", here.add_serve),
    "config": Entry("look at a configuration", here.add_config),
    "token": Entry("make tokens", here.add_token),
    "worker": Entry("work on tasks", here.add_worker),
    "check": Entry("verify a whole store", here.add_check),
    "backup": Entry("copy the store of a running node, and check the copy", here.add_backup),
    "restore": Entry("put a backup in place", here.add_restore),
    "doctor": Entry("look for what will make a node slow, unsafe or stop", here.add_doctor),
    "task": Entry("create, read, cancel, list, watch and finish tasks", remote.add_task),
    "claim": Entry("claim a task", remote.add_claim),
    "queue": Entry("list, pause, resume and set queues", remote.add_queue),
    "dlq": Entry("list, requeue and purge dead letters", remote.add_dlq),
    "webhook": Entry("list webhooks that were not delivered, and send them again", remote.add_webhook),
    "tenant": Entry("limits of tenants", remote.add_tenant),
    "audit": Entry("who changed what", remote.add_audit),
    "top": Entry("show the queues, live", remote.add_top),
    "bench": Entry("measure a node under load", here.add_bench),
    "completion": Entry("print a script that completes commands in a shell", here.add_completion),
    "man": Entry("write the manual pages", here.add_man),
    "version": Entry("print the version", lambda parser: parser.set_defaults(command=_version)),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status (see `appliance.cli.status`)."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    # Before a command there are only options that end the program, so no other word can be one.
    parsed = parser(only=words[0] if words else "-").parse_args(words)
    command: Command = parsed.command
    try:
        return command(parsed)
    except KeyboardInterrupt:
        return 128 + 2
    except BrokenPipeError:
        sys.stderr.close()
        return status.FAILURE


def parser(only: str = "") -> argparse.ArgumentParser:
    """The parser of the whole command line, or one in which no command but `only`, if that is one, has its options."""
    statuses = ", ".join(f"{number} {meaning}" for number, meaning in status.MEANINGS.items())
    root = argparse.ArgumentParser(
        prog="codeq",
        description="A durable, multi-tenant task queue: one process, one port, one directory.",
        epilog=f"Exit statuses: {statuses}.",
    )
    root.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = root.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, entry in COMMANDS.items():
        command = commands.add_parser(name, help=entry.help)
        if only in ("", name):
            entry.add(command)
    return root


class _Version(argparse.Action):
    """Reads the version only when it is asked for: finding it out takes longer than all of the parser."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        parser.exit(_version(argparse.Namespace()))


def _version(_arguments: argparse.Namespace) -> int:
    from appliance.version import package_version

    print(f"codeq {package_version()}")
    return status.OK


if __name__ == "__main__":
    sys.exit(main())
