"""The page of one sample: every token there, masked ones struck out with their reason, key tokens marked."""

from __future__ import annotations

import re
from html import unescape

import pytest
from support.report_sample import inspected, step
from test_report_page import assert_self_contained

from tltrain.report.inspect_page import inspect_page, visible


@pytest.fixture(scope="module")
def text() -> str:
    return inspect_page(inspected())


def plain(html: str) -> str:
    """What a reader would copy from a part of a page."""
    without_hidden = re.sub(r'<span class="hidden">.*?</span>', "", html)
    return unescape(re.sub(r"<[^>]+>", "", without_hidden))


def test_page_is_one_escaped_file(text: str) -> None:
    assert_self_contained(text)
    assert "<b>one" not in text


def test_headline_and_totals_count_tokens(text: str) -> None:
    reply = [t for s in inspected()["steps"] for t in s["tokens"] if t["part"] == "reply"]
    learned = sum(t["weight"] > 0 for t in reply)
    assert f"<h1>1 of 3 replies masked: {learned} of {len(reply)} reply tokens are learned from.</h1>" in text
    assert "<dt>Key tokens</dt><dd>2</dd>" in text


def test_replies_stand_there_character_by_character(text: str) -> None:
    replies = re.findall(r'<pre class="tokens reply">(.*?)</pre>', text, re.DOTALL)
    expected = ["".join(t["token"] for t in s["tokens"] if t["part"] == "reply") for s in inspected()["steps"]]
    assert [plain(reply) for reply in replies] == expected


def test_a_masked_reply_is_struck_out_with_its_reason(text: str) -> None:
    reason = inspected()["steps"][0]["reasons"][0]
    assert text.count(f'<del title="{reason}">') == 1
    assert f"masked ({reason}): " in text
    assert f"Failed, not learned from:</strong> {reason}" in text
    masked = re.search(r"<del title=.*?</del>", text, re.DOTALL)
    assert masked and "get_order_item" in plain(masked[0])


def test_key_tokens_are_marked_and_deepest_in_colour(text: str) -> None:
    keys = re.findall(r'<span class="key" style="--depth: (\d+)%" title="([^"]*)">([^<]*)<', text)
    assert [(depth, token) for depth, _, token in keys] == [("60", "get"), ("60", "_items")]
    assert "weight 9, key token, tool name" in unescape(keys[0][1])


def test_special_tokens_and_white_space_are_visible(text: str) -> None:
    assert re.search(r'<span class="special"[^>]*>&lt;\|im_end\|&gt;</span>', text)
    assert visible("a b\n\tc\x00\u200b<") == (
        'a<i> </i>b<b class="newline"></b>\n<b class="tab">\t</b>c<b>\u2400</b><b class="code">U+200B</b>&lt;'
    )


def test_long_prompts_are_folded_and_known_ones_left_out(text: str) -> None:
    steps = inspected()["steps"]
    fresh = len([t for t in steps[1]["tokens"] if t["part"] == "prompt"]) - len(steps[0]["tokens"])
    folds = re.findall(r'<details class="prompt"( open)?>\n<summary>(.*?)</summary>', text)
    assert [bool(opened) for opened, _ in folds] == [False, True, True]
    assert folds[1][1] == f"Prompt: {len(steps[0]['tokens'])} tokens as in the step before, then {fresh} tokens"


def test_a_reply_masked_in_part_says_so() -> None:
    sample = inspected()
    for token in sample["steps"][0]["tokens"][-5:]:
        token.update(struck=False, weight=1.0)
    text = inspect_page(sample)
    assert "Failed in part, what is struck out is not learned from:" in text
    assert "<h1>No reply is masked: " in text


def test_a_sample_without_key_tokens_or_steps() -> None:
    only = {"id": None, "source": None, "model": None, "steps": [step(0, 1, "Hi", "Yes.", [])]}
    assert "2 tokens, 2 learned from</p>" in inspect_page(only)
    assert "0 of 0 reply tokens" not in inspect_page(only)
    assert_self_contained(inspect_page({"id": 1, "steps": []}))
