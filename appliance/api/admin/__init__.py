"""The routes of operators: queues, dead letters, tasks, tenants, the audit and the node."""
