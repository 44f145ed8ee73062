"""The tools of a server that speaks the Model Context Protocol (MCP), with limits on its time and on what it sends.

A server is foreign code or a foreign machine: it may hang, end, send too much, or describe its tools wrongly. Before
the conversation that is an error of one line; during a call it becomes the call's result, as it would in production.
"""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp import ClientSession, McpError
from mcp.types import CallToolRequest, CallToolRequestParams, CallToolResult, ClientRequest, PaginatedRequestParams
from pydantic import ValidationError

from tltrain.audit.feedback import feedback_failed
from tltrain.audit.specifications import specification_problems
from tltrain.chat.mcp_transport import ServerError, ServerOutput, http_streams, stdio_streams
from tltrain.chat.text import one_line
from tltrain.chat.toolbox import error_result, limited
from tltrain.errors import ConfigError, ToolError
from tltrain.trajectory import Call, Tool

SECONDS = 30.0
"""How long a server may take to start, to list its tools, or to answer a call."""
MAX_BYTES = 4_000_000
"""Longest message or response that is read."""
MAX_TOOLS = 1_000
MAX_PAGES = 100
"""Of a list of tools: a server may go on for ever."""


@dataclass(frozen=True, slots=True)
class McpTools:
    """The tools of a connected server."""

    name: str
    tools: tuple[Tool, ...]
    portal: BlockingPortal
    connection: Connection
    system: str | None = None
    examples: tuple[str, ...] = ()

    def execute(self, call: Call) -> str:
        """See `Toolbox`. Arguments that violate the schema are sent: the server judges them itself."""
        if all(tool.name != call.name for tool in self.tools):
            return error_result(f"there is no tool named {call.name}")
        if not isinstance(call.arguments, dict):
            return error_result("the arguments are not a JSON object")
        try:
            return limited(self.portal.call(self.connection.call, call.name, call.arguments))
        except ServerError as error:
            return error_result(f"the MCP server {error}")


@contextmanager
def open_mcp(
    address: str, seconds: float = SECONDS, *, max_bytes: int = MAX_BYTES, warn: Callable[[str], None]
) -> Iterator[McpTools]:
    """Connect to a server; in the block its tools can be called.

    Args:
        address: a command, which is started and spoken to over stdio, or the URL of a Streamable HTTP server.
        seconds: how long the server may take for each answer.
        max_bytes: longest message that is read.
        warn: called with what is wrong with a tool that is left out.

    Raises:
        ConfigError: the command cannot be split into words.
        ToolError: the server does not start, answer in time, or list a valid tool.
    """
    name = f"MCP server {one_line(address, 80)}"
    connection = Connection(address, seconds, max_bytes)
    with _silent_logs(), start_blocking_portal() as portal:
        context = portal.wrap_async_context_manager(connection.open())
        try:
            context.__enter__()
        except Exception as error:  # those of the connection's tasks come in groups
            raise _readable(error, connection, name) from None
        try:
            yield McpTools(name, _listed(portal, connection, name, warn), portal, connection)
        finally:
            with suppress(Exception):  # of a server that fails at the end
                context.__exit__(None, None, None)


def _listed(portal: BlockingPortal, connection: Connection, name: str, warn: Callable[[str], None]) -> tuple[Tool, ...]:
    try:
        return _valid(portal.call(connection.list_tools), name, warn)
    except ServerError as error:
        raise ToolError(f"{name}: it {error}") from None


def _readable(error: BaseException, connection: Connection, name: str) -> Exception:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, ConfigError):
        return error
    fault = error if isinstance(error, ServerError) else connection.fault or f"failed: {one_line(error)}"
    return ToolError(f"{name}: it {fault}")


@contextmanager
def _silent_logs() -> Iterator[None]:
    """The package logs what servers do wrong, with tracebacks and their own words, on the root logger too; without a
    handler there that goes to stderr."""
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


class Connection:
    """A session with a server, used from the event loop's thread."""

    def __init__(self, address: str, seconds: float, max_bytes: int) -> None:
        self.address, self.seconds, self.max_bytes = address, seconds, max_bytes
        self.fault: str | None = None
        """Why the connection is of no use any more."""
        self._output = ServerOutput()
        self._scope: anyio.CancelScope | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Start the server or connect to it, and agree on the protocol.

        Raises:
            ServerError: it cannot be started, or does not answer.
        """
        async with (
            self._streams() as (from_server, to_server),
            ClientSession(from_server, to_server, message_handler=self._receive) as session,
        ):
            self._session = session
            await self._within_limits(session.initialize)
            yield

    def _streams(self) -> Any:
        if self.address.startswith(("http://", "https://")):
            return http_streams(self.address, self.max_bytes, self.seconds, self._report)
        try:
            command = shlex.split(self.address)
        except ValueError as error:
            raise ConfigError(f"--mcp: {one_line(error)} in {one_line(self.address, 80)}") from None
        if not command:
            raise ConfigError("--mcp: expected the command of a server, or its URL")
        return stdio_streams(command, self.max_bytes, self._output, self._report)

    async def list_tools(self) -> list[Tool]:
        """All tools, page by page.

        Raises:
            ServerError: the server does not answer, or its list has no end.
        """
        found: list[Tool] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            parameters = PaginatedRequestParams(cursor=cursor)
            page = await self._within_limits(partial(self._session.list_tools, params=parameters))
            found += [Tool(one.name, one.description or "", one.inputSchema) for one in page.tools]
            cursor = page.nextCursor
            if cursor is None and len(found) <= MAX_TOOLS:
                return found
            if len(found) > MAX_TOOLS:
                break
        raise ServerError(
            f"lists more than {len(found) - 1:,} tools, and the limit is {MAX_TOOLS:,} on {MAX_PAGES} pages"
        )

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """The result of a call as text.

        Raises:
            ServerError: the server does not answer, or its answer is no result.
        """
        request = ClientRequest(CallToolRequest(params=CallToolRequestParams(name=name, arguments=arguments)))
        # Not `session.call_tool`, which also checks the result against a schema of the server's making.
        return _text(await self._within_limits(partial(self._session.send_request, request, CallToolResult)))

    async def _within_limits(self, request: Callable[[], Any]) -> Any:
        """The answer to a request.

        Raises:
            ServerError: there is none in time, or it is an error, or no valid answer.
        """
        if self.fault is not None:
            raise ServerError(self.fault)
        try:
            with anyio.move_on_after(self.seconds) as self._scope:
                return await request()
        except McpError as error:
            raise ServerError(self.fault or f"answered with an error: {one_line(error)}") from None
        except ValidationError as error:
            first = error.errors()[0]
            place = one_line(".".join(map(str, first["loc"])), 80)
            raise ServerError(f"sent an invalid answer: {place}: {one_line(first['msg'])}") from None
        except (RuntimeError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise ServerError(self.fault or f"failed: {one_line(error)}") from None
        finally:
            self._scope = None
        raise ServerError(self.fault or f"did not answer within {self.seconds:g} s{self._output.no_messages}")

    def _report(self, fault: str) -> None:
        """Note that the connection is of no use any more, and end the request under way."""
        self.fault = self.fault or fault
        if self._scope is not None:
            self._scope.cancel()

    async def _receive(self, message: Any) -> None:
        """Notifications and requests of the server are of no interest; what cannot be read ends the request under way.
        A RuntimeError is a late answer to an earlier request."""
        if isinstance(message, Exception) and not isinstance(message, RuntimeError):
            self._report(f"sent what cannot be read: {one_line(message, 120)}")


def _valid(tools: list[Tool], name: str, warn: Callable[[str], None]) -> tuple[Tool, ...]:
    """The tools with a valid specification, each name once."""
    kept: dict[str, Tool] = {}
    for tool in tools:
        problems = ["its name occurs twice"] if tool.name in kept else specification_problems(tool)
        if problems:
            warn(f"{name}: left out {one_line(tool.name, 60)!r}: {one_line(problems[0])}")
        else:
            kept[tool.name] = tool
    if not kept:
        raise ToolError(f"{name}: it offers no valid tool ({len(tools)} in its list)")
    return tuple(kept.values())


def _text(result: CallToolResult) -> str:
    """The texts of a result; images and the like are named. What the server calls an error is told as one."""
    parts = [_part(part) for part in result.content]
    if not parts and result.structuredContent is not None:
        parts = [json.dumps(result.structuredContent, ensure_ascii=False)]
    text = "\n".join(parts)
    return f"Error: {text}" if result.isError and feedback_failed(text) is None else text


def _part(part: Any) -> str:
    match part.type:
        case "text":
            return str(part.text)
        case "resource_link":
            return f"[resource {part.uri}]"
        case "resource":
            return part.resource.text if "text" in part.resource.model_fields_set else f"[resource {part.resource.uri}]"
        case _:
            return f"[{part.type}, {part.mimeType}]"
