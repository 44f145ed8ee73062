"""Typed functions of a Python file as tools: schemas from signatures and docstrings, as `transformers` derives them."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import PydanticUserError, ValidationError, validate_call

from tltrain.chat.text import one_line
from tltrain.chat.toolbox import error_result, limited
from tltrain.errors import ToolError
from tltrain.trajectory import Call, Tool

_MODULE = "tltrain_tools_of_the_user"


@dataclass(frozen=True, slots=True)
class FunctionTools:
    """Functions of the user, called in this process. Arguments are converted to the annotated types as pydantic does
    ("12" for an `int`), or refused."""

    name: str
    tools: tuple[Tool, ...]
    functions: Mapping[str, Callable[..., Any]]
    system: str | None = None
    examples: tuple[str, ...] = ()

    def execute(self, call: Call) -> str:
        """See `Toolbox`. What a function prints goes to stderr."""
        if call.name not in self.functions:
            return error_result(f"there is no tool named {call.name}")
        if not isinstance(call.arguments, dict):
            return error_result("the arguments are not a JSON object")
        try:
            with redirect_stdout(sys.stderr):
                result = self.functions[call.name](**call.arguments)
                result = asyncio.run(result) if inspect.iscoroutine(result) else result
        except ValidationError as error:
            return error_result(_problems(error))
        except (Exception, SystemExit) as error:
            return error_result(f"{type(error).__name__}: {one_line(error)}")
        return limited(_text(result))


def load_functions(path: Path) -> FunctionTools:
    """The public functions that a Python file defines, or those in its `__all__`. The file is executed.

    Raises:
        ToolError: the file cannot be run, defines no function, or one lacks type hints or a description of an argument.
    """
    module = _module(path)
    names = module.__dict__.get("__all__")
    functions = {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and _is_public(name, value, names)
    }
    if not functions:
        raise ToolError(f"{path}: defines no public function to use as a tool")
    tools = tuple(_tool(path, name, function) for name, function in functions.items())
    checked = {name: _checked(path, name, function) for name, function in functions.items()}
    return FunctionTools(path.name, tools, checked)


def _is_public(name: str, function: Callable[..., Any], names: Any) -> bool:
    if names is not None:
        return name in names
    return not name.startswith("_") and function.__module__ == _MODULE


def _module(path: Path) -> ModuleType:
    if not path.is_file():
        raise ToolError(f"{path}: no such file")
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    assert spec is not None and spec.loader is not None, "the caller has checked the suffix"
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE] = module  # decorators such as dataclass look it up
    sys.path.insert(0, str(path.parent.resolve()))  # as `python FILE.py` does
    try:
        with redirect_stdout(sys.stderr):
            spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ToolError(f"{path}:{error.lineno}: {error.msg}") from None
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        place = f"{path}:{lines[-1]}" if lines else str(path)
        raise ToolError(f"{place}: {type(error).__name__}: {one_line(error)}") from None
    finally:
        sys.path.remove(str(path.parent.resolve()))
    return module


def _tool(path: Path, name: str, function: Callable[..., Any]) -> Tool:
    from transformers.utils import get_json_schema

    try:
        described = get_json_schema(function)["function"]
    except Exception as error:  # its two exceptions, and those of hints that do not resolve
        raise ToolError(f"{path}: {name}: {one_line(error)}") from None
    return Tool(name, described["description"], described["parameters"])


def _checked(path: Path, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    try:
        return validate_call(function)
    except PydanticUserError as error:
        raise ToolError(f"{path}: {name}: {one_line(error)}") from None


def _problems(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5])


def _text(result: Any) -> str:
    """A result as text: text as it is, None as null, anything else as JSON, and as its `str` inside of it where it has
    no JSON."""
    if isinstance(result, str):
        return result
    try:
        return json.dumps(result, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):  # keys that are no text, circular lists
        return str(result)
