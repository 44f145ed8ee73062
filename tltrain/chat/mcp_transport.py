"""Transports to MCP servers that bound the size of what a server sends.

The transports of the `mcp` package read messages of any length. Over stdio this module therefore reads the lines
itself; over HTTP it counts the bytes of every response on their way to the package's own transport.
"""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.abc
import httpx
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.streamable_http import streamable_http_client
from mcp.os.posix.utilities import terminate_posix_process_tree
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCMessage
from pydantic import ValidationError

from tltrain.chat.text import one_line

Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]
Report = Callable[[str], None]
"""Called with what is wrong with the server, before its connection is closed."""
MAX_STDERR = 2_000
"""Bytes of a server's error output that are kept, for messages."""
EXIT_SECONDS = 1.0
"""How long a server may take to end by itself."""


class ServerError(Exception):
    """What a server did wrong, as a verb phrase: `did not answer within 30 s`."""


class ServerOutput:
    """What a server wrote besides messages."""

    def __init__(self) -> None:
        self.junk = ""
        """The last line on its standard output that is no message."""
        self._errors = b""

    def add_errors(self, data: bytes) -> None:
        """Keep the end of the error output."""
        self._errors = (self._errors + data)[-MAX_STDERR:]

    @property
    def last_error(self) -> str:
        """The last line of the error output, with a leading colon; empty where there is none."""
        lines = [line for line in self._errors.decode("utf-8", "replace").splitlines() if line.strip()]
        return f": {one_line(lines[-1], 160)}" if lines else ""

    @property
    def no_messages(self) -> str:
        """What it wrote in place of messages, with a leading colon; empty where there is nothing."""
        return f": it wrote {one_line(self.junk, 120)!r}, which is no JSON-RPC message" if self.junk else ""


@asynccontextmanager
async def stdio_streams(
    command: Sequence[str], max_bytes: int, output: ServerOutput, report: Report
) -> AsyncIterator[Streams]:
    """Start a server as a process of its own group, which is ended with the context.

    Raises:
        ServerError: the command cannot be executed.
    """
    try:
        process = await anyio.open_process(list(command), start_new_session=True)
    except OSError as error:
        raise ServerError(f"cannot be started: {error.strerror}") from None
    to_session, from_server = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    to_server, from_session = anyio.create_memory_object_stream[SessionMessage](0)
    async with anyio.create_task_group() as tasks, from_server, to_server:
        tasks.start_soon(_read_messages, process, to_session, max_bytes, output, report)
        tasks.start_soon(_read_errors, process, output)
        tasks.start_soon(_write_messages, process, from_session)
        try:
            yield from_server, to_server
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process)
            tasks.cancel_scope.cancel()


async def _read_messages(
    process: anyio.abc.Process,
    to_session: MemoryObjectSendStream[SessionMessage | Exception],
    max_bytes: int,
    output: ServerOutput,
    report: Report,
) -> None:
    assert process.stdout is not None
    buffer = bytearray()
    async with to_session:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async for chunk in process.stdout:
                *ends, rest = chunk.split(b"\n")
                for end in ends:
                    await _pass_on(bytes(buffer) + end, to_session, output)
                    buffer.clear()
                buffer += rest
                if len(buffer) > max_bytes:
                    report(f"sent a message of more than {megabytes(max_bytes)}")
                    return
            with anyio.move_on_after(EXIT_SECONDS):  # so that the error output is complete
                await process.wait()
            report(f"ended{output.last_error}")


async def _pass_on(line: bytes, to_session: MemoryObjectSendStream[Any], output: ServerOutput) -> None:
    if not line.strip():
        return
    try:
        message = JSONRPCMessage.model_validate_json(line)
    except ValidationError:  # many servers log to their standard output
        output.junk = line[:200].decode("utf-8", "replace")
        return
    await to_session.send(SessionMessage(message))


async def _read_errors(process: anyio.abc.Process, output: ServerOutput) -> None:
    assert process.stderr is not None
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        async for chunk in process.stderr:
            output.add_errors(chunk)


async def _write_messages(process: anyio.abc.Process, messages: MemoryObjectReceiveStream[SessionMessage]) -> None:
    assert process.stdin is not None
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        async with messages:
            async for message in messages:
                text = message.message.model_dump_json(by_alias=True, exclude_none=True)
                await process.stdin.send(text.encode() + b"\n")


async def _end(process: anyio.abc.Process) -> None:
    """Close the server's input, as the protocol says, then terminate its process group, then kill it."""
    assert process.stdin is not None
    with suppress(OSError, anyio.BrokenResourceError), anyio.move_on_after(EXIT_SECONDS):
        await process.stdin.aclose()
        await process.wait()
    if process.returncode is None:
        await (terminate_posix_process_tree(process, EXIT_SECONDS) if os.name == "posix" else _kill(process))
    with anyio.move_on_after(EXIT_SECONDS):
        await process.aclose()


async def _kill(process: anyio.abc.Process) -> None:
    process.kill()


@asynccontextmanager
async def http_streams(url: str, max_bytes: int, seconds: float, report: Report) -> AsyncIterator[Streams]:
    """Connect to a server that speaks Streamable HTTP."""
    transport = _BoundedTransport(httpx.AsyncHTTPTransport(), max_bytes, report)
    headers = {"Accept-Encoding": "identity"}
    async with (
        httpx.AsyncClient(transport=transport, timeout=seconds, headers=headers) as client,
        streamable_http_client(url, http_client=client) as (from_server, to_server, _),
    ):
        yield from_server, to_server


class _BoundedTransport(httpx.AsyncBaseTransport):
    """Ends responses that are longer than `max_bytes`. Compressed ones are refused, since a few bytes of them may stand
    for any number."""

    def __init__(self, inner: httpx.AsyncBaseTransport, max_bytes: int, report: Report) -> None:
        self.inner, self.max_bytes, self.report = inner, max_bytes, report

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            response = await self.inner.handle_async_request(request)
        except httpx.TransportError as error:
            self.report(f"cannot be reached: {one_line(error)}")
            raise
        if response.headers.get("content-encoding", "identity") != "identity":
            self.report("sent a compressed response, which was not requested")
            await response.aclose()
            raise httpx.DecodingError("compressed response")
        if request.method == "POST" and response.status_code >= 400:
            self.report(f"answers with HTTP status {response.status_code}")
        assert isinstance(response.stream, httpx.AsyncByteStream)
        stream = _BoundedStream(response.stream, self.max_bytes, self.report)
        return httpx.Response(
            response.status_code, headers=response.headers, stream=stream, extensions=response.extensions
        )

    async def aclose(self) -> None:
        await self.inner.aclose()


class _BoundedStream(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream, max_bytes: int, report: Report) -> None:
        self.inner, self.max_bytes, self.report = inner, max_bytes, report

    async def __aiter__(self) -> AsyncIterator[bytes]:
        count = 0
        async for chunk in self.inner:
            count += len(chunk)
            if count > self.max_bytes:
                self.report(f"sent a response of more than {megabytes(self.max_bytes)}")
                raise httpx.ReadError("response too long")
            yield chunk

    async def aclose(self) -> None:
        await self.inner.aclose()


def megabytes(count: int) -> str:
    """A number of bytes as `4 MB`."""
    return f"{math.ceil(count / 1_000_000):,} MB" if count >= 1_000_000 else f"{count:,} bytes"
