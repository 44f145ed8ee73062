"""Calls as Python writes them, the paper's dialect: `name(arg="value", n=1)`, and its prompt as a chat template.

A reply is calls and nothing else, on lines of their own or with `;` between them, or a text without calls. Values are
literals of Python or JSON, and nothing is evaluated. Positional values follow the order of the tool's schema. Names
that are no plain words (tools' or arguments') stand in quotes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tltrain.dialects import literals, strict
from tltrain.dialects.base import Parsed, beside, unreadable, without_fences
from tltrain.trajectory import Call, Tool

_BARE_NAME = r"\w(?:[\w.\-/]*\w)?"
_WRITTEN_NAME = rf"(?:{_BARE_NAME}|{literals.STRING})"
_START = re.compile(rf"^[ \t]*+(?P<list>\[\s*+)?(?={_WRITTEN_NAME}\()", re.MULTILINE | re.DOTALL)
_NAME = re.compile(rf"\s*+({_WRITTEN_NAME})\(", re.DOTALL)
_ARGUMENT = re.compile(rf"\s*+(?:(?P<all>\*\*)|(?P<name>{_WRITTEN_NAME})\s*+=)", re.DOTALL)
_SEPARATOR = re.compile(r"[ \t\r]*+(?:[;\n]\s*+|\Z)")
_LINE_END = re.compile(r"[ \t\r]*+;?[ \t\r]*+(?:\n|\Z)")

CHAT_TEMPLATE = """\
{%- set types = {'string': 'str', 'integer': 'int', 'number': 'float', 'boolean': 'bool', 'array': 'list', \
'object': 'dict'} -%}
{%- macro type(schema) -%}
{{- types[schema.type] if schema.type is string and schema.type in types else 'Any' -}}
{%- endmacro -%}
{%- macro definition(tool) -%}
{%- set function = tool.function if tool.function is defined else tool -%}
{%- set parameters = function.parameters or {} -%}
{%- set arguments = parameters['properties'] or {} -%}
{%- set required = parameters['required'] or [] -%}
{{- 'def ' ~ function.name ~ '(' -}}
{%- for name, schema in arguments.items() -%}
{{- (', ' if not loop.first else '') ~ name ~ ': ' ~ type(schema) ~ ('' if name in required else ' = None') -}}
{%- endfor -%}
{{- '):\\n    \\"\\"\\"\\n    ' ~ function.description | default('') | replace('\\n', '\\n    ') ~ '\\n' -}}
{%- for name, schema in arguments.items() -%}
{{- ('\\n    Args:\\n' if loop.first else '') ~ '        ' ~ name ~ ' (' ~ type(schema) ~ '): ' -}}
{{- schema.description | default('') | replace('\\n', ' ') -}}
{{- ' One of ' ~ schema.enum | tojson ~ '.' if schema.enum is defined else '' -}}
{{- '\\n' -}}
{%- endfor -%}
{{- '    \\"\\"\\"\\n' -}}
{%- endmacro -%}
{%- macro system(text) -%}
{{- 'System: ' ~ text -}}
{%- if tools -%}
{{- ('\\n' if text else '') ~ 'Function:\\n' -}}
{%- for tool in tools -%}
{{- definition(tool) -}}
{%- endfor -%}
{%- else -%}
{{- '\\n' -}}
{%- endif -%}
{%- endmacro -%}
{%- macro value(given) -%}
{{- given | tojson if given is string else '%r' | format(given) -}}
{%- endmacro -%}
{%- macro written(call) -%}
{%- set function = call.function if call.function is defined else call -%}
{{- function.name ~ '(' -}}
{%- if function.arguments is string -%}
{{- function.arguments -}}
{%- else -%}
{%- for name, given in function.arguments.items() -%}
{{- (', ' if not loop.first else '') ~ name ~ '=' ~ value(given) -}}
{%- endfor -%}
{%- endif -%}
{{- ')' -}}
{%- endmacro -%}
{%- set roles = {'system': 'System', 'user': 'User', 'assistant': 'Assistant', 'tool': 'Output'} -%}
{%- set given = messages and messages[0].role == 'system' -%}
{%- if tools and not given -%}
{{- system('') -}}
{%- endif -%}
{%- for message in messages -%}
{%- if loop.first and given -%}
{{- system(message.content or '') -}}
{%- elif message.role == 'assistant' -%}
{{- 'Assistant: ' -}}
{%- for call in message.tool_calls or [] -%}
{{- ('\\n' if not loop.first else '') ~ written(call) -}}
{%- else -%}
{{- message.content or '' -}}
{%- endfor -%}
{{- eos_token | default('') ~ '\\n' -}}
{%- else -%}
{{- roles[message.role] | default(message.role) ~ ': ' ~ (message.content or '') ~ '\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- 'Assistant:' -}}
{%- endif -%}
"""
"""A Jinja chat template of the paper's prompt: tools as signatures with docstrings, turns under `System:`, `User:`,
`Assistant:` and `Output:`. It renders calls as `format` writes them, where names are plain words."""


def format(calls: Sequence[Call], text: str = "") -> str:
    """A line a call; the text where there are no calls. Text beside calls is left out, since it could not be read."""
    return "\n".join(f"{_write_name(call.name)}({_write_arguments(call)})" for call in calls) if calls else text


def parse(text: str, tools: Sequence[Tool] = (), tolerant: bool = False) -> Parsed:
    """The calls that the reply consists of; `tools` name positional arguments.

    A reply is read as calls where a line of it starts with a name and a parenthesis, and as broken ones where such a
    line, or a given tool's name and a parenthesis, stands beside anything else. Tolerant, text may stand on other
    lines, and calls in one list.
    """
    if not tolerant and _START.search(text) is None:
        return Parsed((), text, "text before a call, on its line" if _names_a_tool(text, tools) else None)
    try:
        if tolerant:
            return _read_among_text(without_fences(text), text, tools)
        return Parsed(tuple(_read_calls(text, tools)), "")
    except (ValueError, RecursionError) as error:
        return unreadable(text, error)


def _names_a_tool(text: str, tools: Sequence[Tool]) -> bool:
    """Whether the name of a given tool stands in the text as a call's would."""
    names = (tool.name for tool in tools if f"{tool.name}(" in text)
    return any(re.search(rf"(?<!\w){re.escape(name)}\(", text) for name in names)


def _read_calls(text: str, tools: Sequence[Tool]) -> list[Call]:
    calls: list[Call] = []
    position = strict.skip_blank(text, 0)
    while position < len(text):
        call, position = read_call(text, position, tools)
        calls.append(call)
        separator = _SEPARATOR.match(text, position)
        if separator is None:
            raise ValueError("text after a call, on its line")
        position = separator.end()
    return calls


def _read_among_text(text: str, whole: str, tools: Sequence[Tool]) -> Parsed:
    calls: list[Call] = []
    pieces: list[str] = []
    position = 0
    while match := _START.search(text, position):
        pieces.append(text[position : match.start()])
        position = _read_group(text, match.end(), match["list"] is not None, tools, calls)
    return Parsed(tuple(calls), beside([*pieces, text[position:]])) if calls else Parsed((), whole)


def _read_group(text: str, position: int, listed: bool, tools: Sequence[Tool], calls: list[Call]) -> int:
    """Adds the calls of one line, or of one list; returns where the next line starts."""
    separator = "," if listed else ";"
    while True:
        call, position = read_call(text, position, tools)
        calls.append(call)
        mark, after = literals.peek(text, position)
        if mark != separator or _LINE_END.match(text, position):
            break
        position = after
    if listed and mark != "]":
        raise ValueError("a list of calls is not closed")
    end = _LINE_END.match(text, after if listed else position)
    if end is None:
        raise ValueError("text after a call, on its line")
    return end.end()


def read_call(text: str, position: int, tools: Sequence[Tool] = ()) -> tuple[Call, int]:
    """The call that starts at `position`, and where it ends. Raises ValueError with the reason."""
    match = _NAME.match(text, position)
    if match is None:
        raise ValueError("expected a call")
    name, values, pairs = _name(match[1]), list[Any](), list[tuple[Any, Any]]()
    position = match.end()
    while (found := literals.peek(text, position))[0] != ")":
        position = _read_argument(text, position, values, pairs)
        mark, after = literals.peek(text, position)
        if mark == ",":
            position = after
        elif mark != ")":
            raise ValueError("expected ',' or ')' after a value" if mark else "a call is not closed")
    arguments = strict.unique([*_in_order(values, name, tools), *pairs])
    strict.check([name, arguments])
    return Call(name, arguments), found[1]


def _read_argument(text: str, position: int, values: list[Any], pairs: list[tuple[Any, Any]]) -> int:
    """Adds the argument to the positional values or to the named ones; returns where it ends."""
    match = _ARGUMENT.match(text, position)
    value, end = literals.read(text, position if match is None else match.end())
    if match is None:
        if pairs:
            raise ValueError("a positional value after a named one")
        values.append(value)
    elif match["name"]:
        pairs.append((_name(match["name"]), value))
    elif isinstance(value, dict):
        pairs.extend(value.items())
    else:
        raise ValueError("** before something that is no dict")
    return end


def _in_order(values: list[Any], name: str, tools: Sequence[Tool]) -> list[tuple[str, Any]]:
    """The positional values with the names that the schema gives them."""
    if not values:
        return []
    order = next((list(tool.properties) for tool in tools if tool.name == name), [])
    if len(values) > len(order):
        raise ValueError("a positional value that the schema has no name for")
    return list(zip(order, values, strict=False))


def _name(written: str) -> str:
    """A name as it is, or what it stands for in quotes."""
    return literals.text_of(written) if written[-1] in "'\"" else written


def _write_name(name: str) -> str:
    return name if re.fullmatch(_BARE_NAME, name) else strict.write(name)


def _write_arguments(call: Call) -> str:
    if isinstance(call.arguments, str):
        return call.arguments
    strict.check(call.arguments)
    return ", ".join(f"{_write_name(name)}={_write_value(value)}" for name, value in call.arguments.items())


def _write_value(value: Any) -> str:
    """Texts as the paper's data has them, in double quotes; other values as Python writes them."""
    return strict.write(value) if isinstance(value, str) else repr(value)
