"""The version of the installed package. Must not load anything that takes time."""

from importlib.metadata import PackageNotFoundError, version


def package_version() -> str:
    """The version of the installed package, `unknown` when it runs from a bare source tree."""
    try:
        return version("codeq")
    except PackageNotFoundError:
        return "unknown"
