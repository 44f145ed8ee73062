"""What is wrong with a configuration, in words for its author: the validation library's own words never appear."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from tltrain.config.training import Section

EXPECTED = {
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "string_pattern_mismatch": "only letters, digits, `_` and `-`",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "literal_error": "{expected}",
    "list_type": "a list",
    "too_short": "at least {min_length} entry",
    "dict_type": "fields",
    "model_type": "a section with fields",
    "model_attributes_type": "a section with fields",
    "invalid_key": "the name of a field",
}
"""What was expected, by the type of pydantic's error."""
SUGGESTIONS = 3
"""At most this many fields are suggested."""


def describe(error: Mapping[str, Any]) -> str:
    """What pydantic's error says, in our words: `expected more than 0, found -1`."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return "this field is required"
    expected = EXPECTED[kind].format(**context) if kind in EXPECTED else "a value of another kind"
    found = error["input"]
    shown = "null" if found is None else textwrap.shorten(repr(found), 80, placeholder=" …")
    if kind == "literal_error" and isinstance(found, str):
        choices = [choice.strip("'") for choice in context["expected"].replace(" or ", ", ").split(", ")]
        return f"expected {context['expected']}, found {shown}{_did_you_mean(_closest(found, choices))}"
    return f"expected {expected}, found {shown}"


def unknown_field(location: tuple[str, ...], kind: type[Section]) -> str:
    """That there is no such field, and which ones the author may have meant."""
    *around, name = location
    if len(around) > 1 and (entry := kind.entry(around[-2])) is not None:
        found = [".".join((*around, field)) for field in _closest(name, entry.model_fields)]
    else:
        found = _candidates(tuple(around), name, field_paths(kind))
    return f"there is no such field{_did_you_mean(found)}"


def field_paths(kind: type[Section], around: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of all fields of a section and of the sections in it, sections included."""
    paths = []
    for name in kind.model_fields:
        paths.append((*around, name))
        if (section := kind.section(name)) is not None:
            paths += field_paths(section, (*around, name))
    return paths


def _candidates(around: tuple[str, ...], name: str, paths: list[tuple[str, ...]]) -> list[str]:
    """Fields of that name further inside, else similar ones beside it, else of that or a similar name anywhere."""
    inside = [path for path in paths if path[: len(around)] == around]
    beside = {path[-1]: path for path in inside if len(path) == len(around) + 1}
    exact_inside = [path for path in inside if path[-1] == name] if around else []
    similar = [beside[match] for match in _closest(name, beside)]
    anywhere = [path for path in paths if path[-1] == name]
    leaves = {path[-1]: path for path in reversed(paths)}
    close = [leaves[match] for match in _closest(name, leaves, cutoff=0.75)]
    found = exact_inside or similar or anywhere or close
    return [".".join(path) for path in found[:SUGGESTIONS]]


def _closest(name: str, choices: Iterable[str], cutoff: float = 0.6) -> list[str]:
    """The most similar choice, if any; swapped letters (`modle`) count as more similar than missing ones."""
    found = difflib.get_close_matches(name, choices, SUGGESTIONS, cutoff)
    return sorted(found, key=lambda choice: sorted(choice) != sorted(name))[:1]


def _did_you_mean(names: list[str]) -> str:
    if not names:
        return ""
    *first, last = (f"`{name}`" for name in names)
    return f"; did you mean {', '.join(first)} or {last}?" if first else f"; did you mean {last}?"
