"""The task state machine: queues, leases, delays, retries, idempotency. Sans-IO: time and chance come in as arguments.

`table` is the state table as data, `moves` takes its edges, `machine`, `timers` and `interventions` judge which (for
clients, for time, for operators), `scheduler` decides what is decided when and answers once it is durable. Knows no
bytes on the wire, and not how a group becomes durable.
"""
