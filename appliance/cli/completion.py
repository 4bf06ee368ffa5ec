"""`codeq completion SHELL`: a script that lets a shell complete commands, options and their values.

Made from the parsers, so it knows what they know. It runs nothing and asks no node: completing costs no start of a
program.
"""

import argparse
from collections.abc import Callable, Iterable
from typing import Final

from appliance.cli import status
from appliance.cli.tree import Argument, Command, whole


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    print(SHELLS[arguments.shell](whole()), end="")
    return status.OK


def bash(root: Command) -> str:
    """A script for bash; sourced, or put where bash-completion looks."""
    steps, values, words = [], [], []
    for command in root.walk():
        path = " ".join(command.path)
        steps += [f'"{path}|{child.path[-1]}"' for child in command.children]
        for option in _with_value(command):
            flags = "|".join(f'"{path}|{flag}"' for flag in option.flags)
            if option.choices:
                reply = f'$(compgen -W "{" ".join(option.choices)}" -- "$current")'
            else:
                reply = '$(compgen -f -- "$current")' if option.is_file else ""
            values.append(f"        {flags}) COMPREPLY=({reply}); return ;;")
        words.append(f'        "{path}") words="{" ".join(_words(command))}" ;;')
    return f"""\
# Completion of codeq for bash.
_codeq() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} path="" words="" at
    for ((at = 1; at < COMP_CWORD; at++)); do
        case "$path|${{COMP_WORDS[at]}}" in
        {"|".join(steps)}) path="${{path:+$path }}${{COMP_WORDS[at]}}" ;;
        esac
    done
    case "$path|$before" in
{_lines(values)}
    esac
    case "$path" in
{_lines(words)}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o bashdefault -o default -F _codeq codeq
"""


def zsh(root: Command) -> str:
    """A script for zsh; sourced, or put as `_codeq` into a folder of `fpath`."""
    steps, values, offers = [], [], []
    for command in root.walk():
        path = " ".join(command.path)
        steps += [f'"{path}|{child.path[-1]}"' for child in command.children]
        for option in _with_value(command):
            flags = "|".join(f'"{path}|{flag}"' for flag in option.flags)
            if option.choices:
                reply = f"compadd -- {' '.join(option.choices)}"
            else:
                reply = "_files" if option.is_file else f"_message {_quoted(option.value)}"
            values.append(f"        ({flags}) {reply}; return ;;")
        described = [_described(child.path[-1], child.help) for child in command.children]
        described += [_described(choice, "") for choice in _choices(command)]
        described += [_described(flag, option.help) for option in command.options for flag in option.flags]
        offers.append(f'        "{path}") offers=({" ".join(described)}) ;;')
    return f"""\
#compdef codeq
# Completion of codeq for zsh.
_codeq() {{
    local path_of="" word
    local -a offers
    for word in "${{(@)words[2,CURRENT-1]}}"; do
        case "$path_of|$word" in
        ({"|".join(steps)}) path_of="${{path_of:+$path_of }}$word" ;;
        esac
    done
    case "$path_of|${{words[CURRENT-1]}}" in
{_lines(values)}
    esac
    case "$path_of" in
{_lines(offers)}
    esac
    _describe codeq offers || _files
}}
if [ "${{funcstack[1]}}" = _codeq ]; then _codeq "$@"; else compdef _codeq codeq; fi
"""


def fish(root: Command) -> str:
    """A script for fish; sourced, or put as `codeq.fish` into its folder of completions."""
    steps = [f"'{' '.join(command.path)}|{child.path[-1]}'" for command in root.walk() for child in command.children]
    lines = []
    for command in root.walk():
        at = f'complete -c codeq -n "__codeq_at {_quoted(" ".join(command.path))}"'
        lines += [f"{at} -f -a {child.path[-1]} -d {_quoted(child.help)}" for child in command.children]
        lines += [f"{at} -f -a {choice}" for choice in _choices(command)]
        for option in command.options:
            names = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags)
            value = ""
            if option.value:
                value = f" -x -a {_quoted(' '.join(option.choices))}" if option.choices else " -x"
                value = " -r -F" if option.is_file else value
            lines.append(f"{at} {names}{value} -d {_quoted(option.help)}")
    return f"""\
# Completion of codeq for fish.
function __codeq_at
    set -l at ''
    for word in (commandline -opc)[2..-1]
        switch "$at|$word"
            case {" ".join(steps)}
                set at (string trim -- "$at $word")
        end
    end
    test "$at" = "$argv[1]"
end
{_lines(lines)}
"""


SHELLS: Final[dict[str, Callable[[Command], str]]] = {"bash": bash, "zsh": zsh, "fish": fish}


def _with_value(command: Command) -> Iterable[Argument]:
    return (option for option in command.options if option.value)


def _words(command: Command) -> list[str]:
    return [
        *(child.path[-1] for child in command.children),
        *_choices(command),
        *(flag for option in command.options for flag in option.flags),
    ]


def _choices(command: Command) -> list[str]:
    """The values that arguments by place may have."""
    return [choice for place in command.places for choice in place.choices]


def _described(word: str, text: str) -> str:
    return _quoted(f"{word}:{text.replace(':', ' ')}" if text else word)


def _quoted(text: str) -> str:
    """In single quotes, in which these shells read everything as it stands; quotes of the text become typographic."""
    return "'" + text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}").replace("\\", "/") + "'"


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)
