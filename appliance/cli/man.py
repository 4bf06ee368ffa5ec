"""`codeq man DIR`: manual pages, one for `codeq` and one for each of its commands.

Made from the parsers, as roff with the macros of man(7).
"""

import argparse
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from appliance.cli import status
from appliance.cli.reference import ENVIRONMENT, FILES
from appliance.cli.tree import Argument, Command, whole
from appliance.version import package_version


def run(arguments: argparse.Namespace) -> int:
    """Write the pages into the directory; prints what was written."""
    folder = Path(arguments.directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in pages(whole(), package_version()).items():
            (folder / name).write_text(text, encoding="utf-8")
            print(folder / name)
    except OSError as error:
        print(f"codeq: {folder}: {error.strerror}", file=sys.stderr)
        return status.FAILURE
    return status.OK


def pages(root: Command, version: str) -> dict[str, str]:
    """The pages by the names of their files."""
    made = {"codeq.1": _page(root, version, _root_sections(root))}
    for command in root.children:
        made[f"codeq-{command.path[0]}.1"] = _page(command, version, _sections(command))
    return made


def _page(command: Command, version: str, sections: Iterable[str]) -> str:
    title = "-".join(("codeq", *command.path))
    about = command.help or command.description
    head = [
        f'.TH {_text(title.upper())} 1 "" "codeq {_text(version)}" "codeq"',
        *(".SH NAME", f"{_text(title)} \\- {_text(about.rstrip('.'))}"),
        ".SH SYNOPSIS",
        *(f".B {_text(each.synopsis)}\n.br" for each in command.walk() if not each.children or not command.path),
    ]
    if not command.path:
        head = [*head[:4], f".B {_text(command.synopsis)}"]
    return "\n".join([*head, *sections]) + "\n"


def _root_sections(root: Command) -> list[str]:
    lines = [".SH DESCRIPTION", _text(root.description), ".SH COMMANDS"]
    for command in root.children:
        lines += [".TP", f"\\fBcodeq\\-{_text(command.path[0])}\\fR(1)", _text(command.help)]
    return [*lines, *_options(root.options), *_common()]


def _sections(command: Command) -> list[str]:
    lines = [".SH DESCRIPTION", _text(command.description or f"{command.help[0].upper()}{command.help[1:]}.")]
    if not command.children:
        lines += _arguments(command)
    for child in command.children:
        lines += [
            f'.SH "{_text(child.name.upper())}"',
            _text(child.description or f"{child.help}."),
            *_arguments(child),
        ]
    return [*lines, *_common(), ".SH SEE ALSO", "\\fBcodeq\\fR(1)"]


def _arguments(command: Command) -> list[str]:
    lines = []
    for place in command.places:
        lines += [".TP", f"\\fI{_text(place.value)}\\fR", _text(place.help)]
    for option in command.options:
        lines += [".TP", _flags(option), _text(option.help)]
    return [*lines, *([".PP", _text(command.epilog)] if command.epilog else [])]


def _options(options: Iterable[Argument]) -> list[str]:
    lines = [".SH OPTIONS"]
    for option in options:
        lines += [".TP", _flags(option), _text(option.help)]
    return lines


def _common() -> list[str]:
    lines = ['.SH "EXIT STATUS"']
    for number, meaning in status.MEANINGS.items():
        lines += [".TP", f"\\fB{number}\\fR", _text(meaning)]
    for title, rows in (("ENVIRONMENT", ENVIRONMENT), ("FILES", FILES)):
        lines.append(f".SH {title}")
        for name, meaning in rows:
            lines += [".TP", f"\\fB{_text(name)}\\fR", _text(meaning)]
    return lines


def _flags(option: Argument) -> str:
    flags = ", ".join(f"\\fB{_text(flag)}\\fR" for flag in option.flags)
    return f"{flags} \\fI{_text(option.value)}\\fR" if option.value else flags


def _text(text: str) -> str:
    """Words that roff prints as they stand."""
    text = re.sub(r"\s+", " ", text).replace("\\", "\\(rs").replace("-", "\\-").replace("`", "").replace("…", "...")
    return f"\\&{text}" if text.startswith((".", "'")) else text
