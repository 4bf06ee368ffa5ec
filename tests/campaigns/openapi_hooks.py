"""What the description of REST cannot say, for the generated requests.

A wait is never long, and an integer is written as one: `7.0` is an integer to JSON Schema and none to the node.
Loaded by schemathesis; it imports nothing else of the tests.
"""

from typing import Any, Final

import schemathesis

WAIT_SECONDS_MAX: Final = 60


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Change what is valid to what the node takes at once; wrong requests stay wrong."""
    for part in (case.body, case.query):
        if isinstance(part, dict):
            for name, value in part.items():
                if isinstance(value, float) and value.is_integer():
                    part[name] = value = int(value)
                if name == "waitSeconds" and str(value).isdigit() and 0 < int(value) <= WAIT_SECONDS_MAX:
                    part[name] = 0
