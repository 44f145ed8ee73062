"""Which reply tokens are excluded from the loss, and why (MAE)."""

from __future__ import annotations

from collections.abc import Sequence

from tltrain.audit.failure_detectors import CallAssessment
from tltrain.encode.rendering import RenderedReply, Renderer, Span


def mask_reasons(
    renderer: Renderer, reply: RenderedReply, readings: Sequence[CallAssessment], spans: Sequence[Span]
) -> list[str]:
    """For each reply token the reason why it is excluded from the loss; empty for tokens that are learned.

    A reply labelled 0 is excluded as a whole, and so is a reply whose calls all failed. If only some of its parallel
    calls failed, the tokens of these are excluded.

    Args:
        renderer: locates the calls.
        reply: the reply.
        readings: whether each of its calls failed; empty to keep failed calls.
        spans: (R,) characters of each reply token.
    """
    if reply.message.weight == 0:
        return ["labelled"] * len(spans)
    failed = [reading for reading in readings if reading.failed]
    if failed and len(failed) == len(readings):
        return [str(failed[0].reason)] * len(spans)
    reasons = [""] * len(spans)
    if failed:
        calls = renderer.call_spans(reply)
        for reading in failed:
            begin, end = calls[reading.index]
            for token, (_, token_end) in enumerate(spans):
                if begin < token_end <= end:
                    reasons[token] = str(reading.reason)
    return reasons
