"""Values that a source wrote with Python's `repr` where JSON was meant. Read from the syntax tree, never evaluated."""

from __future__ import annotations

import ast
import warnings
from typing import Any

from tltrain.errors import DataError
from tltrain.formats import jsonio
from tltrain.formats.fields import FieldError


def json_or_literal(text: str, field: str) -> Any:
    """The value of a text that is JSON, or else a Python literal of JSON's types (tuples become lists).

    Raises FieldError with JSON's reason where it is neither.
    """
    try:
        return jsonio.loads(text)
    except DataError as error:
        reason = error.reason
    try:
        return literal(text)
    except ValueError:
        raise FieldError(field, reason) from None


def literal(text: str) -> Any:
    """The value of a Python literal of JSON's types. Raises ValueError on anything else."""
    if len(text) > _MAX_LENGTH:
        raise ValueError("too long")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes such as "\d"
            tree = ast.parse(text.strip(), mode="eval").body
        value = _value(tree)
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError("no Python literal") from None
    return jsonio.loads(jsonio.dumps(value))  # the same refusals as for JSON: infinities, surrogates, depth


_MAX_LENGTH = 2**18
"""Characters. Python's parser is slow and hungry, and no tool list or call at hand has a tenth of this."""


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, (str, bool, int, float, type(None))):
        return node.value
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(element) for element in node.elts]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _value(node.operand)
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            return -number
    if isinstance(node, ast.Dict):
        keys = [None if key is None else _value(key) for key in node.keys]
        if all(isinstance(key, str) for key in keys) and len(set(keys)) == len(keys):
            return {key: _value(value) for key, value in zip(keys, node.values, strict=True)}
    raise ValueError("no Python literal of JSON's types")
