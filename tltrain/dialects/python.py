"""Python calls, the dialect of the paper: `name(arg="value", n=1)`, and the prompt of the paper as a chat template.

A reply is either calls only, on separate lines or separated by `;`, or text without calls. Values are Python or JSON
literals; nothing is evaluated. Positional values follow the order of the tool's schema. Names of tools and arguments
that are not plain words are quoted, or unquoted if the given tools define them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from tltrain.dialects import literals, strict
from tltrain.dialects.base import Parsed, text_outside, unreadable, without_fences
from tltrain.trajectory import Call, Tool

_BARE_NAME = r"\w(?:[\w.\-/]*\w)?"
_WRITTEN_NAME = rf"(?:{_BARE_NAME}|{literals.STRING})"
_SEPARATOR = re.compile(r"[ \t\r]*+(?:[;\n]\s*+|\Z)")
_LINE_END = re.compile(r"[ \t\r]*+;?[ \t\r]*+(?:\n|\Z)")


class _Forms(NamedTuple):
    """Patterns that find names in a text."""

    start: re.Pattern[str]
    """The start of a call or a list of calls, at the beginning of a line."""
    name: re.Pattern[str]
    """The name of a call and its opening parenthesis."""
    argument: re.Pattern[str]
    """The name of an argument and its `=`, or `**`."""


@lru_cache(maxsize=1024)
def _forms(odd: tuple[str, ...]) -> _Forms:
    """Patterns that accept the names in `odd` unquoted, in addition to plain words and quoted names."""
    name = rf"(?:(?P<odd>{'|'.join(map(re.escape, odd)) or '(?!)'})|(?P<name>{_WRITTEN_NAME}))"
    return _Forms(
        re.compile(rf"^[ \t]*+(?P<list>\[\s*+)?(?={name}\()", re.MULTILINE | re.DOTALL),
        re.compile(rf"\s*+{name}\(", re.DOTALL),
        re.compile(rf"\s*+(?:(?P<all>\*\*)|{name}\s*+=)", re.DOTALL),
    )


def _odd(names: Iterable[str]) -> tuple[str, ...]:
    """The names that are not plain words, longest first, as a name can be a prefix of another."""
    odd = [name for name in names if not name.isidentifier() and name and re.fullmatch(_BARE_NAME, name) is None]
    return tuple(sorted(odd, key=len, reverse=True)) if odd else ()


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
{{- '):\\n    \\"\\"\\"\\n    ' ~ function.description | default('', true) | replace('\\n', '\\n    ') ~ '\\n' -}}
{%- for name, schema in arguments.items() -%}
{{- ('\\n    Args:\\n' if loop.first else '') ~ '        ' ~ name ~ ' (' ~ type(schema) ~ '): ' -}}
{{- schema.description | default('', true) | replace('\\n', ' ') -}}
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
{{- 'Assistant:' -}}
{%- generation -%}
{{- ' ' -}}
{%- for call in message.tool_calls or [] -%}
{{- ('\\n' if not loop.first else '') ~ written(call) -}}
{%- else -%}
{{- message.content or '' -}}
{%- endfor -%}
{{- eos_token | default('') -}}
{%- endgeneration -%}
{{- '\\n' -}}
{%- else -%}
{{- roles[message.role] | default(message.role) ~ ': ' ~ (message.content or '') ~ '\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- 'Assistant:' -}}
{%- endif -%}
"""
"""The prompt of the paper as a Jinja chat template: tools as signatures with docstrings, turns labelled `System:`,
`User:`, `Assistant:` and `Output:`. It renders calls as `format` writes them, except that names are never quoted. Each
reply with its stop token is marked as `{% generation %}`."""


def format(calls: Sequence[Call], text: str = "") -> str:
    """Each call on a line, or the text if there are no calls. Text with calls is dropped, as it could not be parsed."""
    return "\n".join(f"{_write_name(call.name)}({_write_arguments(call)})" for call in calls) if calls else text


def parse(text: str, tools: Sequence[Tool] = (), tolerant: bool = False) -> Parsed:
    """The calls that make up the reply; `tools` provide the names of positional arguments.

    A reply is parsed as calls if one of its lines starts with a name and a parenthesis. It is broken if it contains
    anything else in addition, or the name of a given tool and a parenthesis within text. If `tolerant`, other lines may
    contain text, and calls may be in a list.
    """
    reader = _Reader(tools)
    if not tolerant and reader.forms.start.search(text) is None:
        return Parsed((), text, "text before a call on the same line" if _names_a_tool(text, tools) else None)
    try:
        if tolerant:
            return reader.among_text(without_fences(text), text)
        return Parsed(tuple(reader.calls(text)), "")
    except (ValueError, RecursionError) as error:
        return unreadable(text, error)


def _names_a_tool(text: str, tools: Sequence[Tool]) -> bool:
    """Whether the text contains the name of a given tool followed by a parenthesis."""
    names = (tool.name for tool in tools if f"{tool.name}(" in text)
    return any(re.search(rf"(?<!\w){re.escape(name)}\(", text) for name in names)


class _Reader:
    """Parses calls of given tools."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self.tools = tools
        self.forms = _forms(_odd([tool.name for tool in tools]))

    def calls(self, text: str) -> list[Call]:
        """Parse a text that consists of calls. Raises ValueError if it contains anything else."""
        calls: list[Call] = []
        position = strict.skip_blank(text, 0)
        while position < len(text):
            call, position = self.call(text, position)
            calls.append(call)
            separator = _SEPARATOR.match(text, position)
            if separator is None:
                raise ValueError("text after a call on the same line")
            position = separator.end()
        return calls

    def among_text(self, text: str, whole: str) -> Parsed:
        """The calls on separate lines among text; `whole` is the reply with its code fences."""
        calls: list[Call] = []
        pieces: list[str] = []
        position = 0
        while match := self.forms.start.search(text, position):
            pieces.append(text[position : match.start()])
            position = self._group(text, match.end(), match["list"] is not None, calls)
        return Parsed(tuple(calls), text_outside([*pieces, text[position:]])) if calls else Parsed((), whole)

    def _group(self, text: str, position: int, listed: bool, calls: list[Call]) -> int:
        """Append the calls of a line or of a list to `calls`; return the position of the next line."""
        separator = "," if listed else ";"
        while True:
            call, position = self.call(text, position)
            calls.append(call)
            mark, after = literals.peek(text, position)
            if mark != separator or _LINE_END.match(text, position):
                break
            position = after
        if listed and mark != "]":
            raise ValueError("unterminated list of calls")
        end = _LINE_END.match(text, after if listed else position)
        if end is None:
            raise ValueError("text after a call on the same line")
        return end.end()

    def call(self, text: str, position: int) -> tuple[Call, int]:
        """Parse the call at `position`; return it and its end position. Raises ValueError with the reason."""
        match = self.forms.name.match(text, position)
        if match is None:
            raise ValueError("expected a call")
        name, values, pairs = _name(match), list[Any](), list[tuple[Any, Any]]()
        declared = next((tool.properties for tool in self.tools if tool.name == name), {})
        forms, position = _forms(_odd(declared)), match.end()
        while (found := literals.peek(text, position))[0] != ")":
            position = _read_argument(text, position, forms.argument, values, pairs)
            mark, after = literals.peek(text, position)
            if mark == ",":
                position = after
            elif mark != ")":
                raise ValueError("expected ',' or ')' after a value" if mark else "unterminated call")
        if len(values) > len(declared):
            raise ValueError("more positional values than the schema has arguments")
        arguments = strict.unique([*zip(declared, values, strict=False), *pairs])
        strict.check([name, arguments])
        return Call(name, arguments), found[1]


def _read_argument(
    text: str, position: int, form: re.Pattern[str], values: list[Any], pairs: list[tuple[Any, Any]]
) -> int:
    """Append the argument to `values` if positional, else to `pairs`; return its end position."""
    match = form.match(text, position)
    value, end = literals.read(text, position if match is None else match.end())
    if match is None:
        if pairs:
            raise ValueError("a positional value after a named one")
        values.append(value)
    elif match["all"] is None:
        pairs.append((_name(match), value))
    elif isinstance(value, dict):
        pairs.extend(value.items())
    else:
        raise ValueError("** before a value that is not a dict")
    return end


def _name(match: re.Match[str]) -> str:
    """The matched name, without quotes."""
    written = match["name"]
    if written is None:
        return match["odd"]
    return literals.text_of(written) if written[-1] in "'\"" else written


def _write_name(name: str) -> str:
    return name if re.fullmatch(_BARE_NAME, name) else strict.write(name)


def _write_arguments(call: Call) -> str:
    if isinstance(call.arguments, str):
        return call.arguments
    strict.check(call.arguments)
    return ", ".join(f"{_write_name(name)}={_write_value(value)}" for name, value in call.arguments.items())


def _write_value(value: Any) -> str:
    """Strings in double quotes, as in the data of the paper; other values by `repr`."""
    return strict.write(value) if isinstance(value, str) else repr(value)
