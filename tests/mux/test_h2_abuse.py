"""Counting without a connection: spans, shares and what is free."""

import pytest

from appliance.mux.h2_abuse import Abuse, CalmDownError, Rate
from appliance.mux.limits import Limits


def test_a_rate_begins_again_after_its_span() -> None:
    rate = Rate(3, 10.0, "h2-pings")
    for now in (0.0, 1.0, 2.0, 10.0, 11.0, 12.0):
        rate.hit(now)
    with pytest.raises(CalmDownError) as caught:
        rate.hit(13.0)
    assert caught.value.reason == "h2-pings"


def test_slow_resets_are_noticed_by_their_share_of_the_streams() -> None:
    abuse = Abuse(Limits())
    now = 0.0
    with pytest.raises(CalmDownError) as caught:
        for number in range(2_000):
            now += 1.0
            abuse.headers(20, True, now)
            if number % 5 < 3:
                abuse.reset(now)
    assert caught.value.reason == "h2-reset-share"
    assert 800 < now <= 1_000


def test_resets_of_less_than_half_of_the_streams_are_accepted() -> None:
    abuse = Abuse(Limits())
    for number in range(5_000):
        abuse.headers(20, True, float(number))
        if number % 5 < 2:
            abuse.reset(float(number))


def test_a_ping_that_follows_data_in_either_direction_is_free() -> None:
    abuse = Abuse(Limits())
    for _ in range(1_451):
        abuse.data(True, 0.0)
        abuse.ping(0.0)
        abuse.data_sent()
        abuse.ping(0.0)


def test_one_ping_in_ten_seconds_is_always_fine() -> None:
    abuse = Abuse(Limits())
    for number in range(1_000):
        abuse.ping(number * 10.0)


def test_window_updates_that_match_the_data_sent_are_fine() -> None:
    abuse = Abuse(Limits())
    for _ in range(20_000):
        abuse.data_sent()
        abuse.window_update()
        abuse.window_update()
