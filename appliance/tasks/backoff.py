"""How long a task waits before its next delivery: five policies, pure functions of the attempt and of one draw.

Jitter follows the comparison of "full" and "equal" jitter that is common in the field: full draws from the whole
interval, equal keeps half of it fixed.
"""

from random import Random

from appliance.tasks.settings import TaskSettings

POLICIES = ("fixed", "linear", "exponential", "exp_full_jitter", "exp_equal_jitter")


def backoff_ms(settings: TaskSettings, attempts: int, rng: Random) -> int:
    """Milliseconds to wait after delivery number `attempts` (1 is the first) failed, never above the cap."""
    base, cap, policy = settings.backoff_base_ms, settings.backoff_cap_ms, settings.backoff_policy
    step = max(attempts, 1)
    if policy == "fixed":
        return min(base, cap)
    if policy == "linear":
        return min(base * step, cap)
    # 2 ** 40 times any base is above any cap; the bound keeps the number small.
    raised = min(base << min(step - 1, 40), cap)
    if policy == "exponential":
        return raised
    if policy == "exp_full_jitter":
        return rng.randint(0, raised)
    if policy == "exp_equal_jitter":
        return raised // 2 + rng.randint(0, raised - raised // 2)
    raise ValueError(f"unknown backoff policy {policy!r}")


ABANDONS_FREE = 2
ABANDON_BASE_MS = 1_000


def abandon_delay_ms(settings: TaskSettings, abandons: int) -> int:
    """Milliseconds to wait after the `abandons`-th abandon in a row: from the third on 1 s, doubling up to the cap."""
    if abandons <= ABANDONS_FREE:
        return 0
    return int(min(ABANDON_BASE_MS << min(abandons - ABANDONS_FREE - 1, 40), settings.backoff_cap_ms))
