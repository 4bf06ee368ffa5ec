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
    _add_check(commands.add_parser("check", help="verify a whole store"))
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


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--directory", required=True, metavar="DIR", help="the node's data directory")
    parser.set_defaults(command=_check)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65_535):
        raise argparse.ArgumentTypeError("a port is 1 to 65535")
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


def _check(arguments: argparse.Namespace) -> int:
    from appliance.cli.check import run

    return run(arguments.directory)


def _version(_arguments: argparse.Namespace) -> int:
    from appliance.metrics import package_version

    print(f"codeq {package_version()}")
    return status.OK


if __name__ == "__main__":
    sys.exit(main())
