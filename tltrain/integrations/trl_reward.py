"""The judge's reward for TRL's GRPOTrainer (and RLOOTrainer): `reward_funcs=tool_call_reward`.

The rows of the data set have the columns `golds`, `tools` and `dialect` of `tltrain convert --to trl-grpo`, as text or
already parsed. TRL's own `tools` argument is not used: it shows every prompt the same tools, and executes the calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tltrain import dialects
from tltrain.encode.decoding import decode_reply
from tltrain.encode.rendering import Renderer
from tltrain.errors import DataError
from tltrain.integrations.grading import DEFAULT_DIALECT, grade
from tltrain.judging import Verdict

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ToolCallReward:
    """A reward function of TRL: the judge's reward of each completion, in [-2, 1].

    Args:
        tokenizer: the model's. With it, replies truncated at `max_completion_length` are unparseable, as in tltrain's
            own training, and calls marked by special tokens can be read: TRL hands over texts without those. Needed for
            Llama 3's, Mistral's and Gemma's calls and for the dialect `native`.
        dialect: how replies are written; by default the `dialect` of each row, or hermes for rows without.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase | None = None, dialect: str | None = None) -> None:
        self.__name__ = "tool_call_reward"  # TRL logs the mean reward under this name
        self.tokenizer, self.dialect = tokenizer, dialect
        self._stop_ids = () if tokenizer is None else Renderer(tokenizer).stop_ids

    def __call__(
        self,
        completions: Sequence[Any],
        golds: Sequence[Any] | None = None,
        tools: Sequence[Any] | None = None,
        dialect: Sequence[str] | None = None,
        completion_ids: Sequence[Sequence[int]] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **_: Any,
    ) -> list[float]:
        """The rewards of the completions; TRL passes the columns of the data set by name, an entry per completion.

        Raises:
            DataError: the rows have no `golds`, or `golds` or `tools` are malformed.
        """
        if golds is None:
            raise DataError("the data set has no column 'golds': tltrain convert --to trl-grpo writes it")
        number = len(completions)
        verdicts = [
            self._verdict(*row)
            for row in zip(
                completions,
                golds,
                [None] * number if tools is None else tools,
                [None] * number if dialect is None else dialect,
                [None] * number if completion_ids is None else completion_ids,
                strict=True,
            )
        ]
        if log_metric is not None and verdicts:
            for name in ("TS", "PI", "CF"):
                log_metric(f"tool_call/{name}", sum(verdict.to_json()[name] for verdict in verdicts) / number)
        return [verdict.reward for verdict in verdicts]

    def _verdict(
        self, completion: Any, golds: Any, tools: Any, dialect: str | None, ids: Sequence[int] | None
    ) -> Verdict:
        form = dialects.get(self.dialect or dialect or DEFAULT_DIALECT, self.tokenizer)
        if self.tokenizer is None or ids is None:
            return grade(completion, golds, tools, form)
        finished = len(ids) > 0 and ids[-1] in self._stop_ids
        reply = completion if _has_calls(completion) else decode_reply(self.tokenizer, ids, self._stop_ids)
        return grade(reply, golds, tools, form, finished)


def _has_calls(completion: Any) -> bool:
    """Whether TRL has parsed the reply, and perhaps appended feedback and further replies, whose ids follow."""
    return not isinstance(completion, str) and any(message.get("tool_calls") for message in completion)


tool_call_reward = ToolCallReward()
"""The reward without a tokenizer: for texts whose calls are not marked by special tokens."""
