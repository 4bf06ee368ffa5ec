"""The state table is complete, and each of its edges makes sense by itself."""

from random import Random

from appliance import errors
from appliance.tasks import table
from appliance.tasks.table import EDGES, REFUSAL_MESSAGES, TABLE

STATES = (table.ABSENT, table.READY, table.DELAYED, table.CLAIMED, *table.TERMINAL_STATES)
ASKED = (table.CREATE, *table.OWNER_EVENTS, table.CANCEL, table.REQUEUE, table.PURGE)
OWN = {
    # Events of our own making, which come only in the states that they are for.
    table.DUE: {table.DELAYED},
    table.CLAIM: {table.READY},
    table.EXPIRE: {table.CLAIMED},
    table.REBASE: {table.CLAIMED, table.DELAYED},
    table.SWEEP: set(table.TERMINAL_STATES),
}


def test_what_clients_ask_for_has_an_edge_in_every_state() -> None:
    known = {(edge.state, edge.event) for edge in EDGES}
    assert [(state, event) for state in STATES for event in ASKED if (state, event) not in known] == []


def test_what_we_do_ourselves_has_an_edge_exactly_where_it_can_happen() -> None:
    known = {(edge.state, edge.event) for edge in EDGES if edge.event not in ASKED}
    assert known == {(state, event) for event, states in OWN.items() for state in states}


def test_edges_are_numbered_in_their_order() -> None:
    assert [edge.number for edge in EDGES] == list(range(len(EDGES)))
    assert all(TABLE[edge.state, edge.event, edge.guard] is edge for edge in EDGES)
    assert len({edge.name for edge in EDGES}) == len(EDGES)


def test_a_refusal_changes_nothing_and_says_why() -> None:
    for edge in EDGES:
        if edge.refusal:
            assert (edge.next, edge.attempts, edge.deliveries, edge.owner) == (edge.state, 0, 0, "keep"), edge
            assert edge.refusal in errors.STATUS
            assert edge.refusal in REFUSAL_MESSAGES


def test_only_a_claim_counts_and_only_an_abandon_gives_back() -> None:
    for edge in EDGES:
        assert edge.deliveries == (edge.event == table.CLAIM), edge
        gives_back = edge.event == table.ABANDON and edge.state == table.CLAIMED and edge.next in table.WAITING_STATES
        assert edge.attempts == (1 if edge.event == table.CLAIM else -1 if gives_back else 0), edge


def test_a_finished_task_leaves_its_state_only_by_the_sweep_or_an_operator() -> None:
    leaving = {
        (edge.state, edge.event) for edge in EDGES if edge.state in table.TERMINAL_STATES and edge.next != edge.state
    }
    by_operators = {(table.DLQ, table.REQUEUE), (table.DLQ, table.PURGE)}
    assert leaving == {(state, table.SWEEP) for state in table.TERMINAL_STATES} | by_operators


def test_a_task_that_returns_to_its_queue_has_no_owner() -> None:
    for edge in EDGES:
        if edge.next in table.WAITING_STATES and edge.state in (table.CLAIMED, table.DLQ) and edge.next != edge.state:
            assert edge.owner == "drop", edge


def test_a_walk_along_the_edges_reaches_every_state_and_every_move() -> None:
    rng = Random(1)
    moves = [edge for edge in EDGES if not edge.refusal]
    taken: set[int] = set()
    state = table.ABSENT
    for _ in range(20_000):
        edge = rng.choice([edge for edge in moves if edge.state == state])
        taken.add(edge.number)
        state = edge.next
    assert taken == {edge.number for edge in moves}
