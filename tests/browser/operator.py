"""An operator in front of the console: a page of a browser, a token, and tasks to look at.

Knows the page by what a person sees, labels and roles, never by the shape of its markup. The types of the browser's
driver are not known here, since it is installed for these tests alone.
"""

import time
from typing import Any

from appliance.auth.caller import PRODUCER
from appliance.auth.mint import Grant, mint, signing_key
from tests.e2e.node import Node
from tests.e2e.user import User


class Operator:
    """`context` is a fresh browser context; the page is open, and nobody has signed in."""

    def __init__(self, node: Node, tenant: str, context: Any) -> None:
        self.node = node
        self.tenant = tenant
        self.user = User(node, tenant)
        self.token = token(node, tenant)
        self.mistakes: list[str] = []
        self.requests: list[Any] = []
        self.page = context.new_page()
        self.page.on("pageerror", lambda error: self.mistakes.append(str(error)))
        self.page.on("console", self._heard)
        self.page.on("request", lambda request: self.requests.append(request))
        self.page.goto(node.url + "/console")

    def _heard(self, message: Any) -> None:
        # Chromium notes every refusal of a request; what the page makes of it is what tests look at.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.mistakes.append(message.text)

    # The page.

    def sign_in(self, token: str = "") -> None:
        """Paste a token."""
        self.page.get_by_label("Token").fill(token or self.token)
        self.page.get_by_role("button", name="Sign in").click()

    def at(self, view: str, token: str = "") -> "Operator":
        """Sign in and go to a view by its address, as behind `#/`."""
        self.sign_in(token)
        self.heading("Queues").wait_for()
        self.go(view)
        return self

    def go(self, view: str) -> None:
        """Another view."""
        self.page.evaluate("view => { location.hash = view; }", f"#/{view}")

    def heading(self, name: str) -> Any:
        return self.page.get_by_role("heading", name=name, level=1)

    def press(self, name: str, *, exact: bool = True) -> None:
        """A button."""
        self.page.get_by_role("button", name=name, exact=exact).click()

    def answer(self, name: str) -> None:
        """A button of the question that is asked."""
        self.page.get_by_role("dialog").get_by_role("button", name=name).click()

    def row(self, text: str) -> Any:
        return self.page.get_by_role("row").filter(has_text=text)

    def cell(self, text: str, label: str) -> Any:
        """A cell of the row with this text."""
        return self.row(text).locator(f'[data-label="{label}"]')

    def sees(self, text: str, role: str = "status") -> None:
        """Waits for a message."""
        self.page.get_by_role(role).filter(has_text=text).wait_for()

    # The tasks.

    def dead_letters(self, command: str, count: int, reason: str = "broken") -> list[str]:
        """So many new dead letters, which nothing else may be in."""
        items = [{"command": command, "payload": number, "maxAttempts": 1} for number in range(count)]
        for start in range(0, count, 1_000):
            self.user.post("/tasks/batch", items[start : start + 1_000], token=self.user.producer)
        ids: list[str] = []
        while len(ids) < count:
            claimed = self.user.post("/tasks/claim/batch", {"commands": [command], "count": 100}).json()["tasks"]
            for task in claimed:
                self.user.act("nack", task["id"], reason=reason)
                ids.append(task["id"])
        return ids

    def admin(self, path: str) -> Any:
        """What the administration says of this tenant."""
        response = self.user.get(f"/admin{path}", token=self.token)
        assert response.status_code == 200, response.text
        return response.json()


def token(node: Node, tenant: str, *, scopes: tuple[str, ...] = (), lifetime_seconds: int = 3_600) -> str:
    """A token that opens the administration."""
    grant = Grant(PRODUCER, "ann", tenant, lifetime_seconds, scopes=scopes, role="" if scopes else "ADMIN")
    return mint(signing_key(node.key(PRODUCER)), grant, time.time())
