"""The command `codeq`: its arguments, and nothing else.

Owns the names of subcommands and options. Each subcommand is a function in a module of its own, imported only when it
is called, so that `codeq version` does not load an event loop.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

from appliance.cli import status

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status (see `appliance.cli.status`)."""
    parsed = parser().parse_args(arguments)
    command: Command = parsed.command
    try:
        return command(parsed)
    except KeyboardInterrupt:
        return 128 + 2
    except BrokenPipeError:
        sys.stderr.close()
        return status.FAILURE


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    statuses = ", ".join(f"{number} {meaning}" for number, meaning in status.MEANINGS.items())
    root = argparse.ArgumentParser(
        prog="codeq",
        description="A durable, multi-tenant task queue: one process, one port, one directory.",
        epilog=f"Exit statuses: {statuses}.",
    )
    commands = root.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_dev(commands.add_parser("dev", help="run a node for development, with everything it needs made on the spot"))
    _add_serve(commands.add_parser("serve", help="run a configured node"))
    _add_config(commands.add_parser("config", help="look at a configuration"))
    _add_token(commands.add_parser("token", help="make tokens"))
    _add_worker(commands.add_parser("worker", help="work on tasks"))
    _add_check(commands.add_parser("check", help="verify a whole store"))
    _add_bench(commands.add_parser("bench", help="measure a node under load"))
    commands.add_parser("version", help="print the version").set_defaults(command=_version)
    return root


def _add_dev(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dir", default="./codeq-dev", metavar="DIR", help="where everything is kept (%(default)s)")
    parser.add_argument("--port", type=_port, help="default 8443, with --plaintext 8080")
    parser.add_argument("--plaintext", action="store_true", help="serve http on loopback instead of https")
    parser.set_defaults(command=_dev)


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, metavar="FILE", help="the node's codeq.yml")
    parser.set_defaults(command=_serve)


def _add_config(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="say whether a node would start with this configuration")
    check.add_argument("--config", required=True, metavar="FILE", help="the node's codeq.yml")
    check.set_defaults(command=_config_check)


def _add_token(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    mint = commands.add_parser("mint", help="make a token from a key and print it")
    mint.add_argument("--key", required=True, metavar="FILE", help="private key in PEM form, or the secret of HS256")
    mint.add_argument("--kind", required=True, choices=("producer", "worker"))
    mint.add_argument("--subject", required=True, help="who the token is for")
    mint.add_argument("--tenant", required=True)
    mint.add_argument("--scopes", default="", help="a,b; a worker gets all of a worker's scopes when left out")
    mint.add_argument("--commands", default="", help="a,b or * (all): what a worker may claim")
    mint.add_argument("--role", default="", help="ADMIN opens the administration of the tenant (producer keys)")
    mint.add_argument("--expires", default="30d", help="lifetime, a number and s, m, h or d (%(default)s)")
    mint.add_argument(
        "--algorithm", default="", choices=("RS256", "ES256", "EdDSA", "HS256"), help="default: the key's"
    )
    mint.add_argument("--kid", default="", help="name of the key, where the node's configuration gives it one")
    mint.add_argument("--issuer", default="")
    mint.add_argument("--audience", default="")
    mint.set_defaults(command=_token_mint)


def _add_worker(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="run a program for each task: the task as JSON on its input, the result as JSON on its output",
        epilog="Exit status of the program: 0 completed, 65 failed for good, any other: another attempt.",
    )
    run.add_argument("--commands", required=True, help="a,b: the commands whose tasks it works on")
    run.add_argument("--concurrency", type=_count, default=1, metavar="N", help="programs at once (%(default)s)")
    run.add_argument(
        "--url", "--target", dest="target", required=True, action="append",
        help="https://host:port, http://host:port (plaintext) or host:port; again for each node of a cluster",
    )  # fmt: skip
    run.add_argument("--token-file", required=True, metavar="FILE", help="a worker's token, read at each connection")
    run.add_argument("--ca", metavar="FILE", help="the authority that signed the node's certificate")
    run.add_argument("--plaintext", action="store_true", help="no TLS: the token and all tasks travel unprotected")
    run.add_argument("--lease-seconds", type=_count, default=60, metavar="N", help="renewed in time (%(default)s)")
    run.add_argument("--drain-seconds", type=_count, default=30, metavar="N", help="for programs to end (%(default)s)")
    run.add_argument("--worker-id", default="", help="names this worker; made of host and process when left out")
    run.add_argument("program", nargs="+", help="after --: the program and its arguments")
    run.set_defaults(command=_worker_run)


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--directory", required=True, metavar="DIR", help="the node's data directory")
    parser.set_defaults(command=_check)


def _add_bench(parser: argparse.ArgumentParser) -> None:
    from appliance.bench.options import add_arguments

    add_arguments(parser)
    parser.set_defaults(command=_bench)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65_535):
        raise argparse.ArgumentTypeError("a port is 1 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 86_400):
        raise argparse.ArgumentTypeError("a number of 1 to 86400")
    return int(text)


def _dev(arguments: argparse.Namespace) -> int:
    from appliance.cli.dev import run

    return run(arguments.dir, arguments.port, plaintext=arguments.plaintext)


def _serve(arguments: argparse.Namespace) -> int:
    from appliance.cli.serve import run

    return run(arguments.config)


def _config_check(arguments: argparse.Namespace) -> int:
    from appliance.cli.config import check

    return check(arguments.config)


def _token_mint(arguments: argparse.Namespace) -> int:
    from appliance.cli.token import run

    return run(arguments)


def _worker_run(arguments: argparse.Namespace) -> int:
    from appliance.cli.worker import run

    return run(arguments)


def _check(arguments: argparse.Namespace) -> int:
    from appliance.cli.check import run

    return run(arguments.directory)


def _bench(arguments: argparse.Namespace) -> int:
    from appliance.cli.bench import run

    return run(arguments)


def _version(_arguments: argparse.Namespace) -> int:
    from appliance.metrics import package_version

    print(f"codeq {package_version()}")
    return status.OK


if __name__ == "__main__":
    sys.exit(main())
