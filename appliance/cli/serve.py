"""`codeq serve`: run a node as its configuration says."""

import logging
import os
import sys

from appliance import log as logs
from appliance.cli import status
from appliance.cli.selfmade import completed
from appliance.config import ConfigError, Settings, load
from appliance.configfile import unknown_variables
from appliance.engine.faults import StoreError

log = logging.getLogger("codeq.serve")


def run(path: str) -> int:
    """Run until the node is told to stop; the exit status."""
    settings = loaded(path)
    if settings is None:
        return status.CONFIGURATION
    logs.configure(settings.log.format, settings.log.level)
    try:
        settings = completed(settings)
    except StoreError as error:
        log.critical("%s", error)
        return error.exit_status
    except (OSError, ValueError) as error:
        log.critical("no certificate or keys are configured, and none can be made: %s", error)
        return status.CONFIGURATION
    from appliance.app import run as run_node

    return run_node(settings, lambda: completed(load(path, os.environ)))


def loaded(path: str) -> Settings | None:
    """The settings at `path`, or None after the error was printed. Variables nobody reads are pointed out."""
    try:
        settings = load(path, os.environ)
    except ConfigError as error:
        print(f"codeq: {error}", file=sys.stderr)
        return None
    for name in unknown_variables(Settings, os.environ):
        print(f"codeq: {name} is set but names no setting", file=sys.stderr)
    return settings
