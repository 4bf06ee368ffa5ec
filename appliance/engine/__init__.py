"""The storage engine: tables, rows, groups of writes, and how they become durable. Knows no HTTP and no task logic."""
