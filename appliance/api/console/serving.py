"""Serves the console: which file is at which path, and the headers that fence the page in.

Owns the paths at and below `/console`, and what a browser may do there. Must not know what the page shows, nor tokens:
the page is the same for everybody, and reads everything over the admin API with the token that somebody pastes. A
request is never authorised by something that a browser adds by itself (no cookies, no client state), so another site
can't act in an operator's name.
"""

from collections.abc import Callable
from functools import partial
from importlib.resources import files
from typing import Final

from appliance.mux.exchange import Headers, Request, Response

PATH: Final = "/console"
PAGE: Final = "page.html"

CONTENT_TYPES: Final = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
"""By the end of a file's name; other files are not served."""

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # A task's payload is whatever somebody sent: no text can become markup or a script, whatever the page does.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)

HEADERS: Final[Headers] = (
    (b"Content-Security-Policy", POLICY.encode()),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"X-Frame-Options", b"DENY"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"Cross-Origin-Opener-Policy", b"same-origin"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
    (b"Cache-Control", b"no-store"),
)
"""`no-store` also keeps browsers from freezing the page, with the token in its memory, behind the back button."""

Handle = Callable[[Request], Response]


def console_files() -> dict[str, Handle]:
    """What is at which path. The files are read here, once. Raises OSError where the package is not whole."""
    found: dict[str, Handle] = {}
    for file in files(__package__).iterdir():
        suffix = file.name[file.name.rfind(".") :]
        content_type = CONTENT_TYPES.get(suffix)
        if content_type is not None:
            handle = partial(_file, file.read_bytes(), content_type)
            if file.name == PAGE:
                found[PATH] = found[PATH + "/"] = handle
            else:
                found[f"{PATH}/{file.name}"] = handle
    if PATH not in found:
        raise FileNotFoundError(f"{PAGE} is missing in the package {__package__}")
    return found


def _file(content: bytes, content_type: bytes, _request: Request) -> Response:
    return Response(200, content, HEADERS, content_type)
