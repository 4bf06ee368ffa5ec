"""Scrapes: fresh at first and when asked for slowly, old when asked for all the time, and never too much work."""

from appliance.scrape import SAVED_SECONDS, SHARE, Scrape

COST_SECONDS = 0.1


class Renderer:
    """Takes a while for each text, all of which are different."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.texts = 0

    def clock(self) -> float:
        return self.now

    def render(self) -> bytes:
        self.now += COST_SECONDS
        self.texts += 1
        return b"%d" % self.texts


def test_whoever_asks_slowly_gets_a_fresh_text_each_time() -> None:
    renderer = Renderer()
    scrape = Scrape(renderer.render, renderer.clock)
    for number in range(1, 50):
        assert scrape.text() == b"%d" % number
        renderer.now += 15


def test_scrapes_that_arrive_together_get_one_text() -> None:
    renderer = Renderer()
    scrape = Scrape(renderer.render, renderer.clock)
    assert {scrape.text() for _ in range(64)} == {b"1"}
    renderer.now += COST_SECONDS
    assert scrape.text() == b"2"


def test_a_flood_gets_an_old_text_and_takes_its_share_of_the_time_at_most() -> None:
    renderer = Renderer()
    scrape = Scrape(renderer.render, renderer.clock)
    began = renderer.now
    for _ in range(100_000):
        assert scrape.text() == b"%d" % renderer.texts
        renderer.now += 0.001
    spent = renderer.texts * COST_SECONDS
    assert spent <= SAVED_SECONDS + (renderer.now - began) * SHARE + COST_SECONDS
    assert spent >= (renderer.now - began) * SHARE / 2
    renderer.now += 60
    fresh = renderer.texts + 1
    assert scrape.text() == b"%d" % fresh
