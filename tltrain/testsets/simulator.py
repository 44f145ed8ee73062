"""Answers calls from their tool's documentation alone, where the tools themselves cannot be run.

The same call always gets the same answer, a small JSON object with fields named after the tool. A call fails only for
what the documentation lets one see: a value of the wrong type or form, or one that is not among those listed.
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
_BARRED = re.compile(r"[:(]?\s*([\w-]+)\s*(?:\([^|)]*\))?\s*\)?")
_BEFORE_LIST = re.compile(r"[^|:]*:|\s*(?:are|is)\b")
_DEFAULT = re.compile(r"\bdefault(?: is|:|=)\s*['\"]?([\w-]+)", re.IGNORECASE)
_DATE_FORM = re.compile(r"\b[yY]{4}([-/.])[mM]{2}\1[dD]{2}\b")
_OTHER_FORM = re.compile(r"\b(?:HH|hh|[dD]{2}[-/.][mM]{2}|timestamp|options|or)\b")
_COUNTED = re.compile(r"\b(?:the |maximum |a |total )*(?:number of|page number|latitude|longitude)\b", re.IGNORECASE)

_DO = frozenset(("get", "search", "list", "find", "fetch", "query", "show", "return", "all", "by", "for", "of", "the"))
"""Words of a tool's name that are no part of what it returns."""
_MANY = frozenset(("search", "list", "find", "all"))
_WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "harbor", "island", "juniper", "kestrel")


class Simulator:
    """Executes nothing, and says so by its name."""

    name = "simulator"

    def execute(self, call: Call, item: Item) -> Outcome:
        """The answer that the documentation of the call's tool allows."""
        tool = next(tool for tool in item.prompt.tools if tool.name == call.name)
        reason = _refusal(call, tool)
        if reason is not None:
            return Outcome(json.dumps({"error": reason}, ensure_ascii=False), reason)
        result = _result(call, tool)
        text = json.dumps(result, ensure_ascii=False)
        if feedback_failed(text) is not None:  # a value of the call's reads like a failure, which this is not
            text = json.dumps({name: value for name, value in result.items() if name != "request"}, ensure_ascii=False)
        return Outcome(text)


def _refusal(call: Call, tool: Tool) -> str | None:
    """Why a service with this documentation would refuse the values; None where it would not."""
    faults = schema_faults(call, [tool])
    if faults:
        return faults[0].message
    arguments = call.arguments if isinstance(call.arguments, dict) else {}
    for name, value in arguments.items():
        schema = tool.properties.get(name)
        schema = schema if isinstance(schema, dict) else {}
        trouble = _empty(value, name in tool.required) or _keyword_trouble(value, schema)
        trouble = trouble or _described_trouble(value, str(schema.get("description") or ""))
        if trouble is not None:
            return f"Invalid value for {name}: {trouble}"
    return None


def _empty(value: Any, required: bool) -> str | None:
    return "it must not be empty" if required and isinstance(value, str) and not value.strip() else None


def _keyword_trouble(value: Any, schema: Mapping[str, Any]) -> str | None:
    """What the schema's form and range say, where they can be understood."""
    said = {keyword: schema[keyword] for keyword in _VALUE_KEYWORDS if keyword in schema}
    with suppress(SchemaError, re.error, TypeError):
        try:
            Draft202012Validator(said, format_checker=FormatChecker()).validate(value)
        except ValidationError as error:
            return error.message
    return None


def _described_trouble(value: Any, description: str) -> str | None:
    """What the description says of values, in the few forms that are clear."""
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
    """The values that the description lists as the only ones, in lower case; empty where it lists none."""
    found = _LISTED.search(description)
    if found is None or _OPEN_LIST.search(description):
        return set()
    rest, listed = found["rest"], _QUOTED.findall(found["rest"])
    if "|" in rest:
        words = [_BARRED.fullmatch(part.strip()) for part in _BEFORE_LIST.sub("", rest, count=1).split("|")]
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
    """Fields the documentation promises; else one named after the tool; and what was asked for."""
    arguments = call.arguments if isinstance(call.arguments, dict) else {}
    chance = random.Random(json.dumps([call.name, arguments], sort_keys=True))
    asked = {name: arguments[name] for name in sorted(arguments) if not _is_secret(name)}
    promised = _promised(tool)
    if promised:
        return {**{name: _typed(name, schema, chance) for name, schema in promised}, "request": asked}
    words = [word for word in re.split(r"[^A-Za-z0-9]+|(?<=[a-z])(?=[A-Z])", tool.name) if word]
    nouns = [word.lower() for word in words if word.lower() not in _DO] or ["result"]
    many = nouns[-1].endswith("s") or any(word.lower() in _MANY for word in words)
    found = [_record(nouns, chance) for _ in range(_wanted(arguments))] if many else _record(nouns, chance)
    return {"_".join(nouns): found, "request": asked}


def _promised(tool: Tool) -> Sequence[tuple[str, Any]]:
    declared: dict[str, Any] = next(
        (tool.extra[field] for field in _RETURNS if isinstance(tool.extra.get(field), dict)), {}
    )
    properties = declared.get("properties", declared)
    return [(name, schema) for name, schema in properties.items() if isinstance(schema, dict)]


def _typed(name: str, schema: Mapping[str, Any], chance: random.Random) -> Any:
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return chance.choice(choices)
    match schema.get("type"):
        case "integer":
            return chance.randint(1, 100)
        case "number" | "float":
            return round(chance.uniform(1, 100), 2)
        case "boolean":
            return True
        case "array":
            items = schema.get("items")
            return [_typed(name, items if isinstance(items, dict) else {}, chance) for _ in range(2)]
        case "object" | "dict":
            inner = schema.get("properties")
            return {key: _typed(key, one, chance) for key, one in (inner or {}).items() if isinstance(one, dict)}
    return f"{chance.choice(_WORDS)} {name}"


def _record(nouns: Sequence[str], chance: random.Random) -> dict[str, Any]:
    label = " ".join(nouns)
    return {
        "id": chance.randint(1000, 9999),
        "name": f"{chance.choice(_WORDS)} {label}",
        "value": round(chance.uniform(1, 100), 2),
        "date": f"2024-{chance.randint(1, 12):02d}-{chance.randint(1, 28):02d}",
    }


def _wanted(arguments: Mapping[str, Any]) -> int:
    """How many records a call asks for, of at most five; three where it does not say."""
    return next((min(max(number, 1), 5) for number in _counts(arguments)), 3)


def _counts(arguments: Mapping[str, Any]) -> Iterator[int]:
    for name, value in arguments.items():
        if re.search("cnt|count|limit|size|number|num", name.lower()) and re.fullmatch(r"\d{1,9}", str(value)):
            yield int(value)


def _is_secret(name: str) -> bool:
    return re.search("key|token|password|secret", name.lower()) is not None
