"""The promises around a request and its response."""

import json
from typing import Any

import pytest

from appliance import errors
from appliance.mux.exchange import Request, Response, problem_response


class RecordingChannel:
    """A connection that only takes notes."""

    def __init__(self) -> None:
        self.answers: list[Response] = []
        self.abandoned_count = 0
        self.holds = 0

    def answer(self, request: Request, response: Response) -> None:
        self.answers.append(response)

    def abandoned(self, request: Request) -> None:
        self.abandoned_count += 1

    def hold(self) -> None:
        self.holds += 1

    def release(self) -> None:
        self.holds -= 1


def make(channel: Any) -> Request:
    return Request(channel, "GET", "/", "", {}, b"", "192.0.2.1", False, "id-1", 0.0)


def test_a_request_is_answered_once_and_only_once() -> None:
    channel = RecordingChannel()
    request = make(channel)
    request.respond(Response(200))
    assert [each.status for each in channel.answers] == [200]
    assert request.answered and not request.closed
    with pytest.raises(RuntimeError):
        request.respond(Response(200))


def test_the_handler_hears_once_that_the_client_has_gone() -> None:
    channel, heard = RecordingChannel(), []
    request = make(channel)
    request.on_closed = lambda: heard.append(request.closed)
    assert request.client_left()
    request.client_left()
    request.respond(Response(200))
    assert heard == [True]
    assert not channel.answers and not channel.abandoned_count


def test_a_late_answer_of_a_handler_that_did_not_listen_releases_its_place() -> None:
    channel = RecordingChannel()
    request = make(channel)
    assert not request.client_left()
    request.respond(Response(200))
    request.respond(Response(200))
    assert channel.abandoned_count == 1 and not channel.answers


def test_an_answered_request_does_not_hear_of_the_client_leaving() -> None:
    request = make(RecordingChannel())
    request.on_closed = lambda: pytest.fail("told after the answer")
    request.respond(Response(200))
    assert request.client_left()


def test_a_hold_is_released_once() -> None:
    channel = RecordingChannel()
    request = make(channel)
    first, second = request.hold(), request.hold()
    assert channel.holds == 2
    first()
    first()
    assert channel.holds == 1
    second()
    assert channel.holds == 0


def test_a_problem_becomes_code_message_and_retry_after() -> None:
    response = problem_response(errors.unavailable("later", retry_after_seconds=3))
    assert response.status == 503
    assert json.loads(response.body) == {"code": "unavailable", "message": "later"}
    assert response.headers == ((b"Retry-After", b"3"),)
