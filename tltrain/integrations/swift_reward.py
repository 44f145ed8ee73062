"""The judge's reward as a plugin of ms-swift:

    swift rlhf --rlhf_type grpo --external_plugins PATH_OF_THIS_FILE --reward_funcs tool_call

The rows are those of `tltrain convert --to ms-swift-grpo`, which also prints the path of this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swift.rewards import ORM, orms

from tltrain.errors import DataError
from tltrain.integrations.grading import grade

NAME = "tool_call"
"""The name for `--reward_funcs`."""


class ToolCallORM(ORM):  # type: ignore[misc]
    """An outcome reward of ms-swift: the judge's reward of each completion, in [-2, 1]."""

    def __call__(
        self,
        completions: Sequence[Any],
        solution: Sequence[Any] | None = None,
        tools: Sequence[Any] | None = None,
        dialect: Sequence[str] | None = None,
        is_truncated: Sequence[bool] | None = None,
        **_: Any,
    ) -> list[float]:
        """The rewards of the completions; ms-swift passes the columns of the data set by name.

        Raises:
            DataError: the rows have no `solution`, or `solution` or `tools` are malformed.
        """
        if solution is None:
            raise DataError("the data set has no column 'solution': tltrain convert --to ms-swift-grpo writes it")
        number = len(completions)
        rows = zip(
            completions,
            solution,
            [None] * number if tools is None else tools,
            [None] * number if dialect is None else dialect,
            [False] * number if is_truncated is None else is_truncated,
            strict=True,
        )
        return [grade(reply, golds, own, form, not cut).reward for reply, golds, own, form, cut in rows]


orms[NAME] = ToolCallORM
