"""Whose turn it is: bounds hold, nobody waits for nothing, and lanes take turns."""

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from appliance.webhooks.lanes import Lanes


@dataclass(frozen=True)
class Parcel:
    tenant: str
    host: str
    number: int = 0


def drained(lanes: Lanes[Parcel]) -> list[Parcel]:
    taken = []
    while (parcel := lanes.next()) is not None:
        taken.append(parcel)
    return taken


def test_a_thousand_parcels_for_one_slow_host_leave_the_others_alone() -> None:
    lanes: Lanes[Parcel] = Lanes(64, 8)
    for number in range(1_000):
        lanes.add(Parcel("a", "slow", number))
    lanes.add(Parcel("a", "quick"))
    lanes.add(Parcel("b", "quick"))
    taken = drained(lanes)
    assert Counter(each.host for each in taken) == {"slow": 8, "quick": 2}
    assert [each.number for each in taken if each.host == "slow"] == list(range(8))


def test_a_tenant_with_a_thousand_hosts_has_half_of_all_calls() -> None:
    lanes: Lanes[Parcel] = Lanes(16, 4)
    for number in range(1_000):
        lanes.add(Parcel("a", f"host-{number}"))
    assert len(drained(lanes)) == 8
    for number in range(100):
        lanes.add(Parcel("b", f"host-{number}"))
    assert len(drained(lanes)) == 8


def test_lanes_take_turns() -> None:
    lanes: Lanes[Parcel] = Lanes(100, 100)
    for host in ("x", "y"):
        for number in range(3):
            lanes.add(Parcel("a", host, number))
    assert [(each.host, each.number) for each in drained(lanes)] == [
        ("x", 0), ("y", 0), ("x", 1), ("y", 1), ("x", 2), ("y", 2),
    ]  # fmt: skip


def test_what_waits_is_bounded_in_total_and_per_tenant() -> None:
    lanes: Lanes[Parcel] = Lanes(1, 1, parked_max=5, parked_per_tenant_max=4)
    for _ in range(4):
        assert lanes.has_room_for("a")
        lanes.add(Parcel("a", "x"))
    assert not lanes.has_room_for("a") and lanes.has_room_for("b") and lanes.room() == 1
    assert not lanes.is_half_empty_for("a")
    for left in (3, 2):
        parcel = lanes.next()
        assert parcel is not None and lanes.is_half_empty_for("a") == (left <= 2)
        lanes.done(parcel)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.booleans()), max_size=60), st.data())
def test_bounds_hold_and_whoever_may_go_goes(steps: list[tuple[str, str, bool]], data: st.DataObject) -> None:
    lanes: Lanes[Parcel] = Lanes(4, 2)
    under_way: list[Parcel] = []
    waiting: list[Parcel] = []
    for number, (tenant, host, add) in enumerate(steps):
        if add or not under_way:
            parcel = Parcel(tenant, host, number)
            lanes.add(parcel)
            waiting.append(parcel)
        else:
            lanes.done(under_way.pop(data.draw(st.integers(0, len(under_way) - 1))))
        for parcel in drained(lanes):
            first = next(each for each in waiting if (each.tenant, each.host) == (parcel.tenant, parcel.host))
            assert parcel is first
            waiting.remove(parcel)
            under_way.append(parcel)
        tenants, hosts = Counter(each.tenant for each in under_way), Counter(each.host for each in under_way)
        assert len(under_way) == lanes.under_way <= 4 and len(waiting) == lanes.parked
        assert all(count <= 2 for count in (*tenants.values(), *hosts.values()))
        if len(under_way) < 4:
            assert not any(tenants[each.tenant] < 2 and hosts[each.host] < 2 for each in waiting)
