"""All attacks, in the order in which they are shown."""

from typing import Final

from tests.campaigns.abuse import calls, http2, slow, tls

ATTACKS: Final = (*http2.ATTACKS, *slow.ATTACKS, *calls.ATTACKS, *tls.ATTACKS)
"""What is played once, all side by side."""

FLOODS: Final = (tls.FLOOD, calls.FLOOD)
"""What is only played as a load, and last."""

EVERYTHING: Final = (*ATTACKS, *FLOODS)
