"""RoTBench's published protocol: what the authors' script does with texts, including its peculiarities."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

ACTION, INPUT = "Action:", "Action Input:"
NONE = "None"
FINISH, ASK = "finish", "ask_to_user"


class Outcome(NamedTuple):
    """Which metrics hold for a prediction. CF implies PI implies TS; an unreadable prediction has none of them."""

    TS: bool
    PI: bool
    CF: bool
    readable: bool


def judge_text(text: str, golds: Sequence[str], tools: Sequence[str]) -> Outcome:
    """Compares a prediction with the golds in their order, all as raw texts.

    A gold may change the prediction for the golds after it: `finish` becomes the last tool's name if the gold uses it,
    and arguments whose value is "None" in a gold with the same argument names are deleted.

    Args:
        text: the predicted reply.
        golds: the gold replies.
        tools: names of all tools; the last two are `ask_to_user` and `finish`.
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
    """The action and its input, None if that is not JSON.

    The script cuts at fixed distances from what Python's `find` returns for the two markers, also if that is -1.
    """
    start, end = text.find(ACTION) + len(ACTION) + 1, text.find(INPUT)
    try:
        value = json.loads(text[end + len(INPUT) + 1 :])
    except (ValueError, RecursionError):
        value = None
    return text[start:end].removesuffix("\n"), value
