"""`tltrain try`: a conversation with a model whose calls are executed, in toolworld, in a Python file, or over MCP."""
