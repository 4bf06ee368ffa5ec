"""`codeq worker run`: any program is a worker. It gets the task on its input and gives the result on its output.

Owns the life of the programs and what their exit statuses mean. The client package does the rest: claims, heartbeats,
repeats and the drain. Must not know how tasks travel. Runs on one event loop.

    0                         COMPLETED with the standard output as JSON; nothing there means null
    65                        FAILED for good, with the end of the standard error as the reason
    75, any other, a signal   the attempt failed: nack with the end of the standard error as the reason
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from appliance.cli import status

if TYPE_CHECKING:
    import codeq

EX_DATAERR: Final = 65
EX_TEMPFAIL: Final = 75
OUTPUT_BYTES_MAX: Final = 2 * 1024 * 1024
"""The largest result that a node can be configured for."""
REASON_BYTES_MAX: Final = 4_096
"""A node's limit for an error and for a reason."""
TERM_SECONDS: Final = 5.0
"""From SIGTERM to SIGKILL for a program whose task is lost."""
PIPE_SECONDS: Final = 1.0
"""For the rest of the output after the end of the program: what it started may hold the pipes open for ever."""
_READ_BYTES: Final = 65_536

log: Final = logging.getLogger("codeq")


def run(arguments: argparse.Namespace) -> int:
    """Work until SIGTERM or SIGINT; the exit status."""
    import codeq

    try:
        connect = codeq.Worker
    except ImportError as error:
        print(f"codeq: {error}", file=sys.stderr)
        return status.FAILURE
    program = shutil.which(arguments.program[0])
    if program is None:
        print(f"codeq: there is no program {arguments.program[0]}", file=sys.stderr)
        return status.FAILURE
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    token_file = Path(arguments.token_file)
    try:
        token_file.read_text(encoding="ascii")
        worker = connect(
            arguments.target,
            lambda: token_file.read_text(encoding="ascii").strip(),
            concurrency=arguments.concurrency,
            lease_seconds=arguments.lease_seconds,
            drain_seconds=arguments.drain_seconds,
            worker_id=arguments.worker_id,
            ca=arguments.ca,
            plaintext=arguments.plaintext,
        )
        commands = [command.strip() for command in arguments.commands.split(",")]
        worker.handler(*commands)(Runner([program, *arguments.program[1:]]).handle)
        worker.run()
    except (OSError, ValueError, codeq.CodeqError) as error:
        print(f"codeq: {error}", file=sys.stderr)
        return status.CONFIGURATION
    return status.OK


class Runner:
    """Runs one process of `command` for each task."""

    def __init__(self, command: list[str]) -> None:
        self._command = command

    async def handle(self, task: "codeq.Task") -> bytes:
        """The result of a task as JSON. Raises Fail or Nack as the exit status says."""
        from codeq import Abandon

        try:
            transport, process = await asyncio.get_running_loop().subprocess_exec(
                _Process,
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=_environment(task),
                start_new_session=True,  # a Ctrl-C in the terminal drains the worker and leaves its programs alone
            )
        except OSError as error:
            log.error("%s can't be started: %s", self._command[0], error)
            raise Abandon from error
        try:
            output, reason, too_long = await _talk(process, describe(task))
        finally:
            await _end(transport, process)
        exit_status = transport.get_returncode()
        assert exit_status is not None
        return judge(exit_status, output, reason, too_long=too_long)


class _Process(asyncio.subprocess.SubprocessStreamProtocol):
    """A process whose end is known when it ends, even if what it started holds its pipes open."""

    def __init__(self) -> None:
        super().__init__(limit=_READ_BYTES, loop=asyncio.get_running_loop())
        self.exited = asyncio.Event()

    def process_exited(self) -> None:
        super().process_exited()
        self.exited.set()


def judge(exit_status: int, output: bytes, reason: str, *, too_long: bool) -> bytes:
    """The result as JSON, or Fail or Nack. A negative exit status is a signal's number."""
    from codeq import Fail, Nack

    if exit_status == 0:
        if too_long:
            raise Fail(f"the output has more than {OUTPUT_BYTES_MAX} bytes")
        try:
            json.loads(output or b"null", parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise Fail(f"the output is no JSON: {error}") from error
        return output.strip() or b"null"
    said = f"signal {-exit_status}" if exit_status < 0 else f"exit status {exit_status}"
    text = f"{said}: {reason}" if reason else said
    if exit_status == EX_DATAERR:
        raise Fail(reason or text)
    raise Nack(reason=reason if exit_status == EX_TEMPFAIL and reason else text)


def describe(task: "codeq.Task") -> bytes:
    """The task as the program gets it: one JSON object and a newline, its payload byte for byte as created."""
    fields = {
        "id": task.id,
        "command": task.command,
        "priority": task.priority,
        "attempts": task.attempts,
        "maxAttempts": task.max_attempts,
        "tenantId": task.tenant_id,
        "workerId": task.worker_id,
        "leaseId": task.lease_id,
        "createdAt": task.created_at.isoformat().replace("+00:00", "Z"),
        "traceParent": task.trace_parent or None,
        "traceState": task.trace_state or None,
    }
    return json.dumps(fields, ensure_ascii=False)[:-1].encode() + b', "payload": ' + task.payload_json + b"}\n"


def _environment(task: "codeq.Task") -> dict[str, str]:
    trace = {"TRACEPARENT": task.trace_parent, "TRACESTATE": task.trace_state}
    return {**os.environ, **{name: value for name, value in trace.items() if value}}


async def _talk(process: _Process, task_json: bytes) -> tuple[bytes, str, bool]:
    """Give the task and take the output: its start, the end of the error output, and whether there was too much."""
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    output, tail = bytearray(), bytearray()
    pipes = [
        asyncio.create_task(_write(process.stdin, task_json)),
        asyncio.create_task(_read_start(process.stdout, output, OUTPUT_BYTES_MAX)),
        asyncio.create_task(_read_end(process.stderr, tail, REASON_BYTES_MAX)),
    ]
    try:
        await process.exited.wait()
        await asyncio.wait(pipes, timeout=PIPE_SECONDS)
    finally:
        for pipe in pipes:
            pipe.cancel()
    reason = tail.decode(errors="replace").strip()
    return bytes(output[:OUTPUT_BYTES_MAX]), reason, len(output) > OUTPUT_BYTES_MAX


async def _write(stream: asyncio.StreamWriter, data: bytes) -> None:
    # A program that does not read its input may have what it needs, or will say what is wrong by its exit status.
    with contextlib.suppress(ConnectionError):
        stream.write(data)
        await stream.drain()
    stream.close()


async def _read_start(stream: asyncio.StreamReader, into: bytearray, most: int) -> None:
    while chunk := await stream.read(_READ_BYTES):
        if len(into) <= most:
            into += chunk


async def _read_end(stream: asyncio.StreamReader, into: bytearray, most: int) -> None:
    while chunk := await stream.read(_READ_BYTES):
        into += chunk
        del into[:-most]


async def _end(transport: asyncio.SubprocessTransport, process: _Process) -> None:
    """End the program and what it started, politely first, unless it has ended; and let go of its pipes."""
    try:
        if not process.exited.is_set():
            _signal(transport, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TERM_SECONDS):
                    await process.exited.wait()
    finally:
        if not process.exited.is_set():
            _signal(transport, signal.SIGKILL)
            await process.exited.wait()
        transport.close()


def _signal(transport: asyncio.SubprocessTransport, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(transport.get_pid(), number)


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")
