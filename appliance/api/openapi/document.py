"""The description put together, as one JSON text."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from appliance import errors
from appliance.api.openapi.fields import COMMAND, ID, Schema, date_answer, limit_body
from appliance.api.openapi.operations import OPERATIONS, TEXT, Operation
from appliance.api.render import ErrorJson, encode
from appliance.api.routes import Open, Route
from appliance.auth.caller import PRODUCER, WORKER
from appliance.auth.claims import NAME_BYTES_MAX

_REF: Final = "#/components/schemas/{name}"
_JSON: Final = "application/json"

_TOKENS: Final = {
    "producerToken": "a token signed by a producer key",
    "workerToken": "a token signed by a worker key, with the scope that the operation names",
}

_SHARED: Final = (errors.VALIDATION_ERROR, errors.UNAVAILABLE, errors.INTERNAL, errors.RATE_LIMITED)
"""Refusals that every operation with a token may give."""

_PARAMETERS: Final[dict[str, Schema]] = {
    "/tasks/{id}": ID,
    "/admin/tasks/{name}": ID,
    "/admin/queues/{name}": {"type": "string", **COMMAND},
    "/admin/tenants/{name}": {"type": "string", "minLength": 1, "maxLength": NAME_BYTES_MAX, "pattern": "^[!-~]+$"},
    "/workers/subscriptions/{id}": ID,
    "/admin/webhooks/{name}": ID,
}


def document(listed: Iterable[tuple[str, str, Route | Open]], version: str) -> bytes:
    """The description of these routes, for this version of the node. Raises KeyError for one that has no entry in
    `OPERATIONS`: whoever adds a route describes it."""
    routes = [(method, path, route) for method, path, route in listed if method != "HEAD"]
    schemas = _schemas(OPERATIONS[method, path] for method, path, _ in routes)
    paths: dict[str, Any] = {}
    for method, path, route in routes:
        paths.setdefault(path, {})[method.lower()] = _operation(path, route, OPERATIONS[method, path], schemas)
    return encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "codeq",
                "version": version,
                "summary": "A durable, multi-tenant task queue",
                "license": {"name": "MIT", "identifier": "MIT"},
            },
            "paths": paths,
            "components": {
                "schemas": schemas.components,
                "securitySchemes": {
                    name: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": text}
                    for name, text in _TOKENS.items()
                },
            },
        }
    )


class _Schemas:
    """Schemas by type; those of structs are components."""

    def __init__(self, types: list[Any], schemas: Iterable[Schema], components: dict[str, Schema]) -> None:
        self.components = components
        self._by_type = {str(kind): schema for kind, schema in zip(types, schemas, strict=True)}

    def of(self, kind: Any) -> Schema:
        return self._by_type[str(kind)]


def _schemas(operations: Iterable[Operation]) -> _Schemas:
    all_operations = list(operations)
    asked = [operation.body for operation in all_operations if operation.body is not None]
    answered = [
        kind
        for operation in all_operations
        for kind in operation.answers.values()
        if kind is not None and kind is not TEXT
    ]
    bodies, body_components = msgspec.json.schema_components(asked, ref_template=_REF)
    answers, components = msgspec.json.schema_components([*answered, ErrorJson], ref_template=_REF)
    for name, schema in body_components.items():
        limit_body(name, schema)
    for schema in components.values():
        date_answer(schema)
    return _Schemas([*asked, *answered, ErrorJson], [*bodies, *answers], {**components, **body_components})


def _operation(path: str, route: Route | Open, operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": _parameters(path, operation),
        "responses": _answers(route, operation, schemas),
    }
    if isinstance(route, Route):
        described["security"] = _security(route)
    if operation.body is not None:
        described["requestBody"] = {
            "required": not operation.optional_body,
            "content": {_JSON: {"schema": schemas.of(operation.body)}},
        }
    return {key: value for key, value in described.items() if value != []}


def _parameters(path: str, operation: Operation) -> list[dict[str, Any]]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", **schema}}
        for part, schema in _PARAMETERS.items()
        for name in ("id", "name")
        if part in path and f"{{{name}}}" in part
    ]
    return parameters + [
        {"name": query.name, "in": "query", "description": query.text, "schema": query.schema}
        for query in operation.query
    ]


def _security(route: Route) -> list[dict[str, list[str]]]:
    scopes = [route.scope] if route.scope else []
    if route.kind:
        return [{"producerToken" if route.kind == PRODUCER else "workerToken": scopes}]
    return [{name: []} for name in _TOKENS]


def _answers(route: Route | Open, operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for status, kind in operation.answers.items():
        answers[str(status)] = _answer(kind, schemas)
    if operation.link and (200 in operation.answers):
        for good in ("200", "201"):
            if good in answers:
                answers[good]["links"] = {
                    operation.link: {"operationId": operation.link, "parameters": {"id": "$response.body#/id"}}
                }
    by_status: dict[int, list[str]] = {}
    for code in _refusals(route, operation):
        by_status.setdefault(errors.STATUS[code], []).append(code)
    for status, codes in sorted(by_status.items()):
        answers[str(status)] = {
            "description": " or ".join(codes),
            "content": {_JSON: {"schema": schemas.of(ErrorJson)}},
        }
    return answers


def _answer(kind: Any, schemas: _Schemas) -> dict[str, Any]:
    if kind is None:
        return {"description": "there is none"}
    if kind is TEXT:
        return {"description": "text", "content": {"text/plain": {"schema": {"type": "string"}}}}
    return {"description": "done", "content": {_JSON: {"schema": schemas.of(kind)}}}


def _refusals(route: Route | Open, operation: Operation) -> list[str]:
    if isinstance(route, Open):
        return [errors.UNAVAILABLE]
    codes = [*_SHARED, errors.UNAUTHENTICATED, *operation.refusals]
    if route.scope or route.kind == WORKER:
        codes.append(errors.PERMISSION_DENIED)
    if any(query.name == "tenant" for query in operation.query):
        codes.append(errors.PERMISSION_DENIED)
    if route.has_body:
        codes += [errors.UNSUPPORTED_MEDIA_TYPE, errors.PAYLOAD_TOO_LARGE]
    return list(dict.fromkeys(codes))
