"""A node in a world of its own: what names resolve to, and what counts as the public internet.

`python -m tests.campaigns.lying_node` takes the arguments of `codeq`. Names below `.example` resolve to PUBLIC, which
counts as a public address here; those that begin with `liar` do so every other time, and to PRIVATE in between. All
else of the node is as it is.
"""

import socket
import sys
from collections import Counter
from typing import Any, Final

PUBLIC: Final = "127.0.0.2"
PRIVATE: Final = "127.0.0.1"

_asked: Counter[str] = Counter()


def _resolve(real: Any) -> Any:
    def getaddrinfo(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if not str(host).endswith(".example"):
            return real(host, port, *rest, **more)
        _asked[host] += 1
        lies = str(host).startswith("liar") and _asked[host] % 2 == 0
        return real(PRIVATE if lies else PUBLIC, port, *rest, **more)

    return getaddrinfo


def main() -> None:
    """Change the world, then run the command."""
    from appliance import addresses

    public = addresses.is_public
    socket.getaddrinfo = _resolve(socket.getaddrinfo)
    addresses.is_public = lambda address: address == PUBLIC or public(address)

    from appliance.cli.main import main as codeq

    sys.exit(codeq())


if __name__ == "__main__":
    main()
