"""The description of REST says what REST does."""

import json
from typing import Any

import pytest

from appliance.api import parse
from appliance.api.openapi.operations import OPERATIONS
from tests.api.support import Node


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    answer = Node().call("GET", "/openapi.json")
    assert (answer.status, answer.content_type) == (200, b"application/json")
    found: dict[str, Any] = json.loads(answer.body)
    return found


def test_every_route_is_described_and_nothing_else(described: dict[str, Any]) -> None:
    found = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    assert found == set(OPERATIONS)


def test_operations_have_ids_of_their_own() -> None:
    ids = [operation.id for operation in OPERATIONS.values()]
    assert len(ids) == len(set(ids))


def test_limits_are_those_that_are_checked(described: dict[str, Any]) -> None:
    fields = described["components"]["schemas"]["CreateBody"]["properties"]
    number = {"type": "integer", "minimum": 0, "maximum": parse.PRIORITY_MAX}
    assert fields["priority"] == {"anyOf": [number, {"type": "null"}]}
    assert fields["command"] == {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"}


def test_tokens_and_scopes_are_those_of_the_routes(described: dict[str, Any]) -> None:
    paths = described["paths"]
    assert paths["/v1/codeq/tasks"]["post"]["security"] == [{"producerToken": []}]
    assert paths["/v1/codeq/tasks/{id}/nack"]["post"]["security"] == [{"workerToken": ["codeq:nack"]}]
    assert paths["/v1/codeq/tasks/{id}"]["get"]["security"] == [{"producerToken": []}, {"workerToken": []}]
    assert paths["/v1/codeq/admin/node"]["get"]["security"] == [{"producerToken": ["codeq:admin"]}]
    assert "security" not in paths["/healthz"]["get"]


def test_every_reference_leads_somewhere(described: dict[str, Any]) -> None:
    text = json.dumps(described)
    schemas = described["components"]["schemas"]
    references = {part.split('"', 1)[0] for part in text.split('"#/components/schemas/')[1:]}
    assert references and references <= set(schemas)
