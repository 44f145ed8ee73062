"""Which calls of a trajectory failed: the schema detector and the feedback detector, and labels that override both.

The result decides what MAE (masking of erroneous calls) keeps out of the loss.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from tltrain.audit.feedback import Mode, feedback_failed
from tltrain.audit.schema import schema_failed
from tltrain.trajectory import CallSite, Trajectory


@dataclass(frozen=True, slots=True)
class CallAssessment:
    """Whether the call `messages[message].calls[index]` failed, and according to which detector.

    Attributes:
        message: index of the reply in the trajectory's messages.
        index: index of the call in the reply.
        schema_reason: how the call violates its tool's specification; None where it does not, or in paper mode.
        feedback_reason: how the environment's feedback reports failure; None where it does not.
        label: the `weight` of the reply in the data: True for weight 0 (failed), False for any other weight, None
            where there is none. A label overrides both detectors.
        tool_inferred: whether the tool's specification was inferred from the calls themselves, so that the schema
            detector finds only arguments that are not an object.
    """

    message: int
    index: int
    _: KW_ONLY
    schema_reason: str | None
    feedback_reason: str | None
    label: bool | None
    tool_inferred: bool = False

    @property
    def failed(self) -> bool:
        """Whether this call is excluded from the loss."""
        return self.reason is not None

    @property
    def reason(self) -> str | None:
        """Why the call counts as failed; None if it does not."""
        if self.label is not None:
            return "labelled" if self.label else None
        return self.schema_reason or self.feedback_reason


def assess_calls(trajectory: Trajectory, mode: Mode = "default") -> list[CallAssessment]:
    """An assessment of every call, in order.

    `mode="paper"` is the rule of the TL-Training release: it looks at the feedback only.
    """
    inferred = {tool.name for tool in trajectory.tools if tool.inferred}
    return [_assess(trajectory, site, mode, inferred) for site in trajectory.call_sites()]


def _assess(trajectory: Trajectory, site: CallSite, mode: Mode, inferred: set[str]) -> CallAssessment:
    weight = trajectory.messages[site.message].weight
    text = None if site.feedback is None else site.feedback.content
    return CallAssessment(
        message=site.message,
        index=site.index,
        schema_reason=None if mode == "paper" else schema_failed(site.call, trajectory.tools),
        feedback_reason=None if text is None else feedback_failed(text, mode),
        label=None if weight is None else weight == 0,
        tool_inferred=site.call.name in inferred,
    )
