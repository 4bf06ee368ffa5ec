"""What is made from the parsers: completion, manual pages, the reference."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.cli import completion, reference, status
from appliance.cli.main import COMMANDS, main
from appliance.cli.man import pages
from appliance.cli.tree import whole

ROOT = Path(__file__).resolve().parents[2]
Captured = pytest.CaptureFixture[str]


def test_the_tree_has_every_command_and_says_what_each_argument_is_for() -> None:
    root = whole()
    assert [command.path for command in root.children] == [(name,) for name in COMMANDS]
    for command in root.walk():
        assert command.help or command is root, command.name
        for argument in (*command.options, *command.places):
            assert argument.help, (command.name, argument)


def test_the_reference_is_current() -> None:
    assert (ROOT / "docs" / "cli.md").read_text() == reference.text(), (
        "python -m appliance.cli.reference > docs/cli.md renews it"
    )


def test_the_reference_explains_every_exit_status() -> None:
    rows = re.findall(r"^\| (\d+) \| \S", reference.text(), re.MULTILINE)
    assert [int(row) for row in rows] == list(status.MEANINGS)


def replies(script: Path, *words: str) -> list[str]:
    """What bash offers for the last of `words`."""
    program = (
        'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _codeq; '
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-euc", program, "bash", str(script), *words], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_options_and_values(tmp_path: Path, capsys: Captured) -> None:
    assert main(["completion", "bash"]) == status.OK
    script = tmp_path / "codeq.bash"
    script.write_text(capsys.readouterr().out)
    assert replies(script, "codeq", "ta") == ["task"]
    assert replies(script, "codeq", "task", "c") == ["create", "cancel"]
    assert replies(script, "codeq", "task", "list", "mail", "--st") == ["--status"]
    assert replies(script, "codeq", "task", "list", "--status", "d") == ["delayed", "dlq"]
    assert replies(script, "codeq", "serve", "--config", "README") == ["README.md"]
    assert replies(script, "codeq", "top", "--interval", "") == []
    assert replies(script, "codeq", "completion", "") == ["bash", "zsh", "fish"]
    assert replies(script, "codeq", "--version", "claim", "task", "--le") == ["--lease"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_every_command_and_option(shell: str, tmp_path: Path) -> None:
    script = completion.SHELLS[shell](whole())
    for command in whole().walk():
        for option in command.options:
            assert option.flags[-1].lstrip("-") in script
        assert " ".join(command.path) in script
    if shutil.which(shell):
        (tmp_path / "script").write_text(script)
        subprocess.run([shell, "-n", tmp_path / "script"], check=True)


def test_the_manual_has_a_page_for_each_command(tmp_path: Path, capsys: Captured) -> None:
    assert main(["man", str(tmp_path / "man1")]) == status.OK
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(COMMANDS)
    made = {path.name: path.read_text() for path in (tmp_path / "man1").iterdir()}
    for command in whole().walk():
        page = made["-".join(("codeq", *command.path[:1])) + ".1"]
        for option in command.options:
            assert option.flags[0].replace("-", r"\-") in page
    assert all(".SH NAME" in page and '.SH "EXIT STATUS"' in page for page in made.values())
    (tmp_path / "file").write_text("")
    assert main(["man", str(tmp_path / "file")]) == status.FAILURE


def test_no_line_of_a_page_is_taken_for_a_macro() -> None:
    macros = {".TH", ".SH", ".TP", ".PP", ".B", ".br"}
    for page in pages(whole(), "1.0-rc'1").values():
        for line in page.splitlines():
            assert not line.startswith(("'", ".")) or line.split()[0] in macros, line


def test_the_version_is_an_option_too(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == status.OK
    assert capsys.readouterr().out.startswith("codeq ")


def test_what_every_call_loads_is_little() -> None:
    program = (
        "import sys\nfrom appliance.cli.main import main\n"
        "try: main(['--version'])\nexcept SystemExit: pass\n"
        "print([name for name in ('asyncio', 'ssl', 'msgspec', 'yaml', 'cryptography', 'lmdb', 'codeq', "
        "'appliance.bench.options') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[]", done
