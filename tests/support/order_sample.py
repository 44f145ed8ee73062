"""A sample in OpenAI's form: a failed call, its correction, and an answer."""

from __future__ import annotations

from typing import Any

TOOL = {
    "type": "function",
    "function": {
        "name": "get_order",
        "description": "",
        "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]},
    },
}


def reply(arguments: str, number: int) -> dict[str, Any]:
    call = {"id": f"c{number}", "type": "function", "function": {"name": "get_order", "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


SAMPLE = {
    "messages": [
        {"role": "user", "content": "Où est A-1001 ?"},
        reply('{"ordr_id": "A-1001"}', 1),
        {"role": "tool", "content": "Error: unknown argument 'ordr_id'", "tool_call_id": "c1"},
        reply('{"order_id": "A-1001"}', 2),
        {"role": "tool", "content": '{"status": "sent"}', "tool_call_id": "c2"},
        {"role": "assistant", "content": "It was sent."},
    ],
    "tools": [TOOL],
}
