"""The console without a browser: what is served, how it is fenced in, and that it asks only for what is there."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import pytest

from appliance.api.admin.routes import NAME, PREFIX
from appliance.api.console import serving
from tests.api.support import ADMIN, Answer, Node

ROOT: Final = Path(__file__).resolve().parents[3]
FOLDER: Final = Path(serving.__file__).parent
FILES: Final = sorted(path for path in FOLDER.iterdir() if path.suffix in serving.CONTENT_TYPES)
SCRIPTS: Final = [path for path in FILES if path.suffix == ".js"]

_EXTERNAL: Final = re.compile(r"(?:https?:)?//[\w.-]+\.\w")
_IMPORT: Final = re.compile(r'^import [^;]*? from "(.+?)";$|^import "', re.MULTILINE | re.DOTALL)
_CALL: Final = re.compile(r'\bcall\("(GET|POST|PUT)", ("[^"]+"|`[^`]+`|path)')
_PATH: Final = re.compile(r"const path = (`[^`]+`);")


def served(path: str, method: str = "GET") -> Answer:
    return Node().call(method, path)


def url(path: Path) -> str:
    return serving.PATH if path.name == serving.PAGE else f"{serving.PATH}/{path.name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_is_served_to_anybody_within_its_fence(path: Path) -> None:
    answer = served(url(path))
    assert (answer.status, answer.body) == (200, path.read_bytes())
    assert answer.content_type == serving.CONTENT_TYPES[path.suffix]
    assert answer.headers == dict(serving.HEADERS)
    assert served(url(path), "HEAD").status == 200


def test_the_page_is_also_at_its_path_with_a_slash() -> None:
    assert served("/console/").body == served("/console").body


def test_the_policy_lets_nothing_in_from_elsewhere_and_nothing_inline() -> None:
    rules = dict(rule.split(" ", 1) for rule in serving.POLICY.split("; "))
    assert rules["default-src"] == rules["frame-ancestors"] == rules["form-action"] == rules["base-uri"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in serving.POLICY and "data:" not in serving.POLICY
    headers = dict(serving.HEADERS)
    assert headers[b"X-Content-Type-Options"] == b"nosniff"
    assert headers[b"Referrer-Policy"] == b"no-referrer"
    assert headers[b"Cache-Control"] == b"no-store"


UNKNOWN: Final = (
    "nothing.js", "serving.py", "page.html", "__init__.py", "../metrics", "/app.js", "app.js/", "%61pp.js",
)  # fmt: skip


@pytest.mark.parametrize("path", ["/consoles", *(f"/console/{name}" for name in UNKNOWN)])
def test_what_is_no_file_of_the_console_is_not_found(path: str) -> None:
    assert served(path).status == 404


def test_the_console_is_only_read() -> None:
    answer = served("/console", "POST")
    assert (answer.status, answer.headers[b"Allow"]) == (405, b"GET, HEAD")


def test_the_description_of_the_api_has_no_console() -> None:
    assert b"/console" not in served("/openapi.json").body


def test_every_file_is_package_data() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]
    for path in FOLDER.iterdir():
        if path.is_file() and path.suffix != ".py":
            assert path.suffix in serving.CONTENT_TYPES, path
            assert any(fnmatch(path.name, pattern) for pattern in patterns["appliance.api.console"]), path


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_asks_for_anything_elsewhere(path: Path) -> None:
    text = path.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not _EXTERNAL.search(text)
    assert "url(" not in text and "@import" not in text


def test_the_page_has_no_script_and_no_style_of_its_own() -> None:
    text = (FOLDER / serving.PAGE).read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script[^>]*>[^<]", text)
    named = re.findall(r'(?:src|href)="(/[^"]*)"', text)
    assert named and all(served(each).status == 200 for each in named)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_has_no_way_to_markup_to_storage_or_to_code_from_text(path: Path) -> None:
    text = path.read_text()
    for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "DOMParser", "eval(", "Function(",
                 "localStorage", "sessionStorage", "indexedDB", "cookie", "console.", "window.name", "postMessage",
                 "window.open", "import("):  # fmt: skip
        assert word not in text, word


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_imports_what_is_there(path: Path) -> None:
    for name in _IMPORT.findall(path.read_text()):
        assert name.startswith("./") and (FOLDER / name) in SCRIPTS, name


def test_every_path_that_a_view_asks_for_is_a_route() -> None:
    node, asked = Node(), set()
    for script in SCRIPTS:
        text = script.read_text()
        own = _PATH.search(text)
        for method, quoted in _CALL.findall(text):
            path = own[1] if quoted == "path" and own else quoted
            if own:
                path = path.replace("${path}", own[1].strip("`"))
            path = re.sub(r"\$\{encodeURIComponent\(.*?\)\}", "some-name", path.strip('"`'))
            words = ["pause", "resume"] if script.name == "view_queue.js" else ["cancel", "requeue", "purge"]
            if path.startswith("dlq/"):
                words = ["requeue", "purge"]
            asked |= {(method, path.replace("${action}", word)) for word in words}
    assert len(asked) >= 16
    assert PREFIX.startswith(ADMIN) and NAME
    for method, path in asked:
        assert "$" not in path, path
        # Without a token the path and the method are judged alone.
        assert node.call(method, PREFIX + path).status == 401, (method, path)


def test_the_counters_that_rates_come_from_only_grow() -> None:
    node = Node()
    task = node.create("email")
    node.claim()
    node.act(task["id"], "result", {"status": "COMPLETED"})
    node.create("email")
    before = node.call("GET", ADMIN + "/queues/email", token="admin").json
    assert (before["created"], before["swept"], before["completed"]) == (2, 0, 1)
    node.pass_ms(25 * 3_600 * 1000)
    after = node.call("GET", ADMIN + "/queues/email", token="admin").json
    assert (after["created"], after["swept"], after["completed"]) == (2, 1, 0)
