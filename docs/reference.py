"""The reference pages, as Markdown made from the code: configuration, commands and the Python API."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

import tltrain
from tltrain.cli.app import EXIT_CODES
from tltrain.cli.main import command_line
from tltrain.config import EvaluationConfig, RunConfig
from tltrain.config.training import Section

MADE = "*This page is made from the code.*\n"
YAML_TYPES = {int: "integer", float: "number", str: "text", bool: "true or false", NoneType: "null"}


def pages() -> dict[str, str]:
    """The text of each page, by name."""
    return {"configuration": configuration(), "commands": commands(), "python": python_api()}


# Configuration


def configuration() -> str:
    """Every setting with its type, default and description."""
    intro = (
        "`tltrain run`, `sft`, `ppo` and `plan` read a YAML file with these settings; only those that differ from "
        "their defaults need to be in it. `tltrain config` prints all of them as YAML; `--set KEY=VALUE` changes one.\n"
    )
    evaluation = "The file of `tltrain eval --config`; `tltrain config --eval` prints it.\n"
    parts = ["# Configuration", MADE, intro, *_section(RunConfig, "", "A run")]
    return "\n".join([*parts, *_section(EvaluationConfig, "", "An evaluation", evaluation)]) + "\n"


def _section(kind: type[Section], path: str, title: str, intro: str = "") -> Iterator[str]:
    """A table of the section's own fields, then the sections in it."""
    yield from (f"## {title}\n", intro or f"{_prose(kind.__doc__)}\n")
    rows = [_setting(kind, name, field, path) for name, field in kind.model_fields.items()]
    yield from ("| setting | type | default | meaning |", "|---|---|---|---|", *rows, "")
    for name in kind.model_fields:
        inner = kind.section(name)
        if inner is not None:
            yield from _section(inner, f"{path}{name}.", f"`{path}{name}`")


def _setting(kind: type[Section], name: str, field: FieldInfo, path: str) -> str:
    if field.is_required():
        default = "required"
    elif kind.section(name):
        default = "off" if field.get_default(call_default_factory=True) is None else "see below"
    else:
        value = kind.model_construct(**{name: field.get_default(call_default_factory=True)}).model_dump(include={name})
        default = f"`{_yaml(value[name])}`"
    return (
        f"| `{path}{name}` | {_cell(_type(field.annotation))} | {_cell(default)} | {_cell(field.description or '')} |"
    )


def _yaml(value: Any) -> str:
    return str(yaml.safe_dump(value, default_flow_style=True, width=1000)).removesuffix("\n").removesuffix("\n...")


def _type(annotation: Any) -> str:
    """The type as a reader of YAML would say it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(map(_type, arguments))
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"table of {_type(arguments[1])} by name"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "section"
    return YAML_TYPES[annotation]


# Commands


def commands() -> str:
    """Every command with its arguments and options."""
    group = command_line()
    parts = ["# Commands", MADE, f"{_prose(EXIT_CODES)}\n"]
    for name, command in sorted(group.commands.items()):
        parts += [f"## tltrain {name}\n", f"{_prose(command.help)}\n"]
        parts += ["| argument or option | default | meaning |", "|---|---|---|"]
        parts += [_parameter(parameter) for parameter in command.params if parameter.name != "help"]
        parts.append("")
    return "\n".join(parts) + "\n"


def _parameter(parameter: Any) -> str:
    """A row of an argument or option, as typer describes it."""
    if parameter.param_type_name == "argument":
        shown = f"`{(parameter.metavar or parameter.name).upper()}`"
    else:
        value = "" if parameter.is_flag else f" {parameter.metavar or parameter.opts[0].lstrip('-').upper()}"
        shown = ", ".join(f"`{option}{value}`" for option in parameter.opts)
    default = parameter.default
    if parameter.required:
        default = "required"
    elif (parameter.param_type_name == "option" and parameter.is_flag) or default is None or callable(default):
        default = ""
    else:
        default = f"`{default}`"
    return f"| {_cell(shown)} | {_cell(default)} | {_cell(parameter.help or '')} |"


# Python


def python_api() -> str:
    """The public names of `tltrain` with their signatures and docstrings."""
    parts = ["# Python", MADE, "All of these are imported from `tltrain`.\n"]
    for name in sorted(tltrain.__all__):
        parts += _documented(name, getattr(tltrain, name))
    return "\n".join(parts) + "\n"


def _documented(name: str, value: Any) -> Iterator[str]:
    yield f"## {name}\n"
    yield from _code(f"{'class ' if inspect.isclass(value) else ''}{name}{_signature(value)}")
    yield f"{_docstring(inspect.getdoc(value) or '')}\n"
    if not inspect.isclass(value):
        return
    if is_dataclass(value):
        rows = [f"| `{field.name}` | `{_cell(str(field.type))}` |" for field in fields(value)]
        yield from ("| field | type |", "|---|---|", *rows, "")
    for member, function in vars(value).items():
        function = function.__func__ if isinstance(function, classmethod | staticmethod) else function
        if not member.startswith("_") and inspect.isfunction(function):
            yield f"### {name}.{member}\n"
            yield from _code(f"{member}{_signature(function)}")
            yield f"{_docstring(inspect.getdoc(function) or '')}\n"
        elif not member.startswith("_") and isinstance(function, property):
            yield f"### {name}.{member}\n"
            yield f"{_docstring(inspect.getdoc(function) or '')}\n"


class _Plain(str):
    """Text that a signature shows without quotes."""

    def __repr__(self) -> str:
        return str(self)


def _signature(value: Any) -> str:
    """The signature; one parameter a line if it is long."""
    signature = inspect.signature(value)
    parameters = [
        parameter.replace(annotation=_Plain(parameter.annotation), default=_default(parameter.default))
        for parameter in signature.parameters.values()
        if parameter.name != "self"
    ]
    result = signature.return_annotation
    returned = "" if inspect.isclass(value) or result is inspect.Signature.empty else f" -> {result}"
    text = str(inspect.Signature(parameters))
    if len(text) + len(returned) <= 80:
        return text + returned
    shown = "".join(f"    {part},\n" for part in _parts(parameters))
    return f"(\n{shown}){returned}"


def _parts(parameters: Sequence[inspect.Parameter]) -> Iterator[str]:
    keywords = False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not keywords:
            keywords = True
            yield "*"
        yield str(parameter)


def _default(value: Any) -> Any:
    """A default as the source would write it; `…` for what is made anew at each call."""
    if inspect.isfunction(value):
        return _Plain(value.__name__)
    return _Plain("…") if repr(value) == "<factory>" else value


def _code(text: str) -> Iterator[str]:
    yield from ("``` {.python .signature}", text, "```", "")


def _docstring(text: str) -> str:
    """Google's sections as lists."""
    lines, listed = [], False
    for line in text.splitlines():
        if line.strip() in ("Args:", "Raises:", "Returns:"):
            listed = True
            lines += ["", f"**{line.strip().rstrip(':')}**", ""]
        elif listed and (item := re.match(r"    (\w+): (.*)", line)):
            lines.append(f"- `{item[1]}`: {item[2]}")
        else:
            lines.append(line.strip() if listed else line)
    return "\n".join(lines)


def _prose(text: str | None) -> str:
    return " ".join((text or "").split())


def _cell(text: str) -> str:
    return _prose(text).replace("|", "\\|")
