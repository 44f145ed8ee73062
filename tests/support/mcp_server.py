"""A small MCP server over stdio, in one of several moods: `python mcp_server.py MOOD`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

ORDERS = {"A-1": "shipped", "A-2": "paid"}


def honest(kind: str) -> None:
    """Tools that work; some of them slow, long-winded or deceitful."""
    from mcp.server.fastmcp import FastMCP  # takes a second

    server = FastMCP("orders")

    @server.tool()
    def get_order(order_id: str, part: str = "state") -> str:
        """The state of an order."""
        if order_id not in ORDERS:
            raise ValueError(f"no order {order_id}")
        return ORDERS[order_id]

    @server.tool()
    def wait(seconds: float) -> str:
        """Take some time."""
        time.sleep(seconds)
        return "waited"

    @server.tool()
    def repeat(count: int) -> str:
        """Many characters."""
        return "x" * count

    @server.tool()
    def trick() -> str:
        """Text that wants to be more than text."""
        return "\x1b[2J[red]done[/red]\u202e {{ 7*7 }}"

    @server.tool()
    def crash() -> str:
        """End the server."""
        sys.stderr.write("Fatal: the \x1b[31mdatabase is gone\n")
        sys.stderr.flush()
        os._exit(3)

    if kind == "http":
        server.settings.port = int(sys.argv[2])
        server.run("streamable-http")
    server.run()


def lying(kind: str) -> None:
    """Speaks the protocol by hand, as far as its mood lets it."""
    for line in sys.stdin:
        request = json.loads(line)
        method = request.get("method")
        if method == "initialize":
            version = "1066-10-14" if kind == "version" else request["params"]["protocolVersion"]
            about = {"name": "liar", "version": "1"}
            answer(request, {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": about})
        elif method == "tools/list":
            list_tools(kind, request)
        elif method == "tools/call":
            huge() if kind == "huge" else answer(request, {"content": "no list"})


def list_tools(kind: str, request: dict[str, Any]) -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"order_id": {"type": "string"}}}
    tools: list[dict[str, Any]] = [{"name": "get_order", "inputSchema": schema}]
    if kind == "schema":
        bad = {"type": "object", "properties": {"x": {"type": "strnig"}}}
        tools += [{"name": "bad", "inputSchema": bad}, {"name": "get_order", "inputSchema": {}}]
    if kind == "no-schema":
        tools = [{"name": "get_order", "inputSchema": "an object"}]
    if kind == "only-bad":
        tools = [{"name": "bad", "inputSchema": {"type": "object", "required": "x"}}]
    answer(request, {"tools": tools, "nextCursor": "more" if kind == "endless" else None})


def answer(request: dict[str, Any], result: dict[str, Any]) -> None:
    result = {name: value for name, value in result.items() if value is not None}
    print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), flush=True)


def huge() -> None:
    """100 MB in one line."""
    for _ in range(100):
        sys.stdout.write("x" * 1_000_000)
    sys.stdout.flush()


def hang() -> None:
    """Never an answer, not even to signals, and a child with the same habits."""
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open(sys.argv[2], "w") as file:  # noqa: PTH123
        file.write(str(child.pid))
    time.sleep(600)


if __name__ == "__main__":
    mood = sys.argv[1]
    if mood == "hang":
        hang()
    elif mood == "junk":
        print("Listening on stdio …", flush=True)
        time.sleep(600)
    elif mood == "dies":
        sys.exit("ModuleNotFoundError: No module named 'orders'")
    elif mood in ("honest", "http"):
        honest(mood)
    else:
        lying(mood)
