"""Detects failure in structured answers: a JSON object or array, a Python literal, or markup.

Fields that describe the call are at the top level of an answer or of its wrapper (`response`, `result`, `data`, …);
fields of the same names at deeper levels, or in a list of many items, are data. A message is taken to describe the call
only in an envelope: an object that contains only messages, codes and empty fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, Literal

from tltrain.audit.kinds import excerpt
from tltrain.audit.literals import read_value, unwrap
from tltrain.audit.statements import code_failed, text_failed

FieldRole = Literal[
    "error", "error code", "status", "code", "success", "exit", "failed", "message", "remark", "envelope", "wrapper", ""
]

Field = tuple[FieldRole, str, Any]
"""The role of a field, its name, and its value."""

_DECISIVE = ("error", "error code", "success", "failed")
DEEPEST = 4
"""Maximum number of nested wrappers that are searched."""
_MOST_FIELDS = 500

_NAMES: dict[FieldRole, str] = {
    "error": "error errors err errormessage errormessages errormsg errmsg errordescription errordetail errordetails "
    "errortext errorinfo errorreason exception exceptionmessage fault faultstring faultcode failure",
    "error code": "errorcode errcode errorno errno errorstatus",
    "status": "status outcome resultstatus responsestatus statuscode httpstatus httpcode httpstatuscode cod stat",
    "code": "code resultcode retcode responsecode infocode type reasoncode codigo código ret",
    "success": "success ok issuccess issuccessful successful succeeded issucceeded isok",
    "exit": "exitcode exitstatus returncode",
    "failed": "iserror haserror haserrors failed isfailed hasfailed",
    "message": "message messages msg detail details statusmessage statustext statusmsg resultmsg resultmessage "
    "responsemessage responsedetails mensaje mensagem meldung nachricht mesaj messaggio 消息 信息 提示",
    "remark": "title text note information info description reason remark resolution hint help",
    "envelope": "requestid traceid timestamp time path instance documentationurl docs version jsonrpc retryafter "
    "retryable meta metadata moreinfo servertime tool toolname function",
    "wrapper": "response responses result results output outputs data body content payload return returned returnvalue "
    "value observation toolresult header",
}
"""Field names (letters and digits only, in lower case) by role; fields with other names are data."""
_ROLES = {name: role for role, names in _NAMES.items() for name in names.split()}
_NO_ERROR = (
    *("", "none", "null", "nil", "no", "no error", "no errors", "noerror", "ok", "okay", "success", "successful"),
    *("succeeded", "false", "0", "00", "000", "0000", "200", "n/a", "na", "-", "undefined", "not applicable", "empty"),
)
"""Values of an error field, in lower case, that mean that no error occurred."""
_FAILED_WORDS = (
    "error",
    "err",
    "fail",
    "failed",
    "failure",
    "exception",
    "unsuccessful",
    "rejected",
    "denied",
    "refused",
)
_ERROR_ELEMENT = re.compile(
    r"\s*(?:<\?xml[^>]{0,200}>\s*)?<(?:\w{1,30}:)?\w{0,30}(?:error|fault|exception)\w{0,30}[\s>]|"
    r".{0,400}<(?:\w{1,30}:)?(?:fault|faultstring|error|errormessage|error_message)>\s*[^<\s]|"
    r".{0,400}<(?:status|result|code)>\s*(?:error|fail\w*|[45]\d\d)\s*<",
    re.I | re.S,
)
_HEADING = re.compile(r"<(?:title|h1|h2|pre)\b[^>]{0,200}>([^<]{1,200})<", re.I)
_ERROR_HEADING = re.compile(r"(?:\w+ )?error(?: page)?(?: ?\d{3})?\W*|.{0,30}\berror page\W*|[45]\d\d\b.{0,60}", re.I)


def answer_failed(text: str, depth: int = 0) -> str | None:
    """Why a feedback text, or a text nested in it, reports failure; None if it does not."""
    text = unwrap(text.strip())
    value = read_value(text)
    if not isinstance(value, str):
        return value_failed(value, depth)
    if value is not text and value != text and depth < DEEPEST:
        return answer_failed(value, depth + 1)
    return (markup_failed(text) if text.startswith("<") else None) or text_failed(text)


def markup_failed(text: str) -> str | None:
    """Why an XML or HTML answer reports failure: an error element, or the title of an error page."""
    if _ERROR_ELEMENT.match(text):
        return f"error element: {excerpt(text)}"
    for heading in islice(_HEADING.finditer(text[:5_000]), 4):
        words = heading[1].strip()
        if _ERROR_HEADING.fullmatch(words) or text_failed(words):
            return f"error page: {words}"
    return None


def value_failed(value: Any, depth: int = 0, succeeded: bool = False) -> str | None:
    """Why the JSON value of an answer reports failure; None if it does not.

    Args:
        value: the value.
        depth: number of wrappers around the value.
        succeeded: the wrapper reports success, so only an error field can report failure.
    """
    if depth > DEEPEST:
        return None
    if isinstance(value, dict):
        return _object_failed(value, depth, succeeded)
    if isinstance(value, str):
        return None if succeeded else answer_failed(value, depth)
    return _array_failed(value, depth) if isinstance(value, list) and not succeeded else None


def _array_failed(items: list[Any], depth: int) -> str | None:
    """Why an array of few items reports failure: all of them do. The parts of a text are joined first."""
    if not items or len(items) > 8:
        return None
    if all(
        isinstance(item, dict) and item.get("type") == "text" and isinstance(item.get("text"), str) for item in items
    ):
        return answer_failed("\n".join(item["text"] for item in items), depth + 1)
    if isinstance(items[0], str) and len(items) > 1:
        return None
    reasons = [value_failed(item, depth + 1) for item in items]
    return reasons[0] if all(reasons) else None


def _object_failed(value: Mapping[str, Any], depth: int, succeeded: bool) -> str | None:
    named = [(role_of(key), key, item) for key, item in islice(value.items(), _MOST_FIELDS) if isinstance(key, str)]
    fields = [field for field in named if field[0]]
    if not fields:
        return None
    data = [item for role, _, item in named if not role and not _is_empty(item)]
    for role, key, item in fields:
        if _field_failed(role, item, not data, value) and (role in _DECISIVE or not succeeded):
            return f"{role} field {key}: {excerpt(_shown(item, value))}"
    if not succeeded and _is_envelope(fields, data) and (reason := _message_failed(fields, depth)):
        return reason
    return _wrapped_failed(fields, not data, depth)


def _is_envelope(fields: list[Field], data: list[Any]) -> bool:
    """Whether the messages of an object describe the call: it has no other data (except a list of choices), or it has a
    failure code."""
    if any(role == "wrapper" and not _is_empty(item) for role, _, item in fields):
        return False
    numbered = any(role in ("code", "status", "error code") and _is_failure_number(item) for role, _, item in fields)
    return numbered or not data or (len(data) == 1 and isinstance(data[0], list))


def _field_failed(role: FieldRole, item: Any, envelope: bool, value: Mapping[str, Any]) -> bool:
    match role:
        case "error":
            return _is_error(item)
        case "error code":
            return _is_code(item) and not _reports_success(value)
        case "status":
            return _http_failure(item) or (item is False and envelope) or _is_failed_word(item, envelope)
        case "code":
            return envelope and (_http_failure(item) or _is_failed_word(item, True))
        case "success":
            return item is False or (isinstance(item, str) and item.lower() == "false") or (item == 0 and envelope)
        case "failed":
            return item is True or (isinstance(item, str) and item.lower() == "true")
        case "exit":
            return isinstance(item, int) and item != 0 and not 200 <= item < 300
    return role in ("envelope", "wrapper") and _is_failed_word(item, envelope)


def _message_failed(fields: list[Field], depth: int) -> str | None:
    """Why the messages of an envelope report failure. Remarks (title, note) are considered next to a message or code,
    or if there is no other field."""
    judged = ["message", "status", "code"]
    if len(fields) == 1 or any(role in ("message", "code", "status") for role, _, _ in fields):
        judged.append("remark")
    for role, _, item in fields:
        if role not in judged:
            continue
        reason = (
            text_failed(item.strip()) or code_failed(item) if isinstance(item, str) else value_failed(item, depth + 1)
        )
        if reason:
            return reason
    return None


def _wrapped_failed(fields: list[Field], alone: bool, depth: int) -> str | None:
    """Why the contents of a wrapper report failure. A text is considered only if there is no other data."""
    succeeded = any(role in ("success", "status") and _is_success(item) for role, _, item in fields)
    for role, key, item in fields:
        is_wrapper = role == "wrapper" or (role == "message" and isinstance(item, dict)) or key in ("meta", "text")
        if is_wrapper and (alone or isinstance(item, dict)):
            reason = value_failed(item, depth + 1, succeeded)
            if reason:
                return reason
    return None


@lru_cache(maxsize=4096)
def role_of(key: str) -> FieldRole:
    """The role of a field of this name; "" if it is data."""
    return _ROLES.get("".join(filter(str.isalnum, key)).lower(), "") if len(key) <= 40 else ""


def _is_empty(item: Any) -> bool:
    return item is None or (isinstance(item, str | list | dict) and not item)


def _is_error(item: Any, depth: int = 0) -> bool:
    """Whether an error field reports an error; `""`, `[]`, `0`, "none" and containers of these do not."""
    if isinstance(item, str):
        return item.strip(" .").lower() not in _NO_ERROR
    if isinstance(item, dict | list):
        inner = item.values() if isinstance(item, dict) else item
        return depth < DEEPEST and any(_is_error(value, depth + 1) for value in islice(inner, 50))
    is_code = isinstance(item, int) and item != 0 and not 200 <= item < 300
    return item is True or (is_code and (depth > 0 or not 0 < item < 100))


def _is_success(item: Any) -> bool:
    return item is True or (isinstance(item, str) and item.lower() in ("success", "ok", "true", "succeeded"))


def _is_code(item: Any) -> bool:
    return str(item).strip().lower() not in _NO_ERROR if isinstance(item, str | int) else False


def _http_failure(item: Any) -> bool:
    if isinstance(item, str) and len(item) == 3 and item.isdigit():
        return 400 <= int(item) < 600
    return isinstance(item, int) and 400 <= item < 600


def _is_failure_number(item: Any) -> bool:
    return isinstance(item, int) and not isinstance(item, bool) and item not in (0, 1) and not 200 <= item < 300


def _is_failed_word(item: Any, envelope: bool) -> bool:
    """Whether a status means failure. Outside an envelope, `failed` may be the state of the item that was requested."""
    if not isinstance(item, str) or len(item) > 60:
        return False
    word = item.strip().lower()
    return word in ("error", "err") or (envelope and (word in _FAILED_WORDS or code_failed(item) is not None))


def _reports_success(value: Mapping[str, Any]) -> bool:
    return any(
        isinstance(item, str) and item.lower() in ("success", "ok", "成功") for item in islice(value.values(), 20)
    )


def _shown(item: Any, value: Mapping[str, Any]) -> str:
    """The text quoted in a reason: the field's value and, if that is a flag or code, the first message beside it."""
    if isinstance(item, str | dict | list):
        return str(item)[:400]
    messages: Iterator[Any] = (
        other for key, other in islice(value.items(), 20) if role_of(str(key)) in ("message", "remark")
    )
    message = next(messages, None)
    return f"{item}, {message}" if isinstance(message, str) else str(item)
