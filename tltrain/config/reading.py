"""Configurations from YAML files: line numbers for every mistake, no duplicate keys, and `--set` overrides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from tltrain.config.mistakes import describe, unknown_field
from tltrain.config.settings import RunConfig
from tltrain.config.training import Section
from tltrain.errors import ConfigError

C = TypeVar("C", bound=Section)
Location = tuple[str, ...]
"""Keys and indices that lead to a value, such as `("sft", "arms", "0")`."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the values of a configuration come from, for error messages."""

    name: str
    """The file, or what else gave the values."""
    lines: dict[Location, int] = field(default_factory=dict)
    """Line of each value (from 1)."""
    options: dict[Location, str] = field(default_factory=dict)
    """The `--set` option of each value that has one."""

    def at(self, location: Location) -> str:
        """`FILE:LINE` of a value or of the nearest section around it, or the option that set it."""
        for end in range(len(location), 0, -1):
            if location[:end] in self.options:
                return f"--set {self.options[location[:end]]}"
            if location[:end] in self.lines:
                return f"{self.name}:{self.lines[location[:end]]}"
        return self.name


def read_config(path: Path, kind: type[C] = RunConfig, overrides: Sequence[str] = ()) -> C:  # type: ignore[assignment]
    """Read a YAML configuration.

    Args:
        path: the file.
        kind: the type of its top level.
        overrides: `KEY=VALUE` each, such as `sft.epochs=2`; they replace what the file says.

    Raises:
        ConfigError: the file does not exist, is not YAML, or has unknown, duplicate, invalid or contradictory fields;
            all of them are named with their lines.
    """
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: a folder, expected a YAML file") from None
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        found = "an empty file" if values is None else f"a {type(values).__name__}"
        raise ConfigError(f"{path}: expected fields like `model: smollm2-135m`, found {found}")
    source = Source(str(path), {})
    if duplicates := sorted(_record_lines(node, (), source.lines)):
        raise ConfigError(*(f"{path}:{line}: {why}" for line, why in duplicates))
    return _validated(override(values, overrides, kind, source), source, kind)


def parse_config(
    values: dict[str, Any],
    source: str,
    kind: type[C] = RunConfig,  # type: ignore[assignment]
    overrides: Sequence[str] = (),
) -> C:
    """Validate the fields of a configuration; `source` names it in errors, `overrides` are those of `read_config`.

    Raises:
        ConfigError: fields are unknown, invalid or contradict others.
    """
    where = Source(source)
    return _validated(override(values, overrides, kind, where), where, kind)


def override(
    values: dict[str, Any], overrides: Sequence[str], kind: type[Section], source: Source | None = None
) -> dict[str, Any]:
    """A copy of `values` with `KEY=VALUE` applied; values are read as YAML. A section that `values` lack starts from
    its defaults.

    Raises:
        ConfigError: an override has no `=`, its value is not YAML, or its section is null or no section.
    """
    source = source or Source("options")
    for option in overrides:
        path, equals, text = option.partition("=")
        location = tuple(path.strip().split("."))
        if not equals or not all(location):
            raise ConfigError(f"--set {option}: expected KEY=VALUE, such as sft.epochs=2")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"--set {option}: the value is not YAML") from None
        values = _with(values, kind, location, value, option)
        source.options[location] = option
    return values


def _with(values: dict[str, Any], kind: type[Section] | None, location: Location, value: Any, option: str) -> Any:
    """`values` with another value at a location."""
    key, *rest = location
    if not rest:
        return {**values, key: value}
    known = kind.model_fields.get(key) if kind else None
    default = known.get_default(call_default_factory=True) if known and not known.is_required() else None
    inner = values.get(key, default)
    if isinstance(inner, Section):
        inner = inner.model_dump(exclude_unset=True)
    section = kind.section(key) if kind else None
    if inner is None and key in values and section:
        raise ConfigError(
            f"--set {option}: {key} is null in the configuration; `--set {key}={{}}` before it enables it"
        )
    if inner is not None and not isinstance(inner, dict):
        raise ConfigError(f"--set {option}: {key} is a single value, not a section")
    return {**values, key: _with(inner or {}, section, tuple(rest), value, option)}


def _record_lines(node: Any, location: Location, lines: dict[Location, int]) -> Iterator[tuple[int, str]]:
    """Fill `lines`, and yield the line and the description of every duplicate key."""
    pending, seen = [(node, location)], set()
    while pending:
        node, location = pending.pop()
        if id(node) in seen:  # an alias; a document may repeat it exponentially often
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            for index, entry in enumerate(node.value):
                lines[*location, str(index)] = entry.start_mark.line + 1
                pending.append((entry, (*location, str(index))))
        elif isinstance(node, yaml.MappingNode):
            first: dict[str, int] = {}
            for key, value in node.value:
                name, line = str(key.value), key.start_mark.line + 1
                if name in first:
                    field_name = ".".join((*location, name))
                    yield line, f"{field_name}: this key is already in line {first[name]}"
                first.setdefault(name, line)
                lines[*location, name] = line
                pending.append((value, (*location, name)))


def _validated(values: dict[str, Any], source: Source, kind: type[C]) -> C:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        found = []
        for one in error.errors(include_url=False):
            location = tuple(str(part) for part in one["loc"] if part != "[key]")
            said = unknown_field(location, kind) if one["type"] == "extra_forbidden" else describe(one)
            name = ".".join(location)
            found.append((source.at(location), f"{name}: {said}" if name else said))
        found.sort(key=lambda pair: _line_number(pair[0]))
        raise ConfigError(*(f"{where}: {said}" for where, said in found)) from None


def _line_number(where: str) -> int:
    end = where.rpartition(":")[2]
    return int(end) if end.isdigit() else 0
