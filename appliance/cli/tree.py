"""The whole command line as plain values, for what is made from it: completion, manual pages, the reference.

Owns the reading of argparse's parsers, of which this is the only place that looks inside. Must not know any form that
is written.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

FILE_VALUES: Final = frozenset(("FILE", "DIR", "BACKUP"))
"""What a value is called where it names something in the file system."""

_UNNAMED_GROUPS: Final = frozenset(("options", "positional arguments"))


@dataclass(frozen=True, slots=True)
class Argument:
    """An option (with `flags`) or an argument by its place.

    `value` is what its value is called, empty for a switch; `group` is the title of what it belongs to, or nothing.
    """

    flags: tuple[str, ...]
    value: str
    help: str
    choices: tuple[str, ...]
    group: str
    required: bool
    repeats: bool

    @property
    def is_file(self) -> bool:
        """Whether the value names something in the file system."""
        return self.value in FILE_VALUES


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `path` are the words that call it, after `codeq`; one with `children` needs one of them."""

    path: tuple[str, ...]
    help: str
    description: str
    epilog: str
    options: tuple[Argument, ...]
    places: tuple[Argument, ...]
    children: tuple["Command", ...]

    @property
    def name(self) -> str:
        """How it is called."""
        return " ".join(("codeq", *self.path))

    @property
    def synopsis(self) -> str:
        """One line that shows how to call it."""
        if self.children:
            return f"{self.name} COMMAND"
        words = [self.name, "[OPTION]..."]
        words += [f"{option.flags[-1]} {option.value}".strip() for option in self.options if option.required]
        for place in self.places:
            word = place.value + ("..." if place.repeats else "")
            words.append(word if place.required else f"[{word}]")
        return " ".join(words)

    def walk(self) -> Iterator["Command"]:
        """This command and all below it, each before its children."""
        yield self
        for child in self.children:
            yield from child.walk()


def whole() -> Command:
    """The command line as it is."""
    from appliance.cli.main import parser

    return _command(parser(), (), "")


def _command(parser: argparse.ArgumentParser, path: tuple[str, ...], text: str) -> Command:
    options: list[Argument] = []
    places: list[Argument] = []
    children: list[Command] = []
    formatter = parser._get_formatter()
    for group in parser._action_groups:
        title = group.title or ""
        for action in group._group_actions:
            if isinstance(action, argparse._SubParsersAction):
                helps = {each.dest: each.help or "" for each in action._choices_actions}
                children += [_command(child, (*path, name), helps[name]) for name, child in action.choices.items()]
            elif not isinstance(action, argparse._HelpAction):
                words = formatter._expand_help(action) if action.help else ""
                argument = _argument(action, words, "" if title in _UNNAMED_GROUPS else title)
                (options if action.option_strings else places).append(argument)
    return Command(
        path, text, parser.description or "", parser.epilog or "", tuple(options), tuple(places), tuple(children)
    )


def _argument(action: argparse.Action, text: str, group: str) -> Argument:
    choices = tuple(str(choice) for choice in action.choices or ())
    takes_value = action.nargs != 0
    name = action.metavar if isinstance(action.metavar, str) else ""
    if not name:
        name = "|".join(choices) if choices else action.dest.upper()
    return Argument(
        flags=tuple(action.option_strings),
        value=name if takes_value else "",
        help=text,
        choices=choices,
        group=group,
        required=action.required,
        repeats=action.nargs in ("*", "+"),
    )
