"""One worker stream of stock gRPC, to see whether it lives."""

import queue
from collections.abc import Iterator
from typing import Final

import grpc

from appliance.api.streams.app import WORKER_PATH
from appliance.api.streams.wire import worker_pb2 as wb
from tests.systemd.traffic import HOST, Node

HEAR_SECONDS: Final = 20.0


class WorkerStream:
    """Opened at once; `close` it at the end."""

    def __init__(self, node: Node, name: str) -> None:
        credentials = grpc.ssl_channel_credentials(node.authority.encode())
        self._channel = grpc.secure_channel(f"{HOST}:{node.port}", credentials)
        self._sent: queue.SimpleQueue[wb.WorkerEvent | None] = queue.SimpleQueue()
        open_stream = self._channel.stream_stream(
            WORKER_PATH,
            request_serializer=lambda event: event.SerializeToString(),
            response_deserializer=wb.ServerEvent.FromString,
        )
        self._call = open_stream(iter(self._sent.get, None))
        self._heard: Iterator[wb.ServerEvent] = iter(self._call)
        self._sent.put(wb.WorkerEvent(hello=wb.Hello(token=node.worker, worker_id=name)))
        next(self._heard)

    def task(self, command: str) -> str:
        """Ask for a task of `command` and wait for it: its id."""
        self._sent.put(wb.WorkerEvent(ready=wb.Ready(commands=[command], lease_seconds=60)))
        while True:
            event = next(self._heard)
            if event.HasField("task"):
                return str(event.task.task.id)

    def ask(self, command: str) -> None:
        """Ask for a task of `command`, without waiting."""
        self._sent.put(wb.WorkerEvent(ready=wb.Ready(commands=[command], lease_seconds=60)))

    def complete(self, task: str) -> None:
        """Give a result and wait for its acknowledgement."""
        self._sent.put(wb.WorkerEvent(result=wb.Result(task_id=task, status="COMPLETED")))
        next(self._heard)

    @property
    def alive(self) -> bool:
        """Whether the stream goes on."""
        return bool(self._call.is_active())

    def end(self) -> str:
        """Wait for the end of the stream; its status."""
        try:
            for _ in self._heard:
                pass
        except grpc.RpcError:
            pass
        return str(self._call.code().name)

    def close(self) -> None:
        """Let go of it."""
        self._sent.put(None)
        self._channel.close()
