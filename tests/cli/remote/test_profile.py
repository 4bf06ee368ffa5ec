"""Which node is meant, and that no node gets the token of another."""

from pathlib import Path

import pytest

from appliance.cli.remote.profile import Chosen, Profile, ProfileError, file_path, resolve

FILE = """
default = "prod"
[profiles.prod]
url = "https://prod:8443/v1/codeq"
token = "prod-token"
ca = "~/ca.pem"
[profiles.stage]
url = "http://stage:8080"
token_file = "~/stage.token"
tenant = "acme"
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / ".config" / "codeq"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(FILE)
    (folder / "config.toml").chmod(0o600)
    (tmp_path / "stage.token").write_text("stage-token\n")
    return {"HOME": str(tmp_path)}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


def test_the_default_profile_counts_where_nothing_else_does(environ: dict[str, str], tmp_path: Path) -> None:
    found = resolve(Chosen(), environ)
    assert found == Profile("https://prod:8443", "prod-token", str(tmp_path / "ca.pem"))
    assert "prod-token" not in repr(found)


@pytest.mark.parametrize(
    ("chosen", "more"), [(Chosen(profile="stage"), {}), (Chosen(), {"CODEQ_PROFILE": "stage"})], ids=["option", "var"]
)
def test_a_profile_is_named_by_option_or_variable(
    environ: dict[str, str], chosen: Chosen, more: dict[str, str]
) -> None:
    assert resolve(chosen, environ | more) == Profile("http://stage:8080", "stage-token", tenant="acme")


def test_a_url_of_the_environment_never_gets_the_token_of_a_profile(environ: dict[str, str]) -> None:
    with pytest.raises(ProfileError, match="no token"):
        resolve(Chosen(), environ | {"CODEQ_URL": "https://other:1"})
    with pytest.raises(ProfileError, match="no token"):
        resolve(Chosen(url="https://other:1"), environ)
    variables = {"CODEQ_URL": "https://other:1/", "CODEQ_TOKEN": " t ", "CODEQ_CA": "/ca"}
    assert resolve(Chosen(), environ | variables) == Profile("https://other:1", "t", "/ca")


def test_a_profile_that_is_named_by_option_beats_the_environment(environ: dict[str, str]) -> None:
    variables = {"CODEQ_URL": "https://other:1/", "CODEQ_TOKEN": "t", "CODEQ_CA": "/ca"}
    assert resolve(Chosen(profile="stage"), environ | variables).token == "stage-token"


def test_options_beat_all(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    chosen = Chosen(profile="stage", url="https://x:1", token_file=str(tmp_path / "mine"), ca="/c", tenant="t")
    assert resolve(chosen, environ) == Profile("https://x:1", "mine", "/c", "t")


@pytest.mark.parametrize(
    ("content", "chosen", "message"),
    [
        ("", Chosen(), "no node is named"),
        ("", Chosen(profile="x"), r"no \[profiles.x\]"),
        ("x = ", Chosen(), "Invalid value"),
        ('default = "a"\n[profiles.a]\nurl = "u"\npassword = "p"', Chosen(), "password is not one of"),
        ('default = "a"\n[profiles.a]\nurl = 1', Chosen(), "each a string"),
        ('default = "a"\n[profiles.a]\nurl = "u"\ntoken_file = "/nowhere"', Chosen(), "can't be read"),
        ('default = "a"\n[profiles.a]\nurl = "u"', Chosen(), "no token"),
    ],
)
def test_what_is_wrong_is_said(environ: dict[str, str], content: str, chosen: Chosen, message: str) -> None:
    file_path(environ).write_text(content)
    with pytest.raises(ProfileError, match=message):
        resolve(chosen, environ)


def test_a_missing_file_matters_only_where_a_profile_is_named(tmp_path: Path) -> None:
    environ = {"HOME": "/nobody", "XDG_CONFIG_HOME": str(tmp_path)}
    assert file_path(environ) == tmp_path / "codeq" / "config.toml"
    with pytest.raises(ProfileError, match="no node is named"):
        resolve(Chosen(), environ)
    with pytest.raises(ProfileError, match="there is no"):
        resolve(Chosen(profile="a"), environ)


def test_a_token_that_others_may_read_is_pointed_out(
    environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    file_path(environ).chmod(0o644)
    resolve(Chosen(), environ)
    assert "chmod 600" in capsys.readouterr().err
