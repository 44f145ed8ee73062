"""A reply as other trainers hand it over, judged against the golds of a row. Shared by all integrations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from tltrain import dialects
from tltrain.dialects import Dialect, Parsed
from tltrain.errors import DataError
from tltrain.formats.fields import FieldError, arguments_of, each, text_of
from tltrain.formats.jsonio import loads
from tltrain.formats.replies import call_of
from tltrain.formats.tools import tool_of
from tltrain.judging import Verdict
from tltrain.judging import judge as judge_calls
from tltrain.judging.replies import TRUNCATED
from tltrain.trajectory import Call, Tool

T = TypeVar("T")

DEFAULT_DIALECT = "hermes"
"""How replies of rows without a `dialect` are parsed."""


def grade(reply: Any, golds: Any, tools: Any, dialect: str | Dialect | None = None, finished: bool = True) -> Verdict:
    """The verdict on a reply. A reply that cannot be read, of whatever type, is unparseable; it never raises.

    Args:
        reply: the text of the reply, a message in OpenAI's format, or a list of messages, of which the first from the
            assistant is judged: the golds of a row are replies to its prompt, not to a tool's feedback after it.
        golds: acceptable replies, each a list of calls `{"name", "arguments"}` (empty if the right reply is a text); as
            JSON text or already parsed.
        tools: the specifications of the tools in the prompt, as JSON text or already parsed; None if there are none.
        dialect: how calls are written in a text: a name in `dialects.TEXT_FORMS`, a dialect, or None for hermes.
        finished: False if the reply was truncated at a length limit, which makes it unparseable.

    Raises:
        DataError: `golds` or `tools` are malformed.
        ConfigError: the dialect is unknown.
    """
    form = dialects.get(dialect or DEFAULT_DIALECT) if dialect is None or isinstance(dialect, str) else dialect
    listed = _tools(tools)
    parsed = parse(reply, form, listed) if finished else Parsed((), "", TRUNCATED)
    return judge_calls(parsed, _golds(golds), listed)


def parse(reply: Any, dialect: Dialect, tools: Sequence[Tool] = ()) -> Parsed:
    """The calls of a reply: text, a message with `content` and `tool_calls`, or a list of messages. Never raises."""
    if isinstance(reply, str):
        return dialect.parse(reply, tools)
    if isinstance(reply, Mapping):
        return _parse_message(reply, dialect, tools)
    if isinstance(reply, Sequence) and not isinstance(reply, bytes):
        messages = [part for part in reply if isinstance(part, Mapping) and part.get("role") == "assistant"]
        return _parse_message(messages[0], dialect, tools) if messages else Parsed((), "", "no assistant message")
    return Parsed((), "", f"expected text or messages, got {type(reply).__name__}")


def _parse_message(message: Mapping[str, Any], dialect: Dialect, tools: Sequence[Tool]) -> Parsed:
    content = message.get("content")
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, Mapping)]
        content = "".join(text for text in texts if isinstance(text, str))
    if content is not None and not isinstance(content, str):
        return Parsed((), "", f"content: expected text, got {type(content).__name__}")
    values = message.get("tool_calls")
    if not values:
        return dialect.parse(content or "", tools)
    try:
        return Parsed(each(_call_in_message, values, "tool_calls"), content or "")
    except (DataError, KeyError) as error:  # KeyError: a value of no JSON type
        return Parsed((), content or "", str(error))


def _call_in_message(value: Any) -> Call:
    if not isinstance(value, Mapping):
        raise FieldError("", f"expected object, got {type(value).__name__}")
    function = value.get("function", value)
    if not isinstance(function, dict):
        raise FieldError("function", f"expected object, got {type(function).__name__}")
    return Call(text_of(function, "name"), arguments_of(function.get("arguments")))


def _golds(value: Any) -> tuple[tuple[Call, ...], ...]:
    return _golds_in(value) if isinstance(value, str) else _golds_of(value)


@lru_cache(maxsize=1024)
def _golds_in(text: str) -> tuple[tuple[Call, ...], ...]:
    return _golds_of(_json(text, "golds"))


def _golds_of(value: Any) -> tuple[tuple[Call, ...], ...]:
    golds = _listed(lambda gold: _listed(call_of, gold, ""), value, "golds")
    if not golds:
        raise DataError("golds: expected at least one gold reply (an empty list of calls if the right reply is a text)")
    return golds


def _tools(value: Any) -> tuple[Tool, ...]:
    if value is None or value == "":
        return ()
    return _tools_in(value) if isinstance(value, str) else _listed(tool_of, value, "tools")


@lru_cache(maxsize=1024)
def _tools_in(text: str) -> tuple[Tool, ...]:
    return _listed(tool_of, _json(text, "tools"), "tools")


def _listed(function: Callable[[Any], T], value: Any, field: str) -> tuple[T, ...]:
    """`each` for values that need not come from JSON: data frames and data sets also hold tuples and arrays."""
    if not isinstance(value, list):
        raise FieldError(field, f"expected list, got {type(value).__name__}")
    return each(function, value, field)


def _json(text: str, field: str) -> Any:
    try:
        return loads(text)
    except DataError as error:
        raise FieldError(field, error.reason) from None
