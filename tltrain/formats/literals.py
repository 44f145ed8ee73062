"""Values that a data set stores as Python's `repr` instead of JSON. They are parsed, never evaluated."""

from __future__ import annotations

import ast
import warnings
from typing import Any

from tltrain.errors import DataError
from tltrain.formats import jsonio
from tltrain.formats.fields import FieldError


def json_or_literal(text: str, field: str) -> Any:
    """Parse a string as JSON, or else as a Python literal of JSON's types (tuples become lists).

    Raises FieldError with the JSON error if it is neither.
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
    """Parse a Python literal of JSON's types. Raises ValueError for anything else."""
    if len(text) > _MAX_LENGTH:
        raise ValueError("too long")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about escapes such as "\d"
            tree = ast.parse(text.strip(), mode="eval").body
        value = _value(tree)
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError("not a Python literal") from None
    return jsonio.loads(jsonio.dumps(value))  # the same checks as for JSON: infinities, surrogates, nesting


_MAX_LENGTH = 2**18
"""Maximum length in characters. Python's parser is slow and needs much memory; the tool lists and calls seen so far
have less than a tenth of this."""


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
    raise ValueError("not a Python literal of JSON's types")
