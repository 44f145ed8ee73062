"""Simulates tools that cannot be run: calls are answered from their documentation alone.

Equal calls get equal answers, a small JSON object with fields named after the tool. A call fails only for what the
documentation shows: a value of the wrong type or format, or a value that is not listed.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker, SchemaError, ValidationError

from tltrain.audit.feedback import feedback_failed
from tltrain.audit.schema import schema_faults
from tltrain.testsets.base import Item
from tltrain.testsets.episodes import Outcome
from tltrain.trajectory import Call, Tool

_VALUE_KEYWORDS = ("format", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength")
_RETURNS = ("returns", "output_schema", "outputSchema", "output", "response", "responses")
_LISTED = re.compile(
    r"\b(?:enum|emum|one of the following|(?:allowed|accepted|possible|valid) values|must be one of)\b(?P<rest>[^.]*)",
    re.IGNORECASE,
)
_OPEN_LIST = re.compile(r"\b(?:etc|e\.?g|such as|for example|several|or more)\b", re.IGNORECASE)
_QUOTED = re.compile(r"['\"]([^'\"]{1,40})['\"]")
_ALTERNATIVE = re.compile(r"[:(]?\s*([\w-]+)\s*(?:\([^|)]*\))?\s*\)?")
_BEFORE_LIST = re.compile(r"[^|:]*:|\s*(?:are|is)\b")
_DEFAULT = re.compile(r"\bdefault(?: is|:|=)\s*['\"]?([\w-]+)", re.IGNORECASE)
_DATE_FORM = re.compile(r"\b[yY]{4}([-/.])[mM]{2}\1[dD]{2}\b")
_OTHER_FORM = re.compile(r"\b(?:HH|hh|[dD]{2}[-/.][mM]{2}|timestamp|options|or)\b")
_COUNTED = re.compile(r"\b(?:the |maximum |a |total )*(?:number of|page number|latitude|longitude)\b", re.IGNORECASE)

_STOP_WORDS = frozenset(
    ("get", "search", "list", "find", "fetch", "query", "show", "return", "all", "by", "for", "of", "the")
)
"""Words of a tool's name that do not describe its result."""
_PLURAL_WORDS = frozenset(("search", "list", "find", "all"))
_WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "harbor", "island", "juniper", "kestrel")


class Simulator:
    """An executor that runs no tools."""

    name = "simulator"

    def execute(self, call: Call, item: Item) -> Outcome:
        """An answer in the form that the tool's documentation describes."""
        tool = next(tool for tool in item.prompt.tools if tool.name == call.name)
        reason = _refusal(call, tool)
        if reason is not None:
            return Outcome(json.dumps({"error": reason}, ensure_ascii=False), reason)
        result = _result(call, tool)
        text = json.dumps(result, ensure_ascii=False)
        if feedback_failed(text) is not None:  # an argument that the answer repeats reads like a failure
            text = json.dumps({name: value for name, value in result.items() if name != "request"}, ensure_ascii=False)
        return Outcome(text)


def _refusal(call: Call, tool: Tool) -> str | None:
    """Why a service with this documentation would reject the values; None if it would not."""
    faults = schema_faults(call, [tool])
    if faults:
        return faults[0].message
    arguments = call.arguments if isinstance(call.arguments, dict) else {}
    for name, value in arguments.items():
        schema = tool.properties.get(name)
        schema = schema if isinstance(schema, dict) else {}
        problem = _empty(value, name in tool.required) or _schema_problem(value, schema)
        problem = problem or _description_problem(value, str(schema.get("description") or ""))
        if problem is not None:
            return f"Invalid value for {name}: {problem}"
    return None


def _empty(value: Any, required: bool) -> str | None:
    return "it must not be empty" if required and isinstance(value, str) and not value.strip() else None


def _schema_problem(value: Any, schema: Mapping[str, Any]) -> str | None:
    """How the value violates the schema's format and range; invalid schemas are ignored."""
    constraints = {keyword: schema[keyword] for keyword in _VALUE_KEYWORDS if keyword in schema}
    with suppress(SchemaError, re.error, TypeError):
        try:
            Draft202012Validator(constraints, format_checker=FormatChecker()).validate(value)
        except ValidationError as error:
            return error.message
    return None


def _description_problem(value: Any, description: str) -> str | None:
    """How the value contradicts the description, as far as its wording is unambiguous."""
    if not isinstance(value, str) or not value.strip():
        return None
    choices = _choices(description)
    if choices and not {part.strip().lower() for part in re.split("[,;|]", value)} <= choices:
        return f"{value!r} is not one of {', '.join(sorted(choices))}"
    form = _DATE_FORM.search(description)
    if form and not _OTHER_FORM.search(description) and not _has_date(value, form[1]):
        return f"{value!r} is not a date of the form {form[0]}"
    if _COUNTED.match(description) and not any(letter.isdigit() for letter in value):
        return f"{value!r} is not a number"
    return None


def _choices(description: str) -> set[str]:
    """The values in lower case, if the description lists all that are allowed; otherwise empty."""
    found = _LISTED.search(description)
    if found is None or _OPEN_LIST.search(description):
        return set()
    rest, listed = found["rest"], _QUOTED.findall(found["rest"])
    if "|" in rest:
        words = [_ALTERNATIVE.fullmatch(part.strip()) for part in _BEFORE_LIST.sub("", rest, count=1).split("|")]
        listed = [word[1] for word in words if word] if all(words) else []
    return (
        {choice.strip().lower() for choice in [*listed, *_DEFAULT.findall(description)]} if len(listed) > 1 else set()
    )


def _has_date(value: str, separator: str) -> bool:
    mark = re.escape(separator)
    written = re.findall(rf"(\d{{4}}){mark}(\d\d){mark}(\d\d)", value)
    try:
        return bool([date(*map(int, parts)) for parts in written])
    except ValueError:
        return False


def _result(call: Call, tool: Tool) -> dict[str, Any]:
    """The fields of the documented result, or a field named after the tool; and the arguments as `request`."""
    arguments = call.arguments if isinstance(call.arguments, dict) else {}
    rng = random.Random(json.dumps([call.name, arguments], sort_keys=True))
    request = {name: arguments[name] for name in sorted(arguments) if not _is_secret(name)}
    fields = _documented_fields(tool)
    if fields:
        return {**{name: _value(name, schema, rng) for name, schema in fields}, "request": request}
    words = [word for word in re.split(r"[^A-Za-z0-9]+|(?<=[a-z])(?=[A-Z])", tool.name) if word]
    nouns = [word.lower() for word in words if word.lower() not in _STOP_WORDS] or ["result"]
    many = nouns[-1].endswith("s") or any(word.lower() in _PLURAL_WORDS for word in words)
    found = [_record(nouns, rng) for _ in range(_record_count(arguments))] if many else _record(nouns, rng)
    return {"_".join(nouns): found, "request": request}


def _documented_fields(tool: Tool) -> Sequence[tuple[str, Any]]:
    declared: dict[str, Any] = next(
        (tool.extra[field] for field in _RETURNS if isinstance(tool.extra.get(field), dict)), {}
    )
    properties = declared.get("properties", declared)
    return [(name, schema) for name, schema in properties.items() if isinstance(schema, dict)]


def _value(name: str, schema: Mapping[str, Any], rng: random.Random) -> Any:
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return rng.choice(choices)
    match schema.get("type"):
        case "integer":
            return rng.randint(1, 100)
        case "number" | "float":
            return round(rng.uniform(1, 100), 2)
        case "boolean":
            return True
        case "array":
            items = schema.get("items")
            return [_value(name, items if isinstance(items, dict) else {}, rng) for _ in range(2)]
        case "object" | "dict":
            inner = schema.get("properties")
            return {key: _value(key, part, rng) for key, part in (inner or {}).items() if isinstance(part, dict)}
    return f"{rng.choice(_WORDS)} {name}"


def _record(nouns: Sequence[str], rng: random.Random) -> dict[str, Any]:
    label = " ".join(nouns)
    return {
        "id": rng.randint(1000, 9999),
        "name": f"{rng.choice(_WORDS)} {label}",
        "value": round(rng.uniform(1, 100), 2),
        "date": f"2024-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}",
    }


def _record_count(arguments: Mapping[str, Any]) -> int:
    """The number of records that a call requests, at most five; three by default."""
    return next((min(max(number, 1), 5) for number in _counts(arguments)), 3)


def _counts(arguments: Mapping[str, Any]) -> Iterator[int]:
    for name, value in arguments.items():
        if re.search("cnt|count|limit|size|number|num", name.lower()) and re.fullmatch(r"\d{1,9}", str(value)):
            yield int(value)


def _is_secret(name: str) -> bool:
    return re.search("key|token|password|secret", name.lower()) is not None
