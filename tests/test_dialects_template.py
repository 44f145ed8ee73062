"""The chat templates: exact text, in plain `transformers`; a history is a prefix of what comes after it."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from tltrain.dialects import Parsed, hermes, python
from tltrain.trajectory import Call, Message, Tool

TOOL = Tool("get_x", "Gets <x>, & größer", {"type": "object", "properties": {"a": {"type": "string"}}})
CALLS = (Call("get_x", {"a": "</b> 'é'"}, id="1"), Call("get_x", '{"a":1}'))
CHAT = (
    Message("system", "Be nice."),
    Message("user", "Hi"),
    Message("assistant", "So:", CALLS),
    Message("tool", "ok", call_id="1"),
    Message("tool", "{}"),
    Message("assistant", None, CALLS[:1]),
    Message("tool", ""),
    Message("assistant", "Done. "),
)
TOOLS_TEXT = """\
You can call these tools:
<tools>
{"name": "get_x", "description": "Gets <x>, & größer", "parameters": {"type": "object", "properties": {"a": \
{"type": "string"}}}}
</tools>
Write each call as
<tool_call>
{"name": <tool name>, "arguments": <JSON object>}
</tool_call>"""

TOKENIZER = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"x": 0}, unk_token="x")))
TOKENIZER.chat_template = hermes.CHAT_TEMPLATE


def render(messages: Any, tools: Any = (TOOL,), prompt: bool = False) -> str:
    tools = None if tools is None else [tool.to_json() for tool in tools]
    messages = [message.to_json() for message in messages]
    text = TOKENIZER.apply_chat_template(messages, tools=tools, add_generation_prompt=prompt, tokenize=False)
    assert isinstance(text, str)
    return text


def test_the_whole_text() -> None:
    assert render(CHAT, prompt=True) == (
        f"<|im_start|>system\nBe nice.\n\n{TOOLS_TEXT}<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n"
        '<|im_start|>assistant\nSo:\n<tool_call>\n{"name": "get_x", "arguments": {"a": "</b> \'é\'"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "get_x", "arguments": {"a":1}}\n</tool_call><|im_end|>\n'
        "<|im_start|>tool\nok<|im_end|>\n<|im_start|>tool\n{}<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>\n{"name": "get_x", "arguments": {"a": "</b> \'é\'"}}\n</tool_call>'
        "<|im_end|>\n"
        "<|im_start|>tool\n<|im_end|>\n"
        "<|im_start|>assistant\nDone. <|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_tools_need_no_system_message_and_no_tools_need_no_text() -> None:
    assert render(CHAT[1:2]) == f"<|im_start|>system\n{TOOLS_TEXT}<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    for none in (None, ()):
        assert render(CHAT[1:2], none) == "<|im_start|>user\nHi<|im_end|>\n"
        assert render(CHAT[:1], none) == "<|im_start|>system\nBe nice.<|im_end|>\n"


@pytest.mark.parametrize("tools", [(TOOL, TOOL), None])
def test_history_is_a_prefix(tools: Any) -> None:
    for end, message in enumerate(CHAT):
        if end:
            asked = message.role == "assistant"
            assert render(CHAT[: end + 1], tools).startswith(render(CHAT[:end], tools, prompt=asked))


@settings(deadline=None)
@given(
    calls=st.lists(st.builds(Call, st.text(), st.dictionaries(st.text(), st.integers() | st.text())), max_size=3),
    text=st.text(),
)
def test_a_reply_is_rendered_as_the_dialect_writes_it(calls: list[Call], text: str) -> None:
    prompt = render(CHAT[:2], prompt=True)
    reply = render([*CHAT[:2], Message("assistant", text, tuple(calls))])
    assert reply == f"{prompt}{hermes.format(calls, text)}<|im_end|>\n"


def test_renderers_that_trim_no_blocks_agree() -> None:
    template = hermes.CHAT_TEMPLATE.replace("endgeneration", "endif").replace("generation -%}", "if true -%}")
    plain = jinja2.Environment(keep_trailing_newline=True).from_string(template)
    tools = [Tool("f").to_json()]
    messages = [message.to_json() for message in CHAT]
    assert plain.render(messages=messages, tools=tools).startswith("<|im_start|>system\nBe nice.\n\nYou can call")
    assert plain.render(messages=messages).count("\n") == render(CHAT, None).count("\n")


VISIBLE = st.text("aZ_é0 .-/:$[]'\"", min_size=1, max_size=6).filter(lambda name: name == name.strip())
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@settings(deadline=None)
@given(calls=st.lists(st.builds(Call, VISIBLE, st.dictionaries(VISIBLE, VALUES, max_size=3)), min_size=1, max_size=3))
def test_the_papers_replies_are_read_back(calls: list[Call]) -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=TOKENIZER.backend_tokenizer, eos_token="x")
    tokenizer.chat_template = python.CHAT_TEMPLATE
    declared = {name: {} for call in calls for name in call.arguments}
    tools = [Tool(call.name, parameters={"type": "object", "properties": declared}) for call in calls]
    messages = [Message("user", "Hi").to_json(), Message("assistant", None, tuple(calls)).to_json()]
    text = tokenizer.apply_chat_template(messages, tools=[tool.to_json() for tool in tools], tokenize=False)
    assert isinstance(text, str)
    reply = text.rpartition("User: Hi\nAssistant:")[2].removesuffix("x\n")
    assert python.parse(reply, tools) == Parsed(tuple(calls), "")


def test_what_is_null_is_not_shown_in_the_papers_prompt() -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=TOKENIZER.backend_tokenizer)
    tokenizer.chat_template = python.CHAT_TEMPLATE
    function = {"name": "f", "description": None, "parameters": {"properties": {"a": {"description": None}}}}
    text = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tools=[function], tokenize=False)
    assert "None" not in text.replace("a: Any = None", "")
