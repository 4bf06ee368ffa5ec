"""The table of limits, run against the API."""

import pytest

from tests.api.limits import Case, cases
from tests.api.support import START_MS, Node

TABLE = cases(START_MS)


def test_the_names_in_the_table_are_unique() -> None:
    names = [case.name for case in TABLE]
    assert len(set(names)) == len(names)
    assert len(names) > 150


@pytest.mark.parametrize("case", TABLE, ids=[case.name for case in TABLE])
def test_a_limit_holds(case: Case) -> None:
    node = Node()
    node.create()
    finished = node.claim()["id"]
    node.act(finished, "result", {"status": "COMPLETED"})
    node.create()
    claimed = node.claim(leaseSeconds=60)["id"]
    node.create()
    before = [dict(table) for table in node.store.tables]

    path, _, query = case.path.format(claimed=claimed, finished=finished).partition("?")
    headers = {name.lower().encode(): value.encode() for name, value in case.headers}
    answer = node.call(case.method, path, case.body, case.token, headers=headers, query=query)

    assert answer.status == case.status, answer.body
    if case.code:
        assert answer.json == {"code": case.code, "message": answer.json["message"]}
        assert node.store.tables == before
