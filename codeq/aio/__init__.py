"""The client for an event loop: the names of `codeq`, with coroutines where `codeq` blocks."""

from codeq.aio._admin import Admin
from codeq.aio._producer import Producer
from codeq.aio._worker import Worker

__all__ = ["Admin", "Producer", "Worker"]
