"""`docs/cli.md`: the reference of the command line, made from the parsers.

python -m appliance.cli.reference > docs/cli.md
"""

from collections.abc import Iterable
from typing import Final

from appliance.cli import status
from appliance.cli.tree import Argument, Command, whole

COMMON_GROUP: Final = "the node"
"""The options that every command has that talks to a node; described once."""

ENVIRONMENT: Final = (
    ("CODEQ_URL", "the node: https://host:port or http://host:port. With it no profile is read."),
    ("CODEQ_TOKEN", "the token itself"),
    ("CODEQ_CA", "the file of the authority that signed the node's certificate"),
    ("CODEQ_PROFILE", "the name of a profile, where CODEQ_URL is not set"),
)
FILES: Final = (
    ("~/.config/codeq/config.toml", "profiles of this user; below $XDG_CONFIG_HOME, where that is set"),
    ("/etc/codeq/codeq.yml", "the configuration of an installed node"),
)

_STATUSES: Final = {
    status.OK: "done",
    status.FAILURE: (
        "the command found what it looked for wanting, or could not do it: damage, a finding, a task that FAILED, "
        "a refusal"
    ),
    status.USAGE: "the arguments make no sense; nothing was done",
    status.NOT_THERE: "what was asked for is not there: no such task or queue, no task to claim, no result yet",
    status.DISK_NOT_TRUSTED: "the disk can't be trusted: look at it, run `codeq check`, don't restart blindly",
    status.TRY_AGAIN: (
        "busy, full or not reachable: another process has the directory, an address is in use, a limit of a node was "
        "met, or no node answers; the same command may work later"
    ),
    status.NOT_ALLOWED: "the token is missing, wrong or expired, or does not allow this",
    status.CONFIGURATION: "the configuration, a profile, or what they name can't be used",
}

_HEAD: Final = """\
# The command line

Made from the parsers by `python -m appliance.cli.reference`; how-tos are in the [README](../README.md).

## Which node is meant

The commands that talk to a node (task, claim, queue, dlq, webhook, tenant, audit, top) find it in this order:

1. the profile that `--profile` names,
2. `--url`, or the variable `CODEQ_URL`,
3. the profile that `CODEQ_PROFILE` names, or the `default` of the file.

What belongs to a node comes from the same place as its address, so that the token of one never goes to another. Single
options win over it, and so do `CODEQ_TOKEN` and `CODEQ_CA` unless `--profile` is given. Profiles are in
`~/.config/codeq/config.toml` (below `$XDG_CONFIG_HOME`, where that is set):

```toml
default = "prod"

[profiles.prod]
url = "https://queue.example.org:8443"
token_file = "~/.config/codeq/prod.token"  # or token = "…", and the file for your eyes only
ca = "~/.config/codeq/ca.pem"

[profiles.shop]
url = "https://queue.example.org:8443"
token_file = "~/.config/codeq/operator.token"
tenant = "shop"                            # for tokens with the operator scope
```

"""

_OUTPUT: Final = """
## What is printed

Results go to standard output; errors, progress and questions to standard error. With `--json` one thing is one line of
JSON, and a list is one line for each, in the form of the [REST contract](rest.md). Without it, what came from a task is
printed without control characters, and long cells of tables are cut.

Spans of time are a number and s, m, h or d (`90s`, `15m`, `12h`, `30d`), times are RFC 3339 with a zone
(`2026-05-18T12:00:00Z`).

`codeq completion SHELL` prints a script for completion; `source <(codeq completion bash)` uses it at once.
"""


def text() -> str:
    """The whole document."""
    root = whole()
    leaves = [command for command in root.walk() if not command.children]
    common = next(command for command in leaves if any(each.group == COMMON_GROUP for each in command.options))
    parts = [
        _HEAD,
        _table(("option of all of them", ""), (_row(each) for each in common.options if each.group == COMMON_GROUP)),
        "\n",
        _table(("variable", ""), ((f"`{name}`", meaning) for name, meaning in ENVIRONMENT)),
        _OUTPUT,
        "\n## Exit statuses\n\n",
        _table(("status", "means"), ((str(number), _STATUSES[number]) for number in status.MEANINGS)),
        "\nA command ended by a signal has 128 and the signal's number: 130 after Ctrl-C, 143 after SIGTERM.\n",
        "\n## Commands\n\n",
        _table(("command", ""), ((f"[`{each.name}`](#{_anchor(each)})", each.help) for each in leaves)),
        *(_section(command) for command in leaves),
    ]
    return "".join(parts)


def _section(command: Command) -> str:
    own = [option for option in command.options if option.group != COMMON_GROUP]
    lines = [f"\n### {command.name}\n\n", f"    {command.synopsis}\n\n"]
    lines.append(f"{command.description or _sentence(command.help)}\n")
    rows = [_row(each) for each in (*command.places, *own)]
    if rows:
        lines += ["\n", _table(("argument", ""), rows)]
    if len(own) != len(command.options):
        lines.append("\nAnd the options that say [which node is meant](#which-node-is-meant).\n")
    if command.epilog:
        lines.append(f"\n{command.epilog}\n")
    return "".join(lines)


def _row(argument: Argument) -> tuple[str, str]:
    value = argument.value.replace("|", r"\|")
    if not argument.flags:
        return f"`{value}`", argument.help
    flags = ", ".join(f"`{flag}`" for flag in argument.flags)
    shown = f"{flags} `{value}`" if value else flags
    return shown, f"{argument.help}, required" if argument.required else argument.help


def _table(heads: tuple[str, str], rows: Iterable[tuple[str, str]]) -> str:
    lines = [f"| {heads[0]} | {heads[1]} |".replace("  ", " "), "|---|---|"]
    lines += [f"| {left} | {right} |" for left, right in rows]
    return "\n".join(lines) + "\n"


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def _anchor(command: Command) -> str:
    return command.name.replace(" ", "-")


if __name__ == "__main__":
    print(text(), end="")
