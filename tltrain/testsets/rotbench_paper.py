"""RoTBench's published protocol: what the authors' script does with texts, its quirks included."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

ACTION, INPUT = "Action:", "Action Input:"
NONE = "None"
FINISH, ASK = "finish", "ask_to_user"


class Outcome(NamedTuple):
    """What holds for a prediction; CF implies PI implies TS. One that is not readable has none of them."""

    TS: bool
    PI: bool
    CF: bool
    readable: bool


def judge_text(text: str, golds: Sequence[str], tools: Sequence[str]) -> Outcome:
    """A prediction beside the golds in their order, all as texts.

    What a gold changes in the prediction stays for later golds: `finish` becomes the last tool's name where a gold
    has that, and arguments are deleted whose value is "None" in a gold with the same argument names.

    tools: all names, those of `ask_to_user` and `finish` last.
    """
    action, arguments = split_text(text)
    if not isinstance(arguments, dict) or not arguments:
        return Outcome(False, False, False, False)
    last = tools[-1] if tools else FINISH
    plain = {*tools[-2:], FINISH, ASK}
    reached = 0
    for gold_action, gold_arguments in map(split_text, golds):
        if gold_action == last and action == FINISH:
            action = last
        if gold_action != action or not isinstance(gold_arguments, dict):
            continue
        reached = max(reached, 1)
        if gold_arguments.keys() != arguments.keys():
            continue
        reached = max(reached, 2)
        if gold_action not in plain:
            for name in [name for name, value in gold_arguments.items() if value == NONE]:
                del gold_arguments[name], arguments[name]
        if gold_action in plain or gold_arguments == arguments:
            reached = 3
    return Outcome(reached > 0, reached > 1, reached > 2, True)


def split_text(text: str) -> tuple[str, Any]:
    """Action and input. The input is None where it is no JSON.

    The script cuts at fixed distances from where Python's `find` sees the two markers, which is -1 for one that is
    not there.
    """
    start, end = text.find(ACTION) + len(ACTION) + 1, text.find(INPUT)
    try:
        value = json.loads(text[end + len(INPUT) + 1 :])
    except (ValueError, RecursionError):
        value = None
    return text[start:end].removesuffix("\n"), value
