"""The description of REST at `/openapi.json`: OpenAPI 3.1, made from what the node really does.

Paths, methods, tokens and scopes come from the table of routes; bodies and answers from the types that read and write
them; limits from the constants that they are checked against. What none of these says, a summary or which statuses an
operation has, is in `operations`. Pure functions; nothing here runs while requests are served.
"""
