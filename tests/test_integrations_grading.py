"""What other trainers hand over is judged as in training, and their rows hold the prompts of training."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chat_templates import headers_tokenizer
from support.micro import ORDER_TOOLS, micro_tokenizer, micro_trajectories
from tokenizers.processors import TemplateProcessing

from tltrain import Call, Message, Tool, Trajectory, judge
from tltrain.dialects import hermes, llama3
from tltrain.encode import Encoder
from tltrain.errors import ConfigError, DataError
from tltrain.integrations.grading import grade
from tltrain.integrations.rows import PromptTemplate, Question, prompt_writer, questions
from tltrain.integrations.trl_reward import ToolCallReward, tool_call_reward
from tltrain.integrations.verl_reward import compute_score

GOLD = Call("get_order", {"order_id": "A-1"})
GOLDS = '[[{"name": "get_order", "arguments": {"order_id": "A-1"}}]]'
TEXT_GOLD = "[[]]"
TOOLS = json.dumps([tool.to_json() for tool in ORDER_TOOLS])
RIGHT = hermes.format([GOLD])
WRONG = hermes.format([Call("get_order", {"order_id": "A-2"})])
TOOLS_LAST = """\
{%- for message in messages -%}
{{- message.role ~ ': ' ~ message.content -}}
{%- for call in message.tool_calls or [] -%}
{{- '<tool_call>' ~ {'name': call.function.name, 'arguments': call.function.arguments} | tojson ~ '</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- for tool in tools or [] -%}{{- '<tool>' ~ tool.function.name ~ '</tool>\\n' -}}{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'assistant: ' -}}{%- endif -%}
"""
"""A chat template that lists the tools after the last message."""
CALL = {"type": "function", "function": {"name": "get_order", "arguments": {"order_id": "A-1"}}}


def tokenizer_with_start() -> Any:
    """One that puts a token before every text, which its chat template writes, too."""
    tokenizer = headers_tokenizer()
    start = "<|begin_of_text|>"
    tokenizer.bos_token = start
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single=f"{start} $A", special_tokens=[(start, tokenizer.convert_tokens_to_ids(start))]
    )
    return tokenizer


# Grading


@pytest.mark.parametrize("calls", [[GOLD], [Call("get_order", {"order_id": "A-2"})], [Call("get_orders")], []])
def test_texts_get_the_reward_of_the_judge(calls: list[Call]) -> None:
    assert grade(hermes.format(calls, "So:"), GOLDS, TOOLS) == judge(calls, [[GOLD]], ORDER_TOOLS)


@pytest.mark.parametrize(
    "reply",
    [
        RIGHT,
        {"role": "assistant", "content": RIGHT},
        [{"role": "assistant", "content": [{"type": "text", "text": RIGHT}]}],
        [{"role": "assistant", "tool_calls": [CALL]}],
        [{"role": "assistant", "content": "", "tool_calls": [CALL["function"]]}],
        [
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "content": "sent"},
            {"role": "assistant", "content": WRONG},
        ],
    ],
)
def test_replies_in_every_form(reply: Any) -> None:
    assert grade(reply, GOLDS, TOOLS).reward == 1
    assert grade(reply, json.loads(GOLDS), json.loads(TOOLS)).reward == 1
    assert grade(reply, GOLDS, TOOLS, finished=False).finding == "format"


@pytest.mark.parametrize(
    "reply",
    [
        *(None, 3, b"", float("nan"), [], [3], [{"role": "user", "content": RIGHT}]),
        {"role": "assistant", "content": 3},
        *("<tool_call>", "<tool_call>{}</tool_call>", "<tool_call>" + "[" * 100_000),
        {"role": "assistant", "tool_calls": [3]},
        {"role": "assistant", "tool_calls": (CALL,)},
        {"role": "assistant", "tool_calls": [{"function": 3}]},
        {"role": "assistant", "tool_calls": [{"function": {"name": 3}}]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "get_order", "arguments": [object()]}}]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "get_order", "arguments": object()}}]},
    ],
)  # fmt: skip
def test_a_malformed_reply_is_unparseable(reply: Any) -> None:
    for golds in (GOLDS, TEXT_GOLD):
        verdict = grade(reply, golds, TOOLS)
        assert (verdict.finding, verdict.CF) == ("format", False)
    assert tool_call_reward([reply], [GOLDS], [TOOLS]) == [grade(reply, GOLDS, TOOLS).reward]
    assert compute_score("x", reply, GOLDS, {"tools": TOOLS})["score"] == grade(reply, GOLDS, TOOLS).reward


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([RIGHT, "assistant"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["role", "content", "tool_calls", "function", "name", "arguments"]), inner),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(VALUES, VALUES)
def test_no_reply_raises(reply: Any, calls: Any) -> None:
    for given_reply in (reply, [{"role": "assistant", "content": reply, "tool_calls": calls}]):
        assert -2 <= grade(given_reply, GOLDS, TOOLS).reward <= 1


@pytest.mark.parametrize(
    ("golds", "tools", "said"),
    [
        ("[]", TOOLS, "golds: expected at least one gold reply"),
        ("x", TOOLS, "golds: invalid JSON"),
        (None, TOOLS, "golds: expected list, got NoneType"),
        ('[{"name": "get_order"}]', TOOLS, r"golds\[0\]: expected list, got dict"),
        ('[[{"name": 1}]]', TOOLS, r"golds\[0\]\[0\].name: expected text, got number"),
        (GOLDS, "{}", "tools: expected list, got dict"),
        (GOLDS, "[1]", r"tools\[0\]: expected object"),
    ],
)
def test_malformed_rows_are_mistakes_of_the_data(golds: Any, tools: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        grade(RIGHT, golds, tools)


def test_rows_without_golds_name_the_command() -> None:
    with pytest.raises(DataError, match="no column 'golds': tltrain convert --to trl-grpo"):
        tool_call_reward([RIGHT])


def test_truncated_replies_are_known_by_their_last_token() -> None:
    tokenizer = micro_tokenizer()
    reward = ToolCallReward(tokenizer)
    ids = tokenizer(RIGHT)["input_ids"]
    stop = tokenizer.eos_token_id
    assert reward([RIGHT] * 3, [GOLDS] * 3, [TOOLS] * 3, completion_ids=[[*ids, stop], ids, []]) == [1, -2, -2]
    assert tool_call_reward([RIGHT], [GOLDS], [TOOLS], completion_ids=[ids]) == [1], "unknown without a tokenizer"


def test_calls_marked_by_special_tokens_are_read_from_the_ids() -> None:
    tokenizer = micro_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<tool_call>", "</tool_call>"]})
    ids = [*tokenizer(RIGHT)["input_ids"], tokenizer.eos_token_id]
    text = tokenizer.decode(ids, skip_special_tokens=True)
    assert tool_call_reward([text], [GOLDS], [TOOLS])[0] < 0
    assert ToolCallReward(tokenizer)([text], [GOLDS], [TOOLS], completion_ids=[ids]) == [1]
    assert not PromptTemplate(tokenizer).calls_survive_decoding()
    with pytest.raises(ConfigError, match="marks calls by special tokens"):
        prompt_writer("verl", tokenizer)


def test_each_row_has_its_dialect() -> None:
    replies, dialects = [RIGHT, llama3.format([GOLD])], ["hermes", "llama3"]
    assert tool_call_reward(replies, [GOLDS] * 2, [TOOLS] * 2, dialects) == [1, 1]
    assert tool_call_reward(replies, [GOLDS] * 2, [TOOLS] * 2)[1] < 1
    assert ToolCallReward(dialect="llama3")(replies[1:], [GOLDS], [TOOLS], ["hermes"]) == [1]
    with pytest.raises(ConfigError, match="unknown dialect 'word'"):
        tool_call_reward([RIGHT], [GOLDS], [TOOLS], ["word"])


# Rows


def all_questions() -> list[Question]:
    return [question for trajectory in micro_trajectories(8) for question in questions(trajectory)]


def test_questions_are_the_prompts_of_training() -> None:
    encoder = Encoder(micro_tokenizer())
    expected = [(p.name, p.gold) for trajectory in micro_trajectories(8) for p in encoder.prompts(trajectory)]
    assert [(question.trajectory.id, question.gold) for question in all_questions()] == expected
    assert len(expected) == 10, "two of the replies failed"


@pytest.mark.parametrize("tokenizer", [micro_tokenizer(), headers_tokenizer(), tokenizer_with_start()])
def test_prompts_are_those_of_training(tokenizer: Any) -> None:
    encoder, template = Encoder(tokenizer), PromptTemplate(tokenizer)
    system = Message("system", "Be brief.")
    with_system = [replace(one, messages=(system, *one.messages)) for one in micro_trajectories(4)]
    for trajectory in (*micro_trajectories(4), *with_system, replace(with_system[0], tools=())):
        for question, prompt in zip(questions(trajectory), encoder.prompts(trajectory), strict=True):
            assert tokenizer(template.text(question.trajectory))["input_ids"] == prompt.ids
            messages = template.messages(question.trajectory)
            rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
            assert encoder.renderer.token_ids(rendered) == prompt.ids
            assert all(message.keys() == {"role", "content"} for message in messages)


def test_prompts_that_plain_messages_cannot_give_are_refused() -> None:
    tokenizer = micro_tokenizer()
    tokenizer.chat_template = TOOLS_LAST
    template = PromptTemplate(tokenizer)
    (question, *_) = all_questions()
    assert "<tool>get_order</tool>" in template.text(question.trajectory)
    with pytest.raises(DataError, match="the chat template needs tools or calls as such"):
        template.messages(question.trajectory)


def test_a_template_of_no_known_form_is_refused() -> None:
    tokenizer = micro_tokenizer()
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    with pytest.raises(ConfigError, match="writes calls in no known form"):
        prompt_writer("trl-grpo", tokenizer)


@pytest.mark.parametrize("name", ["trl-grpo", "verl"])
def test_prompts_need_a_model(name: str) -> None:
    with pytest.raises(ConfigError, match=f"--to {name}: needs --model for its chat template"):
        prompt_writer(name, None)


def test_the_gold_reply_of_every_row_gets_the_full_reward() -> None:
    tokenizer = micro_tokenizer()
    for question in all_questions():
        text = hermes.format(question.gold, "Here.")
        row = prompt_writer("trl-grpo", tokenizer)(question)
        assert tool_call_reward([text], [row["golds"]], [row["tools"]], [row["dialect"]]) == [1]
        row = prompt_writer("verl", tokenizer)(question)
        score = compute_score(row["data_source"], text, row["reward_model"]["ground_truth"], row["extra_info"])
        assert score == {"score": 1, "ts": 1, "pi": 1, "cf": 1, "acc": 1}


def test_a_row_of_ms_swift_has_no_weights_or_reply() -> None:
    order = Message("assistant", None, (GOLD,), weight=1)
    asked = (Message("user", "What?"), order, Message("tool", "sent"), Message("assistant", "Sent.", weight=1))
    last = list(questions(Trajectory(asked, (Tool("get_order"),), "a")))[-1]
    row = prompt_writer("ms-swift-grpo", None)(last)
    assert [message["role"] for message in row["messages"]] == ["user", "tool_call", "tool_response"]
    assert not any("loss_scale" in message for message in row["messages"])
    assert (row["id"], row["solution"], row["dialect"]) == ("a#3", TEXT_GOLD, "hermes")
