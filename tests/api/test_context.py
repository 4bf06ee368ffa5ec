"""The boundary at which outcomes become responses."""

import logging
from typing import Never

import pytest

from appliance.api.context import answering
from appliance.engine.faults import DiskNotTrusted
from appliance.errors import NOT_FOUND, Problem
from appliance.mux.exchange import Request, Response
from tests.api.support import Client


def _request(client: Client) -> Request:
    return Request(client, "GET", "/", "", {}, b"", "127.0.0.1", True, "r1", 0.0)


def test_an_outcome_is_rendered_and_a_problem_is_itself() -> None:
    client = Client()
    answering(_request(client), lambda outcome, more: Response(200, outcome + more), b"b")(b"a")
    assert client.answer_once.body == b"ab"
    client = Client()
    answering(_request(client), lambda outcome: Response(200))(Problem(NOT_FOUND, "no"))
    assert client.answer_once.status == 404


def test_an_answer_that_cannot_be_made_is_a_500_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_outcome: object) -> Never:
        raise KeyError("secret")

    client = Client()
    with caplog.at_level(logging.ERROR, logger="codeq.api"):
        answering(_request(client), broken)(None)
    answer = client.answer_once
    assert (answer.status, answer.code) == (500, "internal")
    assert b"secret" not in answer.body
    assert caplog.records[0].__dict__["request_id"] == "r1"


def test_a_failure_of_the_store_goes_on_to_the_caller() -> None:
    def broken(_outcome: object) -> Never:
        raise DiskNotTrusted("gone")

    client = Client()
    with pytest.raises(DiskNotTrusted):
        answering(_request(client), broken)(None)
    assert not client.answered
