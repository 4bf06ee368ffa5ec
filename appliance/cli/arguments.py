"""The arguments of the commands that work on this machine: on a configuration, a key, a store, or a node of their own.

Owns their names and options, and nothing else: what a command does is in a module of its own, loaded when it is called.
"""

import argparse
from pathlib import Path
from typing import Final

from appliance.cli.options import add_json, call, count, port

SYSTEM_CONFIG: Final = Path("/etc/codeq/codeq.yml")
"""Where an installed node has its configuration."""


def add_dev(parser: argparse.ArgumentParser) -> None:
    """`codeq dev`."""
    parser.add_argument("--dir", default="./codeq-dev", metavar="DIR", help="where everything is kept (%(default)s)")
    parser.add_argument("--port", type=port, help="default 8443, with --plaintext 8080")
    parser.add_argument("--plaintext", action="store_true", help="serve http on loopback instead of https")
    parser.set_defaults(command=_dev)


def add_serve(parser: argparse.ArgumentParser) -> None:
    """`codeq serve`."""
    parser.add_argument("--config", required=True, metavar="FILE", help="the node's codeq.yml")
    parser.set_defaults(command=_serve)


def add_config(parser: argparse.ArgumentParser) -> None:
    """`codeq config`."""
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="say whether a node would start with this configuration")
    check.add_argument("--config", required=True, metavar="FILE", help="the node's codeq.yml")
    check.set_defaults(command=_config_check)


def add_token(parser: argparse.ArgumentParser) -> None:
    """`codeq token`."""
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    mint = commands.add_parser("mint", help="make a token from a key and print it")
    mint.add_argument("--key", required=True, metavar="FILE", help="private key in PEM form, or the secret of HS256")
    mint.add_argument("--kind", required=True, choices=("producer", "worker"), help="which keys sign it")
    mint.add_argument("--subject", required=True, help="who the token is for")
    mint.add_argument("--tenant", required=True, help="whose tasks it is about")
    mint.add_argument("--scopes", default="", help="a,b; a worker gets all of a worker's scopes when left out")
    mint.add_argument("--commands", default="", help="a,b or * (all): what a worker may claim")
    mint.add_argument("--role", default="", help="ADMIN opens the administration of the tenant (producer keys)")
    mint.add_argument("--expires", default="30d", help="lifetime, a number and s, m, h or d (%(default)s)")
    mint.add_argument(
        "--algorithm", default="", choices=("RS256", "ES256", "EdDSA", "HS256"), help="default: the key's"
    )
    mint.add_argument("--kid", default="", help="name of the key, where the node's configuration gives it one")
    mint.add_argument("--issuer", default="", help="iss, where the node asks for it")
    mint.add_argument("--audience", default="", help="aud, where the node asks for it")
    mint.set_defaults(command=call("appliance.cli.token"))


def add_worker(parser: argparse.ArgumentParser) -> None:
    """`codeq worker`."""
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="run a program for each task: the task as JSON on its input, the result as JSON on its output",
        epilog="Exit status of the program: 0 completed, 65 failed for good, any other: another attempt.",
    )
    run.add_argument("--commands", required=True, help="a,b: the commands whose tasks it works on")
    run.add_argument("--concurrency", type=count, default=1, metavar="N", help="programs at once (%(default)s)")
    run.add_argument(
        "--url", "--target", dest="target", required=True, action="append",
        help="https://host:port, http://host:port (plaintext) or host:port; again for each node of a cluster",
    )  # fmt: skip
    run.add_argument("--token-file", required=True, metavar="FILE", help="a worker's token, read at each connection")
    run.add_argument("--ca", metavar="FILE", help="the authority that signed the node's certificate")
    run.add_argument("--plaintext", action="store_true", help="no TLS: the token and all tasks travel unprotected")
    run.add_argument("--lease-seconds", type=count, default=60, metavar="N", help="renewed in time (%(default)s)")
    run.add_argument("--drain-seconds", type=count, default=30, metavar="N", help="for programs to end (%(default)s)")
    run.add_argument("--worker-id", default="", help="names this worker; made of host and process when left out")
    run.add_argument("program", nargs="+", help="after --: the program and its arguments")
    run.set_defaults(command=call("appliance.cli.worker"))


def add_check(parser: argparse.ArgumentParser) -> None:
    """`codeq check`."""
    parser.add_argument("--directory", required=True, metavar="DIR", help="the node's data directory")
    parser.set_defaults(command=_check)


def add_bench(parser: argparse.ArgumentParser) -> None:
    """`codeq bench`."""
    from appliance.bench.options import add_arguments

    add_arguments(parser)
    parser.set_defaults(command=call("appliance.cli.bench"))


def add_backup(parser: argparse.ArgumentParser) -> None:
    """`codeq backup`."""
    parser.description = (
        "Copy the store of a node, which may be running, into a new directory, and check the copy. Never overwrites."
    )
    parser.add_argument("target", type=Path, metavar="DIR", help="the new directory; with --keep, where they all are")
    _add_store(parser)
    parser.add_argument("--keep", type=count, metavar="N", help="make DIR/TIME, then remove all but the latest N there")
    parser.add_argument("--compact", action="store_true", help="leave free pages out: smaller, and more work")
    parser.add_argument(
        "--deadline-seconds", type=count, default=3_600, metavar="N", help="give the copy up after this (%(default)s)"
    )
    _add_copy_options(parser)
    parser.set_defaults(command=call("appliance.cli.backup"))


def add_restore(parser: argparse.ArgumentParser) -> None:
    """`codeq restore`."""
    parser.description = "Put a backup into the data directory of a node that does not run, after a check of it."
    parser.add_argument("source", type=Path, metavar="BACKUP", help="the directory of the backup")
    _add_store(parser)
    _add_copy_options(parser)
    parser.set_defaults(command=call("appliance.cli.backup", "run_restore"))


def add_doctor(parser: argparse.ArgumentParser) -> None:
    """`codeq doctor`."""
    parser.description = (
        "Look at the machine, the disk and the configuration of a node, running or not, and say what to do about what "
        "is wrong. Run it as the node's user or as root."
    )
    _add_store(parser)
    add_json(parser)
    parser.set_defaults(command=call("appliance.cli.doctor"))


def add_completion(parser: argparse.ArgumentParser) -> None:
    """`codeq completion`."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="for which shell")
    parser.set_defaults(command=call("appliance.cli.completion"))


def add_man(parser: argparse.ArgumentParser) -> None:
    """`codeq man`."""
    parser.add_argument("directory", metavar="DIR", help="where to, for example /usr/local/share/man/man1")
    parser.set_defaults(command=call("appliance.cli.man"))


def _add_store(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--directory", type=Path, metavar="DIR", help="the node's data directory")
    where.add_argument(
        "--config", default=str(SYSTEM_CONFIG), metavar="FILE", help="or the codeq.yml that names it (%(default)s)"
    )


def _add_copy_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--accept-damage", action="store_true", help="keep what the check found wanting all the same")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    add_json(parser)


def _dev(arguments: argparse.Namespace) -> int:
    from appliance.cli.dev import run

    return run(arguments.dir, arguments.port, plaintext=arguments.plaintext)


def _serve(arguments: argparse.Namespace) -> int:
    from appliance.cli.serve import run

    return run(arguments.config)


def _config_check(arguments: argparse.Namespace) -> int:
    from appliance.cli.config import check

    return check(arguments.config)


def _check(arguments: argparse.Namespace) -> int:
    from appliance.cli.check import run

    return run(arguments.directory)
