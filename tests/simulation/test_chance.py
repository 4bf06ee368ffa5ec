"""The generator of a run draws what `Random` draws."""

from random import Random

from tests.simulation.chance import Chance


def test_it_draws_what_random_draws() -> None:
    ours, plain = Chance("seed"), Random("seed")
    for size in [*range(1, 70), 1_000, 1 << 20, 10**12] * 3:
        assert ours.randint(-5, size - 6) == plain.randint(-5, size - 6)
        assert ours.choice(range(size)) == plain.choice(range(size))
        assert ours.randrange(size) == plain.randrange(size)
        assert ours.random() == plain.random()
    assert ours.getstate() == plain.getstate()
