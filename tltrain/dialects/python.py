"""Calls as Python writes them, the paper's dialect: `name(arg="value", n=1)`, and its prompt as a chat template.

A reply is calls and nothing else, on lines of their own or with `;` between them, or a text without calls. Values are
literals of Python or JSON, and nothing is evaluated. Positional values follow the order of the tool's schema. Names
that are no plain words (tools' or arguments') stand in quotes, or as they are where the given tools have them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from tltrain.dialects import literals, strict
from tltrain.dialects.base import Parsed, beside, unreadable, without_fences
from tltrain.trajectory import Call, Tool

_BARE_NAME = r"\w(?:[\w.\-/]*\w)?"
_WRITTEN_NAME = rf"(?:{_BARE_NAME}|{literals.STRING})"
_SEPARATOR = re.compile(r"[ \t\r]*+(?:[;\n]\s*+|\Z)")
_LINE_END = re.compile(r"[ \t\r]*+;?[ \t\r]*+(?:\n|\Z)")


class _Forms(NamedTuple):
    """What finds names in a text."""

    start: re.Pattern[str]
    """Of a call or a list of calls, at the beginning of a line."""
    name: re.Pattern[str]
    """Of a call."""
    argument: re.Pattern[str]
    """The name of an argument and its `=`, or `**`."""


@lru_cache(maxsize=1024)
def _forms(odd: tuple[str, ...]) -> _Forms:
    """Patterns that know `odd` names as they are, beside plain words and texts in quotes."""
    name = rf"(?:(?P<odd>{'|'.join(map(re.escape, odd)) or '(?!)'})|(?P<name>{_WRITTEN_NAME}))"
    return _Forms(
        re.compile(rf"^[ \t]*+(?P<list>\[\s*+)?(?={name}\()", re.MULTILINE | re.DOTALL),
        re.compile(rf"\s*+{name}\(", re.DOTALL),
        re.compile(rf"\s*+(?:(?P<all>\*\*)|{name}\s*+=)", re.DOTALL),
    )


def _odd(names: Iterable[str]) -> tuple[str, ...]:
    """Those that are no plain words, longer ones first, as one can begin like another."""
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
`Assistant:` and `Output:`. It renders calls as `format` writes them, but names as they are, plain words or not."""


def format(calls: Sequence[Call], text: str = "") -> str:
    """A line a call; the text where there are no calls. Text beside calls is left out, since it could not be read."""
    return "\n".join(f"{_write_name(call.name)}({_write_arguments(call)})" for call in calls) if calls else text


def parse(text: str, tools: Sequence[Tool] = (), tolerant: bool = False) -> Parsed:
    """The calls that the reply consists of; `tools` name positional arguments.

    A reply is read as calls where a line of it starts with a name and a parenthesis, and as broken ones where such a
    line, or a given tool's name and a parenthesis, stands beside anything else. Tolerant, text may stand on other
    lines, and calls in one list.
    """
    reader = _Reader(tools)
    if not tolerant and reader.forms.start.search(text) is None:
        return Parsed((), text, "text before a call, on its line" if _names_a_tool(text, tools) else None)
    try:
        if tolerant:
            return reader.among_text(without_fences(text), text)
        return Parsed(tuple(reader.calls(text)), "")
    except (ValueError, RecursionError) as error:
        return unreadable(text, error)


def _names_a_tool(text: str, tools: Sequence[Tool]) -> bool:
    """Whether the name of a given tool stands in the text as a call's would."""
    names = (tool.name for tool in tools if f"{tool.name}(" in text)
    return any(re.search(rf"(?<!\w){re.escape(name)}\(", text) for name in names)


class _Reader:
    """Reads calls of given tools."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self.tools = tools
        self.forms = _forms(_odd([tool.name for tool in tools]))

    def calls(self, text: str) -> list[Call]:
        """The calls that the text is. Raises ValueError where it is anything else."""
        calls: list[Call] = []
        position = strict.skip_blank(text, 0)
        while position < len(text):
            call, position = self.call(text, position)
            calls.append(call)
            separator = _SEPARATOR.match(text, position)
            if separator is None:
                raise ValueError("text after a call, on its line")
            position = separator.end()
        return calls

    def among_text(self, text: str, whole: str) -> Parsed:
        """The calls on lines of their own; `whole` is the reply."""
        calls: list[Call] = []
        pieces: list[str] = []
        position = 0
        while match := self.forms.start.search(text, position):
            pieces.append(text[position : match.start()])
            position = self._group(text, match.end(), match["list"] is not None, calls)
        return Parsed(tuple(calls), beside([*pieces, text[position:]])) if calls else Parsed((), whole)

    def _group(self, text: str, position: int, listed: bool, calls: list[Call]) -> int:
        """Adds the calls of one line, or of one list; returns where the next line starts."""
        separator = "," if listed else ";"
        while True:
            call, position = self.call(text, position)
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

    def call(self, text: str, position: int) -> tuple[Call, int]:
        """The call that starts at `position`, and where it ends. Raises ValueError with the reason."""
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
                raise ValueError("expected ',' or ')' after a value" if mark else "a call is not closed")
        if len(values) > len(declared):
            raise ValueError("a positional value that the schema has no name for")
        arguments = strict.unique([*zip(declared, values, strict=False), *pairs])
        strict.check([name, arguments])
        return Call(name, arguments), found[1]


def _read_argument(
    text: str, position: int, form: re.Pattern[str], values: list[Any], pairs: list[tuple[Any, Any]]
) -> int:
    """Adds the argument to the positional values or to the named ones; returns where it ends."""
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
        raise ValueError("** before something that is no dict")
    return end


def _name(match: re.Match[str]) -> str:
    """The name as it is, or what it stands for in quotes."""
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
    """Texts as the paper's data has them, in double quotes; other values as Python writes them."""
    return strict.write(value) if isinstance(value, str) else repr(value)
