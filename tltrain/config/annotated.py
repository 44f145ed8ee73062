"""The default configuration as YAML in which every field is explained."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import yaml

from tltrain.config.settings import RunConfig
from tltrain.config.training import Section

WIDTH = 110


def annotated_defaults(kind: type[Section] = RunConfig) -> str:
    """All fields at their defaults, each below its description. Reading the text gives the defaults again; sections
    that are off by default are shown as comments."""
    return "\n".join([*_comment(_summary(kind)), "", *_fields(kind, None)]) + "\n"


def _fields(kind: type[Section], values: Section | None) -> Iterator[str]:
    """Lines of a section's fields: at the values given, else at their defaults."""
    for position, (name, field) in enumerate(kind.model_fields.items()):
        value = values.model_dump(include={name})[name] if values else None
        if values is None and not field.is_required():
            value = field.get_default(call_default_factory=True)
        section = kind.section(name)
        if section and position:
            yield ""
        yield from _comment(field.description or "")
        if section is None:
            yield _line(name, value)
            continue
        known = getattr(values, name) if values else value
        inner = [f"  {line}".rstrip() for line in _fields(section, known if isinstance(known, Section) else None)]
        if isinstance(known, Section):
            yield from (f"{name}:", *inner)
        else:
            yield _line(name, None)
            yield from (f"# {line}".rstrip() for line in (f"{name}:", *inner))


def _line(name: str, value: Any) -> str:
    shown = yaml.safe_dump(value, allow_unicode=True, default_flow_style=True, width=1000)
    document = shown.removesuffix("\n").removesuffix("\n...")  # PyYAML ends a lone value so
    return f"{name}: {document}"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, WIDTH)]


def _summary(kind: type[Section]) -> str:
    return (kind.__doc__ or "").partition("\n\n")[0]
