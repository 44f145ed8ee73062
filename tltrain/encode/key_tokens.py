"""Key tokens of tool names and their loss weight (PKT)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tltrain.encode.rendering import RenderedReply, Renderer, Span, overlapping

DEFAULT_W_MAX = 9.0
ARGUMENT_ENDS = frozenset(("',", "')", ")", ")_", "()", "()_", "▁'')", "▁')", '")', '▁")', '▁"")', '.")', ')")'))
"""Tokens that end an argument in the TL-Training release, as Llama's tokenizer writes them; `▁` is a space."""


def key_positions(name: Sequence[int], others: Iterable[Sequence[int]]) -> list[int]:
    """Positions of the key tokens of a tool name among other names, all given as token sequences (PKT).

    The first token is a key token, and so is the token after each non-empty common prefix with another name.
    Position `len(name)` is the token right after the name, if the name is itself such a prefix.
    """
    positions = {0} if name else set()
    for other in others:
        if list(other) == list(name):
            continue
        shared = 0
        while shared < min(len(name), len(other)) and name[shared] == other[shared]:
            shared += 1
        if shared:
            positions.add(shared)
    return sorted(positions)


def key_weight(other_tokens: int, key_tokens: int, w_max: float = DEFAULT_W_MAX) -> float:
    """Loss weight of a reply's key tokens: `clip(|NK| / |K|, 1, w_max)`; 1 without key tokens."""
    return min(max(other_tokens / key_tokens, 1.0), w_max) if key_tokens else 1.0


def reply_key_positions(
    renderer: Renderer, reply: RenderedReply, reply_ids: Sequence[int], spans: Sequence[Span]
) -> set[int]:
    """Positions of the key tokens of all calls in a reply.

    Args:
        renderer: locates the tool names.
        reply: the reply.
        reply_ids: (R,) its token ids, possibly truncated.
        spans: (R,) characters of each of these tokens.
    """
    calls = reply.message.calls
    offsets = renderer.name_offsets(reply) if calls else []
    keys: set[int] = set()
    for call, offset in zip(calls, offsets, strict=True):
        own = overlapping(spans, offset, offset + len(call.name))
        if not own:
            continue  # the name was truncated
        others = dict.fromkeys(tool.name for tool in reply.trajectory.tools if tool.name not in ("", call.name))
        substituted = renderer.substituted_names(reply.text, offset, len(call.name), list(others))
        positions = key_positions([reply_ids[token] for token in own], substituted)
        keys.update(own[0] + position for position in positions if own[0] + position < len(reply_ids))
    return keys


def argument_ends(tokens: Sequence[str]) -> set[int]:
    """Positions of the tokens of a reply that end an argument: those of `ARGUMENT_ENDS`, or the last token before the
    stop token if there are none.

    Args:
        tokens: (R,) the reply's tokens as the tokenizer writes them, with `▁` or `Ġ` for a space.
    """
    found = {position for position, token in enumerate(tokens) if token.replace("Ġ", "▁") in ARGUMENT_ENDS}
    return found or ({len(tokens) - 2} if len(tokens) > 1 else set())


def token_weights(reasons: Sequence[str], keys: set[int], w_max: float, uncounted: Iterable[int] = ()) -> list[float]:
    """(R,) loss weights: 0 for tokens with a mask reason, `key_weight` for key tokens, 1 for all others.

    Args:
        reasons: (R,) why each token is excluded from the loss, or an empty string.
        keys: positions of learned key tokens.
        w_max: upper limit of the weight of key tokens.
        uncounted: positions of tokens that have weight 1 and do not count as tokens that are not key tokens.
    """
    others = {position for position, reason in enumerate(reasons) if not reason} - keys - set(uncounted)
    weight = key_weight(len(others), len(keys), w_max)
    return [0.0 if reason else weight if position in keys else 1.0 for position, reason in enumerate(reasons)]
