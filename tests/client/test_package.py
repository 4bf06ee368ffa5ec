"""The package as a whole: what it may import, and that its generated code is current."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import codeq
from codeq._dial import Dialer
from codeq.errors import CodeqError, InternalError, QueuePaused, from_ack, from_status

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "codeq"
IMPURE = {
    "asyncio",
    "grpc",
    "http",
    "os",
    "random",
    "secrets",
    "select",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "time",
}


def imports(path: Path) -> set[str]:
    """The modules that a file imports, by their whole names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_client_knows_nothing_of_the_server(path: Path) -> None:
    assert not {name for name in imports(path) if name.split(".")[0] == "appliance"}


@pytest.mark.parametrize("path", sorted((PACKAGE / "_core").glob("*.py")), ids=lambda path: path.name)
def test_the_cores_have_no_socket_clock_thread_or_chance(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & (IMPURE | {"threading"})


def test_the_generated_code_is_current(tmp_path: Path) -> None:
    protos = ["producer.proto", "worker.proto"]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}"]
    subprocess.run([*command, f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", *protos], check=True)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert len(made) == 4
    for name, text in made.items():
        assert (PACKAGE / "_wire" / name).read_text() == text, f"./dev proto renews {name}"


def test_both_shells_have_the_same_names_and_options() -> None:
    import inspect

    for name in ("Producer", "Worker", "Admin"):
        plain, aio = getattr(codeq, name), getattr(codeq.aio, name)
        assert inspect.signature(plain).parameters.keys() == inspect.signature(aio).parameters.keys()
        public = {each for each in dir(plain) if not each.startswith("_")}
        assert public == {each for each in dir(aio) if not each.startswith("_")}


def test_all_public_names_are_there_and_documented() -> None:
    for name in codeq.__all__:
        assert getattr(codeq, name).__doc__, name


def test_rest_needs_no_grpc_and_streams_say_what_they_need() -> None:
    program = (
        "import sys; sys.modules['grpc'] = sys.modules['google.protobuf'] = None\n"
        "import codeq\n"
        "codeq.Admin('localhost:1', 'token', plaintext=True)\n"
        "try: codeq.Producer\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'codeq[client]'" in done.stdout
    with pytest.raises(AttributeError):
        codeq.nothing  # noqa: B018


def test_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


def test_acks_and_statuses_become_errors_with_their_codes() -> None:
    assert isinstance(from_ack("queue-paused: closed"), QueuePaused)
    assert str(from_ack("queue-paused: closed")) == "queue-paused: closed"
    assert isinstance(from_ack("nonsense"), InternalError)
    assert isinstance(from_ack(""), InternalError)
    assert from_ack("brand-new: x").code == "brand-new"
    assert isinstance(from_status("ABORTED", ""), codeq.Unavailable)
    assert isinstance(from_status("UNAUTHENTICATED", "no"), codeq.Unauthenticated)
    assert issubclass(codeq.LeaseLost, CodeqError)


def test_targets_are_read_in_every_form(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_bytes(b"pem")
    assert Dialer("a:1", "t", ca=None, plaintext=False).targets == ["a:1"]
    assert Dialer("https://[::1]:1/", "t", ca=authority, plaintext=False).ca == b"pem"
    assert Dialer("http://a:1", "t", ca=None, plaintext=False).plaintext
    assert Dialer(["a:1", "https://b:2"], "t", ca=b"x", plaintext=False).targets == ["a:1", "b:2"]
    for targets in ([], ["http://a:1", "https://b:2"]):
        with pytest.raises(codeq.ValidationError):
            Dialer(targets, "t", ca=None, plaintext=False)
    with pytest.raises(codeq.ValidationError):
        Dialer("https://a:1", "t", ca=None, plaintext=True)
    with pytest.raises(OSError):
        Dialer("a:1", "t", ca=tmp_path / "none.pem", plaintext=False)


def test_a_token_that_cannot_be_had_is_a_passing_trouble() -> None:
    def fail() -> str:
        raise KeyError("no token")

    with pytest.raises(codeq.Unavailable, match="no token"):
        Dialer("a:1", fail, ca=None, plaintext=False).token()
