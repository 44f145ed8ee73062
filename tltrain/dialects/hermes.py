"""Calls as JSON objects in `<tool_call>` tags, as Hermes and Qwen models write them, and a chat template with this
form.

Some unambiguous variants are parsed as well: `parameters` in place of `arguments`, arguments as a string of JSON,
neither field for a call without arguments, and several objects within a pair of tags.
"""

from __future__ import annotations

from collections.abc import Sequence

from tltrain.dialects import literals, strict
from tltrain.dialects.base import Parsed, read_blocks, text_then_calls
from tltrain.trajectory import Call, Tool

OPEN, CLOSE = "<tool_call>", "</tool_call>"

CHAT_TEMPLATE = """\
{%- macro specification(tool) -%}
{%- set function = tool.function if tool.function is defined else tool -%}
{{- {'name': function.name, 'description': function.description | default(''), \
'parameters': function.parameters | default({})} | tojson -}}
{%- endmacro -%}
{%- macro system(text) -%}
{{- '<|im_start|>system\\n' ~ text -}}
{%- if tools -%}
{{- '\\n\\n' if text else '' -}}
{{- 'You can call these tools:\\n<tools>\\n' -}}
{%- for tool in tools -%}
{{- specification(tool) ~ '\\n' -}}
{%- endfor -%}
{{- '</tools>\\nWrite each call as\\n<tool_call>\\n' -}}
{{- '{"name": <tool name>, "arguments": <JSON object>}\\n</tool_call>' -}}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endmacro -%}
{%- macro written(call) -%}
{%- set function = call.function if call.function is defined else call -%}
{%- set arguments = function.arguments if function.arguments is string else function.arguments | tojson -%}
{{- '<tool_call>\\n{"name": ' ~ function.name | tojson ~ ', "arguments": ' ~ arguments ~ '}\\n</tool_call>' -}}
{%- endmacro -%}
{%- macro turn(message) -%}
{{- message.content or '' -}}
{%- for call in message.tool_calls or [] -%}
{{- ('\\n' if message.content or not loop.first else '') ~ written(call) -}}
{%- endfor -%}
{%- endmacro -%}
{%- set given = messages and messages[0].role == 'system' -%}
{%- if tools and not given -%}
{{- system('') -}}
{%- endif -%}
{%- for message in messages -%}
{%- if loop.first and given -%}
{{- system(message.content or '') -}}
{%- elif message.role == 'assistant' -%}
{{- '<|im_start|>assistant\\n' -}}
{%- generation -%}
{{- turn(message) ~ '<|im_end|>' -}}
{%- endgeneration -%}
{{- '\\n' -}}
{%- else -%}
{{- '<|im_start|>' ~ message.role ~ '\\n' ~ turn(message) ~ '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""
"""A Jinja chat template (ChatML turns) for models that have none for tools; renders calls as `format` writes them.

Each tool is a line of JSON (name, description, parameters) in the system turn. `arguments` may be an object or a string
of JSON, which is written unchanged. The rendering of a history with the generation prompt is a prefix of the
rendering with the reply. Each reply with its stop token is marked as `{% generation %}`, from which `transformers` and
trainers that use it compute the mask of assistant tokens.
"""

RESPONSE_TEMPLATE = {
    "start_anchor": "<|im_start|>assistant\n",
    "defaults": {"role": "assistant"},
    "fields": {
        "tool_calls": {
            "open_pattern": rf"\s*{OPEN}",
            "close": CLOSE,
            "content": "json",
            "repeats": True,
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"close_pattern": r"\s*<\|(?:im_end|endoftext)\|>", "content": "text"},
    },
}
"""Parses replies of `CHAT_TEMPLATE` in `transformers` (`tokenizer.parse_response`, 5.17), and so in its server."""


def format(calls: Sequence[Call], text: str = "") -> str:
    """The text, then a block for each call, on separate lines."""
    blocks = (
        f'{OPEN}\n{{"name": {strict.write(call.name)}, "arguments": {strict.write_arguments(call)}}}\n{CLOSE}'
        for call in calls
    )
    return text_then_calls(text, "\n".join(blocks))


def parse(text: str, tools: Sequence[Tool] = (), tolerant: bool = False) -> Parsed:
    """The calls of all blocks in order; `tools` are ignored."""
    read = literals.reader(tolerant)

    def read_call(text: str, position: int) -> tuple[Call, int]:
        value, position = read(text, position)
        return strict.read_call(value, read), position

    return read_blocks(text, OPEN, CLOSE, read_call, tolerant)
