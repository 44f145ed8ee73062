"""Detects the text form in which a chat template writes calls."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tltrain.dialects.base import Dialect
from tltrain.trajectory import Call, Tool

_SCHEMA = {
    "type": "object",
    "properties": {"place": {"type": "string", "description": "A place."}, "days": {"type": "integer"}},
    "required": ["place"],
}
_TOOL = Tool("get_forecast", "The weather to come.", _SCHEMA)
_CALL = Call("get_forecast", {"place": "Oslo", "days": 3}, id="a1b2c3d4e")
"""Every template accepts an id of nine letters and digits."""
_SPECIAL = re.compile(r"\s*(?:<[^<>\s]+>|\[/?[A-Z_]+\]|</s>)\s*\Z")


def detect(template: str, forms: Mapping[str, Dialect]) -> str | None:
    """The first of `forms` that parses a call as the Jinja template writes it; None if none does."""
    for arguments in (_CALL.arguments, json.dumps(_CALL.arguments)):
        reply = _rendered(template, arguments)
        while reply:
            for name, form in forms.items():
                calls = form.parse(reply, [_TOOL]).calls
                if [(call.name, call.arguments) for call in calls] == [(_CALL.name, _CALL.arguments)]:
                    return name
            shorter = _SPECIAL.sub("", reply, count=1)
            reply = shorter if shorter != reply else ""
    return None


def _rendered(template: str, arguments: Any) -> str:
    """The reply with a call as the template renders it after its generation prompt; empty if rendering fails."""
    from transformers.utils.chat_template_utils import render_jinja_template

    function = {"name": _CALL.name, "arguments": arguments}
    user = {"role": "user", "content": "How will the weather be?"}
    call = {"id": _CALL.id, "type": "function", "function": function}
    reply = {"role": "assistant", "content": "", "tool_calls": [call]}
    options = {"tools": [_TOOL.to_json()], "chat_template": template, "bos_token": "<s>", "eos_token": "</s>"}
    try:
        (prompt,), _ = render_jinja_template([[user]], add_generation_prompt=True, **options)
        (whole,), _ = render_jinja_template([[user, reply]], **options)
    except Exception:  # a template may raise anything: then it does not support calls of this kind
        return ""
    start = len(prompt) if whole.startswith(prompt) else whole.rfind(user["content"]) + len(user["content"])
    return str(whole[start:])
