"""The invariants of the queue, each group in a module of its own, named with its numbers."""

from tests.simulation.invariants.q01_q02_presence import Presence
from tests.simulation.invariants.q03_keys import Keys
from tests.simulation.invariants.q04_ids import Ids
from tests.simulation.invariants.q05_q06_leases import Leases
from tests.simulation.invariants.q07_q19_hostile import Hostile
from tests.simulation.invariants.q08_durable_answers import DurableAnswers
from tests.simulation.invariants.q09_q10_finished import Finished
from tests.simulation.invariants.q11_q12_attempts import Attempts
from tests.simulation.invariants.q13_q14_store import WholeStore
from tests.simulation.invariants.q15_delays import Delays
from tests.simulation.invariants.q16_q17_order import Order
from tests.simulation.invariants.q18_batches import Batches
from tests.simulation.invariants.q22_clocks import Clocks
from tests.simulation.invariants.q23_retention import Retention
from tests.simulation.invariants.q24_q27_webhooks import Webhooks
from tests.simulation.invariants.q30_operators import Operators
from tests.simulation.invariants.sessions import Sessions
from tests.simulation.world import Watcher, World


def all_invariants(world: World) -> list[Watcher]:
    """One of each."""
    return [
        Presence(world),
        Keys(world),
        Ids(world),
        Leases(world),
        Hostile(world),
        DurableAnswers(world),
        Finished(world),
        Attempts(world),
        WholeStore(world),
        Delays(world),
        Order(world),
        Batches(world),
        Clocks(world),
        Retention(world),
        Sessions(world),
        Operators(world),
        Webhooks(world),
    ]
