"""The codeq appliance: one process, one port, one directory. docs/architecture.md names the rooms."""

__version__ = "0.1.0"
