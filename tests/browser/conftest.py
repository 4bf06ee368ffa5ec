"""A browser, a node and a signed-in page for each test of the console.

Only `tests/browser/run.sh` has what drives a browser; without it these tests are not collected.
"""

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from tests.browser.operator import Operator
from tests.e2e.node import Node

collect_ignore_glob = [] if find_spec("playwright") else ["test_*.py"]

QUICK: Final = {
    "CODEQ_TASKS_BACKOFF_BASE_SECONDS": "0",
    "CODEQ_WEBHOOKS_ALLOW_PRIVATE": "true",
    "CODEQ_WEBHOOKS_BACKOFF_BASE_SECONDS": "1",
    "CODEQ_WEBHOOKS_BACKOFF_CAP_SECONDS": "1",
}
WIDE: Final = {"width": 1000, "height": 560}

_numbers = count(1)


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with TLS for all tests, each of which has a tenant of its own."""
    one = Node(tmp_path_factory.mktemp("node"), environ=QUICK).up()
    try:
        yield one
        one.stop()
    finally:
        one.kill()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        # As root, which is who runs this in a container, Chromium refuses to start with its sandbox.
        sandbox = os.geteuid() != 0
        one = driver.chromium.launch(executable_path=os.environ["CODEQ_CHROMIUM"], chromium_sandbox=sandbox)
        yield one
        one.close()


@pytest.fixture
def operator(node: Node, browser: Any, request: pytest.FixtureRequest) -> Iterator[Operator]:
    """An operator of a tenant of the test's own, in front of the page. Fails where the page made a mistake, or tried
    what its policy forbids."""
    options = getattr(request, "param", {})
    context = browser.new_context(
        **{"viewport": WIDE, "ignore_https_errors": True, "locale": "en-GB", "timezone_id": "UTC", **options}
    )
    context.set_default_timeout(15_000)
    one = Operator(node, f"shop-{next(_numbers)}", context)
    try:
        yield one
        assert one.mistakes == []
    finally:
        context.close()
        one.user.client.close()


@pytest.fixture
def picture() -> Callable[[Operator, str], None]:
    """Takes a picture for the documents, where `--screenshots` was given."""
    folder = os.environ.get("CODEQ_SCREENSHOTS")

    def take(operator: Operator, name: str) -> None:
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            operator.page.screenshot(path=str(Path(folder) / f"{name}.png"))

    return take
