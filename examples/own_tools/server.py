"""The tools of `library.py` as an MCP server, for `tltrain try MODEL --mcp "python server.py"`."""

from __future__ import annotations

import library
from mcp.server.fastmcp import FastMCP

server = FastMCP("library")
server.tool()(library.find_book)
server.tool()(library.get_loans)

if __name__ == "__main__":
    server.run()
