"""Evaluation by generation: replies to the unfailed steps of a test split, judged and counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from tltrain.dialects import Dialect, Parsed
from tltrain.encode import Prompt
from tltrain.judging import Verdict, judge, summarize

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tltrain.engine.generate import Generated
    from tltrain.sft import Progress

CUT = "cut by the length limit"


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    stop_ids: Sequence[int],
    dialect: Dialect,
    max_new_tokens: int = 128,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> list[tuple[dict[str, Any], Verdict]]:
    """Greedy replies to all prompts, each with its verdict; the first of a pair is a line of `predictions/*.jsonl`."""
    from tltrain.engine.generate import generate

    finished = 0

    def show(count: int) -> None:
        nonlocal finished
        finished += count
        if progress is not None:
            progress("replies", finished, len(prompts))

    replies = generate(
        model,
        [prompt.ids for prompt in prompts],
        stop_ids,
        max_new_tokens,
        batch_size=batch_size,
        progress=show,
    )
    rows = []
    for prompt, reply in zip(prompts, replies, strict=True):
        parsed, verdict = judge_reply(tokenizer, dialect, prompt, reply, stop_ids)
        rows.append((prediction(tokenizer, prompt, reply, parsed, verdict), verdict))
    return rows


def judge_reply(
    tokenizer: PreTrainedTokenizerBase,
    dialect: Dialect,
    prompt: Prompt,
    reply: Generated,
    stop_ids: Sequence[int],
) -> tuple[Parsed, Verdict]:
    """Read a sampled reply in its dialect and judge it; one that the length limit cut is not parseable."""
    parsed = dialect.parse(reply_text(tokenizer, reply, stop_ids), prompt.tools)
    if not reply.finished:
        parsed = replace(parsed, calls=(), broken=CUT)
    return parsed, judge(parsed, [prompt.gold], prompt.tools)


def reply_text(tokenizer: PreTrainedTokenizerBase, reply: Generated, stop_ids: Sequence[int]) -> str:
    """The text of a reply without its stop token; other special tokens stay, since some dialects use them."""
    ids = reply.ids[:-1] if reply.ids[-1] in stop_ids else reply.ids
    text: str = tokenizer.decode(ids, skip_special_tokens=False)
    return text


def prediction(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, reply: Generated, parsed: Parsed, verdict: Verdict
) -> dict[str, Any]:
    """One line of a prediction file."""
    asked = [message for message in prompt.trajectory.messages[: prompt.message] if message.role != "system"]
    return {
        "item": prompt.name,
        "prompt": asked[-1].content if asked else "",
        "text": tokenizer.decode(reply.ids),
        "ids": list(reply.ids),
        "finished": reply.finished,
        "broken": parsed.broken,
        "calls": [{"name": call.name, "arguments": call.arguments} for call in parsed.calls],
        "gold": [{"name": call.name, "arguments": call.arguments} for call in prompt.gold],
        "verdict": verdict.to_json(),
    }


def score_row(
    model: str,
    bench: str,
    split: str,
    items: int,
    verdicts: Sequence[Verdict],
    wanted: Sequence[bool],
    dropped: int = 0,
) -> dict[str, Any]:
    """A row of `scores.json`. `wanted` says of each verdict whether its gold has a call: those are also scored apart,
    since a model that never calls gets the others right for nothing. `dropped` prompts were too long to be asked."""
    scores = asdict(summarize(verdicts))
    with_call = asdict(summarize(verdict for verdict, call in zip(verdicts, wanted, strict=True) if call))
    without = asdict(summarize(verdict for verdict, call in zip(verdicts, wanted, strict=True) if not call))
    short = ("n", "TS", "PI", "CF", "se")
    return {
        "model": model,
        "bench": bench,
        "split": split,
        "items": items,
        **scores,
        "dropped": dropped,
        "unparseable": sum(verdict.finding == "format" for verdict in verdicts),
        "gold_with_call": {name: with_call[name] for name in short},
        "gold_without_call": {name: without[name] for name in short},
    }
