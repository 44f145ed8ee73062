"""Reading the fields of records, with errors that name the field, the expected type and the type found."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any, TypeVar

from tltrain.errors import DataError
from tltrain.formats import jsonio
from tltrain.trajectory import Arguments

T = TypeVar("T")

_KINDS: dict[type, str] = {
    dict: "object",
    list: "list",
    str: "text",
    bool: "true or false",
    int: "number",
    float: "number",
    type(None): "null",
}


class FieldError(DataError):
    """A field of a record does not follow its format: `messages[3].content: expected text, got number`.

    A path may contain keys of the data, which are shown escaped: the message stays on one line.
    """

    def __init__(self, field: str, reason: str) -> None:
        self.field, self.why = field, reason
        super().__init__(f"{_printable(field)}: {reason}" if field else reason)

    def inside(self, parent: str) -> FieldError:
        """The same error, with `parent` as a prefix of the field's path."""
        separator = "" if not self.field or self.field.startswith("[") else "."
        return FieldError(f"{parent}{separator}{self.field}", self.why)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def expected(what: str, got: object, field: str = "") -> FieldError:
    """The error for a value of the wrong type."""
    return FieldError(field, f"expected {what}, got {_KINDS[type(got)]}")


def each(function: Callable[[Any], T], values: Any, field: str) -> tuple[T, ...]:
    """Apply `function` to every element of the list `values`; errors name the element. None counts as an empty list."""
    if values is None:
        return ()
    if type(values) is not list:
        raise expected("list", values, field)
    results: list[T] = []
    try:
        for value in values:
            results.append(function(value))  # noqa: PERF401  (the error reports the index)
    except FieldError as error:
        raise error.inside(f"{field}[{len(results)}]") from None
    return tuple(results)


def record_of(value: Any) -> dict[str, Any]:
    """Return `value`. Raises FieldError if it is not an object."""
    if type(value) is not dict:
        raise expected("object", value)
    return value


def list_of(record: dict[str, Any], field: str) -> list[Any]:
    """The value of a required list field."""
    return _required(record, field, list, "list")  # type: ignore[no-any-return]


def text_of(record: dict[str, Any], field: str) -> str:
    """The value of a required string field."""
    return _required(record, field, str, "text")  # type: ignore[no-any-return]


def _required(record: dict[str, Any], field: str, kind: type, what: str) -> Any:
    value = record.get(field)
    if type(value) is kind:
        return value
    if field not in record:
        raise FieldError(field, f"expected {what}, but it is missing")
    raise expected(what, value, field)


def text_or_none(record: dict[str, Any], field: str) -> str | None:
    """The value of an optional string field; None if it is null or absent."""
    value = record.get(field)
    if value is not None and type(value) is not str:
        raise expected("text", value, field)
    return value


def id_or_none(record: dict[str, Any], field: str) -> str | None:
    """An optional id as a string; integer ids, which some data sets use, are converted."""
    value = record.get(field)
    if type(value) is int:
        return str(value)
    return text_or_none(record, field)


def rest(record: dict[str, Any], known: Set[str]) -> dict[str, Any]:
    """The fields of a record that are not in `known`."""
    if record.keys() <= known:
        return {}
    return {field: value for field, value in record.items() if field not in known}


LABELS = ("weight", "loss_scale", "loss", "loss_weight", "train")
"""The fields of a message that can be its loss label."""


def label_of(record: dict[str, Any]) -> float | None:
    """The loss label of a message, a number or a boolean in any field of `LABELS`; None if there is none.

    If several fields have a value, the smallest counts: what one of them excludes from the loss is not learned.
    """
    weights = [_weight(record, field) for field in LABELS if record.get(field) is not None]
    return min(weights, default=None)


def _weight(record: dict[str, Any], field: str) -> float:
    value = record[field]
    if type(value) is int or type(value) is float:
        return value
    if type(value) is bool:
        return int(value)
    raise expected("number", value, field)


def arguments_of(value: Any, field: str = "arguments") -> Arguments:
    """The arguments of a call, from an object or a string that is read by `arguments_in`.

    None and blank text, which some servers write, stand for a call without arguments.
    """
    if type(value) is dict:
        return value
    if value is None or (type(value) is str and not value.strip()):
        return {}
    if type(value) is str:
        return arguments_in(value, field)
    raise expected("text or object", value, field)


def arguments_in(text: str, field: str) -> Arguments:
    """The arguments of a call from the text that the model wrote; a JSON object in it is parsed.

    Any other text is kept as it is: invalid JSON, duplicate keys or NaN in it are mistakes of the model that the audit
    reports, not a broken file. Raises FieldError if the JSON is nested too deeply.
    """
    try:
        value = jsonio.loads(text)
    except jsonio.TooDeepError as error:
        raise FieldError(field, error.reason) from None
    except DataError:
        return text
    return value if type(value) is dict else text


def json_in(text: str, field: str) -> Any:
    """Parse the JSON in a string field; errors name the field."""
    try:
        return jsonio.loads(text)
    except DataError as error:
        raise FieldError(field, error.reason) from None
