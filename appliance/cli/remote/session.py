"""A command's session with a node: the client, and what its errors mean in plain words and as an exit status.

Owns the way from an error to a message. Must not know what a command does.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import codeq
from appliance.cli import status
from appliance.cli.progress import Progress
from appliance.cli.remote.profile import Chosen, Profile, ProfileError, from_environment

Item = TypeVar("Item")
Action = Callable[["Session"], int]

PAGE_ITEMS: Final = 1_000
"""The largest page that a node gives."""
STEP_ITEMS: Final = 10_000
"""The largest step of long work that a node takes."""
PAUSE_SECONDS: Final = 1.0
PAUSES_MAX: Final = 120
"""Long work waits this often for a node that is busy before it gives up."""

_STATUSES: Final = (
    (codeq.NotFound, status.NOT_THERE),
    (codeq.Unauthenticated, status.NOT_ALLOWED),
    (codeq.PermissionDenied, status.NOT_ALLOWED),
    (codeq.RateLimited, status.TRY_AGAIN),
    (codeq.Unavailable, status.TRY_AGAIN),
    (codeq.DeadlineExceeded, status.TRY_AGAIN),
)
_HINTS: Final = (
    ("CERTIFICATE_VERIFY_FAILED", "name the authority that signed the node's certificate with --ca or CODEQ_CA"),
    ("WRONG_VERSION_NUMBER", "the node speaks no TLS there: use http:// if that is what you want"),
    ("Connection refused", "nothing listens there: is the node running, and is this its port?"),
    ("Name or service not known", "there is no such host"),
)


class Session:
    """What a command needs: the node, its options, and how to print."""

    def __init__(self, admin: codeq.Admin, arguments: argparse.Namespace, profile: Profile) -> None:
        self.admin = admin
        self.arguments = arguments
        self.profile = profile
        self.tenant = profile.tenant
        self.as_json: bool = arguments.json

    def pages(self, ask: Callable[[int, str], codeq.Page[Item]]) -> Iterator[Item]:
        """The items of all pages, up to `--limit` where it is not 0. `ask` gets the size of a page and a cursor."""
        left = self.arguments.limit or sys.maxsize
        cursor = ""
        while left:
            page = ask(min(left, PAGE_ITEMS), cursor)
            yield from page.items[:left]
            left -= min(left, len(page.items))
            cursor = page.cursor
            if not cursor:
                return

    def steps(self, what: str, take: Callable[[int], codeq.Step], items_max: int = STEP_ITEMS) -> int:
        """Repeat a bounded step until there is no more, with progress; how many it was done to.

        `take` gets the size of a step, at most `items_max`. A node that is busy is waited for.
        """
        progress = Progress()
        left = self.arguments.limit or sys.maxsize
        done = pauses = 0
        while left:
            try:
                step = take(min(left, items_max))
            except (codeq.RateLimited, codeq.Unavailable):
                pauses += 1
                if pauses > PAUSES_MAX or not done:
                    raise
                time.sleep(PAUSE_SECONDS)
                continue
            done += step.count
            left -= min(left, step.count)
            if not step.more:
                break
            progress.counted(what, done)
        return done


def run(arguments: argparse.Namespace, action: Action) -> int:
    """Do `action` with the node that the arguments and the environment name; the exit status."""
    chosen = Chosen(
        arguments.profile or "",
        arguments.url or "",
        arguments.token_file or "",
        arguments.ca or "",
        getattr(arguments, "tenant", "") or "",
    )
    try:
        profile = from_environment(chosen)
    except ProfileError as error:
        return _complain(str(error), status.CONFIGURATION)
    try:
        admin = codeq.Admin(profile.url, profile.token, ca=profile.ca or None, timeout_seconds=arguments.timeout)
    except codeq.ValidationError as error:
        return _complain(error.message, status.CONFIGURATION)
    except (OSError, ValueError) as error:
        return _complain(f"the authority's certificate {profile.ca} can't be used: {error}", status.CONFIGURATION)
    try:
        return action(Session(admin, arguments, profile))
    except codeq.CodeqError as error:
        return _complain(words(error), status_of(error))


def words(error: codeq.CodeqError) -> str:
    """What went wrong, and what to do where that is known."""
    text = str(error)
    hint = next((hint for sign, hint in _HINTS if sign in text), "")
    return f"{text} ({hint})" if hint else text


def status_of(error: codeq.CodeqError) -> int:
    """The exit status for an error."""
    return next((number for kind, number in _STATUSES if isinstance(error, kind)), status.FAILURE)


def _complain(message: str, exit_status: int) -> int:
    print(f"codeq: {message}", file=sys.stderr)
    return exit_status
