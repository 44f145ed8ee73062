"""Feedback styles of services: plain, wrapped in JSON, like HTTP, like a shell, in prose.

A style turns a result into feedback, and an exception into the feedback of a failed call. Real tools
differ in this, and so do the services of the world.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class CallError(Exception):
    """A call that does not fit the tools, found before any tool runs."""

    def __init__(self, tool: str, name: str = "") -> None:
        self.tool, self.name = tool, name
        super().__init__(tool, name)


class UnknownToolError(CallError):
    """The tool is not available."""


class UnknownArgumentError(CallError):
    """The tool has no argument of this name."""


class MissingArgumentError(CallError):
    """A required argument is missing."""


@dataclass(frozen=True, slots=True)
class Style:
    """`failure` formats an exception of a tool; `missing_first` reports missing before unknown arguments."""

    failure: Callable[[str, Exception], str]
    success: Callable[[Any], str]
    missing_first: bool = False


def plain(result: Any) -> str:
    """Return strings unchanged and format other values as JSON."""
    return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)


def _python(tool: str, error: Exception) -> str:
    match error:
        case UnknownToolError():
            return f"NameError: name '{tool}' is not defined"
        case UnknownArgumentError():
            return f"TypeError: {tool}() got an unexpected keyword argument '{error.name}'"
        case MissingArgumentError():
            return f"TypeError: {tool}() missing 1 required positional argument: '{error.name}'"
    return f"{type(error).__name__}: {error}"


def _bare(tool: str, error: Exception) -> str:
    """Only the exception's own text, as agents that print `str(error)` show it."""
    match error:
        case UnknownToolError():
            return f"'{tool}'"
        case UnknownArgumentError():
            return f"{tool}() got an unexpected keyword argument '{error.name}'"
        case MissingArgumentError():
            return f"{tool}() missing 1 required positional argument: '{error.name}'"
    return str(error)


def _sentence(tool: str, error: Exception) -> str:
    match error:
        case UnknownToolError():
            return f"unknown tool '{tool}'"
        case UnknownArgumentError():
            return f"unexpected parameter '{error.name}' for {tool}"
        case MissingArgumentError():
            return f"required parameter '{error.name}' is missing"
        case KeyError():
            return str(error.args[0])
    return str(error)


def _code(error: Exception) -> tuple[int, str]:
    match error:
        case UnknownToolError() | LookupError():
            return 404, "not_found"
        case UnknownArgumentError() | MissingArgumentError():
            return 422, "invalid_parameters"
        case PermissionError():
            return 409, "conflict"
    return 400, "bad_request"


def _json(tool: str, error: Exception) -> str:
    return json.dumps({"error": _sentence(tool, error)}, ensure_ascii=False)


def _nested(tool: str, error: Exception) -> str:
    return json.dumps({"error": {"type": _code(error)[1], "message": _sentence(tool, error)}}, ensure_ascii=False)


def _http(tool: str, error: Exception) -> str:
    return json.dumps({"status": _code(error)[0], "detail": _sentence(tool, error)}, ensure_ascii=False)


_PHRASES = {400: "Bad Request", 404: "Not Found", 409: "Conflict", 422: "Unprocessable Entity"}


def _http_text(tool: str, error: Exception) -> str:
    code = _code(error)[0]
    return f"HTTP {code} {_PHRASES[code]}: {_sentence(tool, error)}"


def _flag(tool: str, error: Exception) -> str:
    return json.dumps({"success": False, "message": _sentence(tool, error)}, ensure_ascii=False)


def _shell(tool: str, error: Exception) -> str:
    match error:
        case UnknownToolError():
            return f"bash: {tool}: command not found"
        case UnknownArgumentError():
            return f"{tool}: unrecognized option '--{error.name}'"
        case MissingArgumentError():
            return f"{tool}: option '--{error.name}' is required"
    return f"{tool}: {_sentence(tool, error)}"


def _prose(tool: str, error: Exception) -> str:
    match error:
        case UnknownToolError():
            return f"Sorry, this service does not offer {tool}. Please check the name and try again."
        case UnknownArgumentError():
            return f"The request could not be read: {error.name} is not a field of {tool}. Please correct it."
        case MissingArgumentError():
            return f"The request is incomplete. Please fill in {error.name} and send it again."
        case PermissionError():
            return f"Your request was refused: {error}"
    return f"We could not process your request: {_sentence(tool, error)}"


PYTHON = Style(_python, plain)
BARE = Style(_bare, plain)
JSON = Style(_json, plain)
NESTED = Style(_nested, lambda result: plain({"result": result}), missing_first=True)
HTTP = Style(_http, lambda result: plain({"status": 200, "data": result}))
HTTP_TEXT = Style(_http_text, plain, missing_first=True)
FLAG = Style(_flag, lambda result: plain({"success": True, "result": result}), missing_first=True)
SHELL = Style(_shell, plain)
PROSE = Style(_prose, plain, missing_first=True)
