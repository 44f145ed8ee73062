"""A sample as the model sees it: every token coloured by weight, masked replies struck out, key tokens marked.

The input is the JSON of `tltrain inspect --json`:
`{id, source, model, settings, steps: [{index, step, message, failed, reasons, tokens}], dropped: [{message,
prompt_tokens, limit}]}`, where a token is
`{token, id, weight, reason, part, key, struck}`: `token` is its text, `part` is `prompt` or `reply`, and `reason` the
reason for its weight.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from markupsafe import Markup, escape

from tltrain.progress import quantity
from tltrain.report.page import TEMPLATES, Section, facts, join, page, paragraph, render

LONG_PROMPT = 150
"""A prompt with more new tokens than this is collapsed."""
_INVISIBLE = re.compile("[ \n\t\x00-\x08\x0b-\x1f\x7f\u00a0\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_SPECIAL = re.compile(r"<\|[^|<>\s]+\|>|</?s>|\[/?[A-Z_]+\]|<(?:pad|unk|bos|eos)>")
_SHOWN = {" ": "<i> </i>", "\n": '<b class="newline"></b>\n', "\t": '<b class="tab">\t</b>'}

Token = Mapping[str, Any]


def inspect_page(sample: Mapping[str, Any]) -> str:
    """The page of a sample as an HTML document; the input is described in the module's docstring."""
    steps = sample["steps"]
    highest = max((token["weight"] for step in steps for token in _reply(step)), default=1.0)
    before: Sequence[Token] = ()
    sections = []
    for step in steps:
        sections.append(Section(_title(step), _step(step, before, highest), anchor=f"step-{step['index']}"))
        before = step["tokens"]
    weights = sorted({float(token["weight"]) for step in steps for token in _reply(step)})
    legend = render(
        "inspect_legend.html.jinja", weights=[(f"{weight:g}", _depth(weight, highest)) for weight in weights]
    )
    settings = [f"{name} {value}" for name, value in sample.get("settings", {}).items() if value is not None]
    about = " · ".join(str(part) for part in (sample.get("source"), sample.get("model"), *settings) if part)
    dropped = [_dropped(reply) for reply in sample.get("dropped", ())]
    sections += [Section("Left out", join(map(paragraph, dropped)))] if dropped else []
    return page(
        f"Sample {sample['id']}" if sample.get("id") is not None else "Sample",
        Section("Legend", join([_totals(steps), legend])),
        *sections,
        headline=_headline(steps),
        note=about,
        style=(TEMPLATES / "inspect.css").read_text(encoding="utf-8"),
    )


def _dropped(reply: Mapping[str, Any]) -> str:
    return (
        f"Message {reply['message']}: its prompt has {quantity(reply['prompt_tokens'], 'token')}, which leaves no room "
        f"for a reply within the limit of {reply['limit']:,} (max_length). It is neither trained on nor evaluated."
    )


def dropped_lines(sample: Mapping[str, Any]) -> list[str]:
    """A line for each reply that is left out because its prompt is too long."""
    return [_dropped(reply) for reply in sample["dropped"]]


def visible(text: str) -> Markup:
    """Escaped text in which white space and invisible characters are shown."""
    parts, end = [], 0
    for match in _INVISIBLE.finditer(text):
        parts += [escape(text[end : match.start()]), _shown(match[0])]
        end = match.end()
    return Markup("").join([*parts, escape(text[end:])])


def _shown(character: str) -> Markup:
    if character in _SHOWN:
        return Markup(_SHOWN[character])
    if ord(character) < 0x20:
        return Markup("<b>{}</b>").format(chr(0x2400 + ord(character)))
    return Markup('<b class="code">U+{}</b>').format(f"{ord(character):04X}")


def _step(step: Mapping[str, Any], before: Sequence[Token], highest: float) -> Markup:
    prompt = [token for token in step["tokens"] if token["part"] == "prompt"]
    reply = _reply(step)
    known = _shared(before, prompt)
    return render(
        "inspect_step.html.jinja",
        failed=step["failed"],
        whole=all(token["weight"] == 0 for token in reply),
        reasons=step["reasons"],
        known=known,
        fresh=len(prompt) - known,
        folded=len(prompt) - known > LONG_PROMPT,
        prompt=Markup("").join(_prompt_token(token) for token in prompt[known:]),
        summary=_summary(reply),
        reply=Markup("").join(_runs(reply, highest)),
    )


def _runs(reply: Sequence[Token], highest: float) -> Iterable[Markup]:
    """The reply's tokens; adjacent tokens that are masked for the same reason share a `del` element."""
    for reason, run in groupby(reply, key=lambda token: (token.get("reason") or "masked") if token["struck"] else None):
        body = Markup("").join(_reply_token(token, highest) for token in run)
        if reason is None:
            yield body
        else:
            yield Markup('<del title="{0}"><span class="hidden">masked ({0}): </span>{1}</del>').format(reason, body)


def _prompt_token(token: Token) -> Markup:
    return Markup('<span{} title="{}">{}</span>').format(_classes(token, ()), token["id"], _text(token))


def _reply_token(token: Token, highest: float) -> Markup:
    names = ["key"] if token["key"] else []
    reason = f", {token['reason']}" if token.get("reason") else ""
    key = ", key token" if token["key"] else ""
    title = f"{token['token']!r}, id {token['id']}, weight {token['weight']:g}{key}{reason}"
    style = Markup(' style="--depth: {}"').format(_depth(token["weight"], highest))
    return Markup('<span{}{} title="{}">{}</span>').format(_classes(token, names), style, title, _text(token))


def _text(token: Token) -> Markup:
    return visible(token["token"]) if token["token"] else Markup("<b>∅</b>")


def _classes(token: Token, names: Sequence[str]) -> Markup:
    found = [*names, "special"] if _SPECIAL.fullmatch(token["token"].strip()) else names
    return Markup(' class="{}"').format(" ".join(found)) if found else Markup("")


def _depth(weight: float, highest: float) -> str:
    """Colour intensity of a weight: 0 % for 0, 12 % for 1, 60 % for the highest weight of the sample."""
    if weight <= 1:
        return f"{12 * max(weight, 0.0):.0f}%"
    return f"{12 + 48 * (weight - 1) / (highest - 1):.0f}%"


def _shared(before: Sequence[Token], prompt: Sequence[Token]) -> int:
    """Length of the prompt's common prefix with the previous step, in tokens."""
    count = 0
    for old, new in zip(before, prompt, strict=False):
        if old["id"] != new["id"]:
            break
        count += 1
    return count


def _reply(step: Mapping[str, Any]) -> list[Token]:
    return [token for token in step["tokens"] if token["part"] == "reply"]


def _title(step: Mapping[str, Any]) -> str:
    kind = "Text reply" if step["step"] is None else f"Step {step['step']}"
    return f"{kind}, message {step['message']}"


def _summary(reply: Sequence[Token]) -> str:
    learned = [token for token in reply if token["weight"] > 0]
    keys = [token for token in learned if token["key"]]
    if not learned:
        return f"{quantity(len(reply), 'token')}, none of them learned from"
    total = sum(token["weight"] for token in learned)
    share = 100 * sum(token["weight"] for token in keys) / total
    text = f"{quantity(len(reply), 'token')}, {len(learned):,} learned from"
    return text + (f", {quantity(len(keys), 'key token')} with {share:.0f} % of the step's weight" if keys else "")


def _totals(steps: Sequence[Mapping[str, Any]]) -> Markup:
    replies = [token for step in steps for token in _reply(step)]
    prompt = max((sum(token["part"] == "prompt" for token in step["tokens"]) for step in steps), default=0)
    return facts([
        ("Steps", len(steps)),
        ("Longest prompt, tokens", prompt),
        ("Reply tokens", len(replies)),
        ("Masked", sum(token["weight"] == 0 for token in replies)),
        ("Key tokens", sum(bool(token["key"]) for token in replies)),
    ])  # fmt: skip


def _headline(steps: Sequence[Mapping[str, Any]]) -> str:
    replies = [token for step in steps for token in _reply(step)]
    masked = sum(all(token["weight"] == 0 for token in _reply(step)) for step in steps)
    learned = sum(token["weight"] > 0 for token in replies)
    which = f"{masked} of {quantity(len(steps), 'reply')} masked" if masked else "No reply is masked"
    return f"{which}: {learned:,} of {quantity(len(replies), 'reply token')} are learned from."
