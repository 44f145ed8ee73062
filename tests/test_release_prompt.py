"""The release's prompts as exact text, and the beginning-of-text token in every template of ours."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from support.micro import micro_tokenizer, micro_trajectories, save_micro
from transformers import LlamaTokenizer, PreTrainedTokenizerBase

from tltrain import dialects
from tltrain.dialects import hermes, python
from tltrain.encode import Encoder
from tltrain.encode.rendering import Renderer
from tltrain.model import load_tokenizer, template_dialect, writes_plain_turns
from tltrain.trajectory import Call, Message, Tool, Trajectory

SCHEMA = {
    "type": "object",
    "properties": {
        "count": {"type": "integer", "description": "How many."},
        "slip_id": {"type": "string", "description": "The ID."},
    },
    "required": ["slip_id"],
}
TOOLS = (Tool("random_advice", "Returns one."), Tool("advice_by_id", "Finds one.", SCHEMA))
CALL = Call("advice_by_id", {"slip_id": "a'b", "count": 2, "all": True})
CHAT = Trajectory(
    (
        Message("user", "Some advice?"),
        Message("assistant", None, (CALL,)),
        Message("tool", "..."),
        Message("assistant", "Done."),
    ),
    TOOLS,
)
CODE_PROMPT = '''\
System: Function:
def random_advice():
    """
    Returns one.

    Args:
    """

Function:
def advice_by_id(slip_id: string, count: integer = None):
    """
    Finds one.

    Args:
    slip_id (string): The ID.
    count (integer): How many.
    """
User: Some advice?
Assistant: advice_by_id(slip_id="a'b", count=2, all=true)
Output: ...
Assistant:'''
PUBLISHED_PROMPT = '''\
System: Function:
def random_advice():
    """
    Returns one.
    """

Function:
def advice_by_id(slip_id:str, count:int = None):
    """
    Finds one.

    Args:
        slip_id (string): The ID.
        count (integer): How many.
    """


User: Some advice?
Assistant: advice_by_id(slip_id = "a'b", count = 2, all = True) 
Output: ...
Assistant:'''  # noqa: W291 (the space is part of the prompt)
PLAIN_TURNS = """\
{%- for message in messages -%}
{{- message['role'] ~ ': ' ~ message['content'] -}}
{{- '\\n' if not loop.last else '\\nAssistant:' if add_generation_prompt else '</s>' -}}
{%- endfor -%}
"""


def llama_tokenizer(add_bos_token: bool = True) -> PreTrainedTokenizerBase:
    """Every character is a token, as in a Llama tokenizer without merges."""
    tokens = ["<unk>", "<s>", "</s>", "▁", "\n", *string.printable, *(f"<0x{byte:02X}>" for byte in range(256))]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    tokenizer: PreTrainedTokenizerBase = LlamaTokenizer(vocab=vocabulary, merges=[], add_bos_token=add_bos_token)
    return tokenizer


def saved(folder: Path, tokenizer: PreTrainedTokenizerBase, template: str | None = None) -> str:
    save_micro(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).unlink(missing_ok=True)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("template", "prompt"),
    [(dialects.RELEASE_TEMPLATE, CODE_PROMPT), (dialects.PUBLISHED_TEMPLATE, PUBLISHED_PROMPT)],
    ids=["code", "published model"],
)
def test_the_whole_prompt(template: str, prompt: str) -> None:
    tokenizer = micro_tokenizer()
    tokenizer.chat_template = template
    reply = Renderer(tokenizer).reply(CHAT, 3)
    assert (reply.prompt, reply.text) == (prompt, f" Done.{tokenizer.eos_token}")
    written = Renderer(tokenizer).reply(CHAT, 1).text.removesuffix(tokenizer.eos_token)
    assert dialects.get("python").parse(written, TOOLS).calls == (CALL,)
    assert dialects.reads("python", template)


def test_system_text_and_no_tools() -> None:
    tokenizer = micro_tokenizer()
    tokenizer.chat_template = dialects.RELEASE_TEMPLATE
    system, user = Message("system", "Be brief."), Message("user", "Hi")
    shown = [
        Renderer(tokenizer).prompt(Trajectory(messages, tools), len(messages))
        for messages, tools in [((user,), ()), ((system, user), ()), ((system, user), TOOLS[:1])]
    ]
    function = 'Function:\ndef random_advice():\n    """\n    Returns one.\n\n    Args:\n    """'
    assert shown == [
        "User: Hi\nAssistant:",
        "System: Be brief.\nUser: Hi\nAssistant:",
        f"System: Be brief.\n{function}\nUser: Hi\nAssistant:",
    ]


def test_a_configured_template_replaces_the_model_s_own(tmp_path: Path) -> None:
    name = str(save_micro(tmp_path))
    assert load_tokenizer(name, "hermes").chat_template == hermes.CHAT_TEMPLATE
    assert load_tokenizer(name, "python", template="release").chat_template == dialects.RELEASE_TEMPLATE


# The published model


def test_the_published_model_keeps_its_prompt(tmp_path: Path) -> None:
    """Its own template writes turns only, so the tools are written as it was trained on them."""
    name = saved(tmp_path, llama_tokenizer(), PLAIN_TURNS)
    tokenizer = load_tokenizer(name, "python")
    assert tokenizer.chat_template.removeprefix("{{- bos_token -}}") == dialects.PUBLISHED_TEMPLATE
    assert Renderer(tokenizer).prompt(CHAT, 3) == f"<s>{PUBLISHED_PROMPT}"
    own = llama_tokenizer()
    own.chat_template = PLAIN_TURNS
    assert writes_plain_turns(own) and template_dialect(own) == "python"


def test_other_models_without_tools_get_the_dialect_s_template(tmp_path: Path) -> None:
    other = PLAIN_TURNS.replace(": ", "> ")
    assert not writes_plain_turns(load_tokenizer(saved(tmp_path, micro_tokenizer(), None)))
    tokenizer = load_tokenizer(saved(tmp_path, micro_tokenizer(), other), "python")
    assert tokenizer.chat_template == python.CHAT_TEMPLATE


# The beginning-of-text token


@pytest.mark.parametrize("dialect", [None, "hermes", "python", "qwen", "release"])
def test_every_prompt_begins_with_a_single_beginning_token(tmp_path: Path, dialect: str | None) -> None:
    name = saved(tmp_path, llama_tokenizer())
    mode = "release" if dialect == "release" else "auto"
    tokenizer = load_tokenizer(name, "python" if mode == "release" else dialect, template=mode)
    for trajectory in [CHAT, *micro_trajectories()]:
        for step in Encoder(tokenizer).steps(trajectory):
            ids = step.prompt_ids + step.reply_ids
            assert ids[0] == tokenizer.bos_token_id and ids.count(tokenizer.bos_token_id) == 1
    tokenizer.save_pretrained(tmp_path / "trained")
    for file in ("config.json", "model.safetensors"):
        (tmp_path / "trained" / file).write_bytes((tmp_path / file).read_bytes())
    again = load_tokenizer(str(tmp_path / "trained"), "python" if mode == "release" else dialect)
    assert again.chat_template == tokenizer.chat_template


def test_a_model_s_own_template_is_left_as_it_is(tmp_path: Path) -> None:
    own = "{{- bos_token -}}" + hermes.CHAT_TEMPLATE
    tokenizer = load_tokenizer(saved(tmp_path, llama_tokenizer(), own), "hermes")
    (step,) = Encoder(tokenizer).steps(micro_trajectories()[0])
    assert tokenizer.chat_template == own
    assert step.prompt_ids.count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize("dialect", ["hermes", "python"])
def test_no_beginning_token_where_the_tokenizer_adds_none(tmp_path: Path, dialect: str) -> None:
    """So the encodings of the built-in model, which has such a token and does not add it, stay as they are."""
    tokenizer = load_tokenizer(saved(tmp_path, llama_tokenizer(add_bos_token=False)), dialect)
    assert tokenizer.chat_template == dialects.CHAT_TEMPLATES[dialect]
    for step in Encoder(tokenizer).steps(CHAT):
        assert tokenizer.bos_token_id not in step.prompt_ids
