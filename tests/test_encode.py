"""Exact tokens, weights and notes of what is learnt, for three chat templates of different make."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chat_templates import headers_tokenizer, thoughts_tokenizer
from support.micro import TEXT, micro_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tltrain import formats
from tltrain.audit.failure_detectors import assess_calls
from tltrain.encode import Encoder, EncodingCounts, Step, key_weight
from tltrain.engine.tree import TokenTree
from tltrain.errors import TemplateError
from tltrain.sft import step_sequence
from tltrain.trajectory import Call, Message, Tool, Trajectory

Make = Callable[[], PreTrainedTokenizerFast]
MAKERS: list[Make] = [micro_tokenizer, headers_tokenizer, thoughts_tokenizer]
SCHEMA = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}
TOOLS = tuple(Tool(name, "", SCHEMA) for name in ("get_order", "get_order_items", "cancel_order"))
LOG = Trajectory(
    (
        Message("user", "Where is A-1?"),
        Message("assistant", None, (Call("get_order", {"ordr_id": "A-1"}, id="a"),), thought="Hm."),
        Message("tool", "Error: unknown argument 'ordr_id'", call_id="a"),
        Message(
            "assistant",
            "So:",
            (Call("get_order", {"order_id": "A-1"}, id="b"), Call("get_order_items", {"order_id": "7"}, id="c")),
            thought="Both.",
        ),
        Message("tool", '{"error": "no order 7"}', call_id="c"),
        Message("tool", "{}", call_id="b"),
        Message("assistant", "Here.", thought="Done."),
    ),
    TOOLS,
    "log",
)
UNKNOWN = 'get_order has no argument "ordr_id" (it has order_id)'
REFUSED = "error field error: no order 7"
KEY = "key token"
Runs = list[tuple[str, float, str]]


def runs(tokenizer: PreTrainedTokenizerFast, step: Step) -> Runs:
    """The reply's tokens joined by a dot, cut where weight or note change."""
    rows = zip(step.reply_ids, step.weights, step.notes, strict=True)
    return [
        ("·".join(tokenizer.decode([token]) for token, _, _ in same), weight, note)
        for (weight, note), same in groupby(rows, key=lambda row: row[1:])
    ]


def call(name: str = "get_order", **arguments: Any) -> Call:
    return Call(name, arguments or {"order_id": "A-1"})


def asked(*calls: Call, text: str | None = None, tools: tuple[Tool, ...] = TOOLS, weight: Any = None) -> Trajectory:
    return Trajectory((Message("user", "Where?"), Message("assistant", text, calls, weight=weight)), tools, "asked")


def only_step(encoder: Encoder, trajectory: Trajectory) -> Step:
    (step,) = encoder.steps(trajectory)
    return step


# Weights of the second replies. Ours: 39 tokens in the loss, 2 of them key: 37 / 2 = 18.5, clipped to 9.
# With headers: 27 tokens, 25 / 2 = 12.5, clipped. With thoughts: 64 tokens, 62 / 2 = 31, clipped.
EXPECTED: dict[str, list[Runs]] = {
    "micro_tokenizer": [
        [
            (
                '<·tool·_·call·>·\n·{"·name·":· "·get·_·order·",· "·argument·s·":· {"·ord·r·_·id·":· "·A·-·1·"}}·\n'
                "·</·tool·_·call·>·<|im_end|>",
                0,
                UNKNOWN,
            )
        ],
        [
            ('S·o·:·\n·<·tool·_·call·>·\n·{"·name·":· "', 1, ""),
            ("get", 9, KEY),
            ("_·order", 1, ""),
            ('",', 9, KEY),
            (' "·argument·s·":· {"·order·_·id·":· "·A·-·1·"}}·\n·</·tool·_·call·>', 1, ""),
            (
                '\n·<·tool·_·call·>·\n·{"·name·":· "·get·_·order·_·it·em·s·",· "·argument·s·":· {"·order·_·id·":· "·7'
                '·"}}·\n·</·tool·_·call·>',
                0,
                REFUSED,
            ),
            ("<|im_end|>", 1, ""),
        ],
        [("Her·e·.·<|im_end|>", 1, "")],
    ],
    "headers_tokenizer": [
        [
            (
                '{"·name·":· "·get·_·order·",· "·parameters·":· {"·ord·r·_·id·":· "·A·-·1·"}}·<|eot_id|>',
                0,
                UNKNOWN,
            )
        ],
        [
            ('S·o·:·{"·name·":· "', 1, ""),
            ("get", 9, KEY),
            ("_·order", 1, ""),
            ('",', 9, KEY),
            (' "·parameters·":· {"·order·_·id·":· "·A·-·1·"}}', 1, ""),
            (
                ';· {"·name·":· "·get·_·order·_·it·em·s·",· "·parameters·":· {"·order·_·id·":· "·7·"}}',
                0,
                REFUSED,
            ),
            ("<|eot_id|>", 1, ""),
        ],
        [("Her·e·.·<|eot_id|>", 1, "")],
    ],
    "thoughts_tokenizer": [
        [
            (
                "<·t·h·i·n·k·>·\n·H·m·.·\n·</·t·h·i·n·k·>·\n·\n·<·tool·_·call·>·<·function·=·get·_·order·>·<·ord·r·_·id"
                "·>·A·-·1·</·ord·r·_·id·>·</·function·>·</·tool·_·call·>·<|im_end|>",
                0,
                UNKNOWN,
            )
        ],
        [
            (
                "<·t·h·i·n·k·>·\n·B·o·t·h·.·\n·</·t·h·i·n·k·>·\n·\n·S·o·:·<·tool·_·call·>·<·function·=",
                1,
                "",
            ),
            ("get", 9, KEY),
            ("_·order", 1, ""),
            (">", 9, KEY),
            ("<·order·_·id·>·A·-·1·</·order·_·id·>·</·function·>·</·tool·_·call·>", 1, ""),
            (
                "<·tool·_·call·>·<·function·=·get·_·order·_·it·em·s·>·<·order·_·id·>·7·</·order·_·id·>·</·function·>"
                "·</·tool·_·call·>",
                0,
                REFUSED,
            ),
            ("<|im_end|>", 1, ""),
        ],
        [("<·t·h·i·n·k·>·\n·D·on·e·.·\n·</·t·h·i·n·k·>·\n·\n·Her·e·.·<|im_end|>", 1, "")],
    ],
}


@pytest.mark.parametrize("make", MAKERS)
def test_exact_tokens_weights_and_notes(make: Make) -> None:
    tokenizer = make()
    encoder = Encoder(tokenizer)
    encoded = encoder.encode(LOG)
    steps, counts = encoded.steps, encoded.counts
    assert [runs(tokenizer, step) for step in steps] == EXPECTED[make.__name__]
    assert (counts.replies, counts.masked, counts.partly_masked, counts.key) == (3, 1, 1, 2)
    assert (counts.cut, counts.dropped) == (0, 0)
    assert counts.tokens == sum(len(step.reply_ids) for step in steps)
    assert counts.learned == sum(weight > 0 for step in steps for weight in step.weights)
    assert counts.reasons == {UNKNOWN: 1, REFUSED: 1}


@pytest.mark.parametrize("make", MAKERS)
def test_the_stop_tokens(make: Make) -> None:
    tokenizer = make()
    names = tokenizer.convert_ids_to_tokens(Encoder(tokenizer, stop_ids=[0]).stop_ids)
    end = ["<|end_of_text|>", "<|eot_id|>"] if make is headers_tokenizer else ["<|im_end|>"]
    assert names == [*end, "<|endoftext|>"]


@pytest.mark.parametrize("make", MAKERS)
def test_where_the_first_of_two_calls_failed(make: Make) -> None:
    """All of it is out, from its first character on; the other call, what is between them and the stop token stay."""
    tokenizer = make()
    good, bad = call(), call("get_order", ordr_id="A-1")
    step = only_step(Encoder(tokenizer, pkt=False), asked(bad, good))
    alone = only_step(Encoder(tokenizer, mae=False, pkt=False), asked(bad))
    (failed, weight, note), (rest, one, none) = runs(tokenizer, step)
    stop = tokenizer.decode(step.reply_ids[-1:])
    assert (weight, note, one, none) == (0, UNKNOWN, 1, "")
    assert failed + "·" + stop == "·".join(tokenizer.decode([token]) for token in alone.reply_ids)
    separator = {"micro_tokenizer": "\n·", "headers_tokenizer": ";·", "thoughts_tokenizer": ""}[make.__name__]
    assert rest.startswith(separator)
    assert rest.endswith(stop)
    assert "get·_·order" in rest
    both = only_step(Encoder(tokenizer), asked(bad, bad))
    assert both.masked
    assert set(both.notes) == {UNKNOWN}


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("text", [None, "So:", "<", "<tool", "{"])
def test_one_failed_call_of_three_and_text_that_begins_like_a_call(make: Make, text: str | None) -> None:
    tokenizer = make()
    calls = [call(), call("cancel_order"), call("get_order_items")]
    whole = only_step(Encoder(tokenizer, pkt=False), asked(*calls, text=text))
    for bad in range(3):
        broken = [call(one.name, ordr_id="A-1") if place == bad else one for place, one in enumerate(calls)]
        step = only_step(Encoder(tokenizer, pkt=False), asked(*broken, text=text))
        kept = [token for token, weight in zip(step.reply_ids, step.weights, strict=True) if weight]
        without = [one for place, one in enumerate(calls) if place != bad]
        learnt = tokenizer.decode(kept)
        expected = only_step(Encoder(tokenizer, pkt=False), asked(*without, text=text)).text.rstrip("\n")
        # What separates two calls goes with the later: without the first call of all, the second's separator stays.
        separated = {"micro_tokenizer": "\n", "headers_tokenizer": "; "}.get(make.__name__, "")
        opened = "\n" if make is micro_tokenizer and text else ""
        if bad == 0 and opened != separated:
            start = len(text or "")
            expected = expected[:start] + separated + expected[start + len(opened) :]
        assert learnt == expected
    assert set(whole.weights) == {1}


@pytest.mark.parametrize("make", MAKERS)
def test_prompt_and_reply_are_the_template_s_own(make: Make) -> None:
    tokenizer = make()
    messages = [message.to_json() for message in LOG.messages]
    tools = [tool.to_json() for tool in TOOLS]
    for step in Encoder(tokenizer).steps(LOG):
        asked_for = tokenizer.apply_chat_template(messages[: step.message], tools=tools, add_generation_prompt=True)
        assert step.prompt_ids == asked_for["input_ids"]
        full = tokenizer.apply_chat_template(messages[: step.message + 1], tools=tools, tokenize=False)
        assert tokenizer.decode(step.prompt_ids + step.reply_ids) == full.rstrip("\n")
        assert full.endswith(step.text)
        assert len(step.reply_ids) == len(step.weights) == len(step.notes)


@pytest.mark.parametrize("make", MAKERS)
def test_prompts_are_those_of_the_unfailed_steps(make: Make) -> None:
    encoder = Encoder(make(), mae=False)
    step = encoder.steps(LOG)[2]
    (prompt,) = encoder.prompts(LOG)
    assert (prompt.ids, prompt.gold, prompt.tools, prompt.name) == (step.prompt_ids, (), TOOLS, "log#6")
    labelled = [replace(message, weight=0 if message.content == "Here." else 1) for message in LOG.messages]
    prompts = list(encoder.prompts(replace(LOG, messages=tuple(labelled))))
    assert [prompt.message for prompt in prompts] == [1, 3]
    assert prompts[1].gold == LOG.messages[3].calls


@pytest.mark.parametrize("failed", [False, True])
def test_unanswered_replies_give_no_prompt_whether_or_not_failed_ones_do(failed: bool) -> None:
    user, calling = Message("user", "?"), Message("assistant", None, (call(),))
    messages = (user, calling, user, calling, Message("tool", "7"), Message("assistant", "7"))
    encoder = Encoder(micro_tokenizer(), answered_only=True)
    assert [prompt.message for prompt in encoder.prompts(Trajectory(messages, TOOLS), failed=failed)] == [3, 5]


def test_a_template_that_keeps_history_makes_one_path_and_one_that_rewrites_it_branches() -> None:
    sizes = {}
    for make in (micro_tokenizer, thoughts_tokenizer):
        steps = Encoder(make(), mae=False).steps(LOG)
        tree = TokenTree([step_sequence(step) for step in steps])
        sizes[make] = len(tree) - len(steps[-1].prompt_ids + steps[-1].reply_ids)
        for index, step in enumerate(steps):
            assert tree.ids[0, list(tree.path_positions(index))].tolist() == step.prompt_ids + step.reply_ids
    assert sizes[micro_tokenizer] == 0
    first, second, _ = Encoder(thoughts_tokenizer(), mae=False).steps(LOG)
    # Later prompts hold neither thought; the first reply's thought and the call after it begin with the same `<`.
    assert sizes[thoughts_tokenizer] == len(first.reply_ids) - 1 + len(second.reply_ids)


@pytest.mark.parametrize("make", MAKERS)
def test_arguments_as_text_or_object_are_the_same_tokens(make: Make, tmp_path: Path) -> None:
    encoder = Encoder(make())
    records = [LOG.to_json(arguments_as_text=as_text) for as_text in (False, True)]
    assert [type(record["messages"][1]["tool_calls"][0]["function"]["arguments"]) for record in records] == [dict, str]
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    steps = [encoder.steps(trajectory) for trajectory in (LOG, *formats.read(path))]
    rows = [[(step.prompt_ids, step.reply_ids, step.weights) for step in one] for one in steps]
    assert rows[0] == rows[1] == rows[2]


@pytest.mark.parametrize("mae", [True, False])
def test_an_explicit_weight_wins(mae: bool) -> None:
    encoder = Encoder(micro_tokenizer(), mae=mae, pkt=False)
    bad = call("get_order", ordr_id="A-1")
    assert set(only_step(encoder, asked(bad, weight=1)).weights) == {1}
    step = only_step(encoder, asked(call(), text="So:", weight=0))
    assert step.masked
    assert set(step.notes) == {"labelled"}
    assert only_step(encoder, asked(bad)).masked == mae


def test_without_pkt_every_token_in_the_loss_weighs_the_same() -> None:
    assert set(only_step(Encoder(micro_tokenizer(), pkt=False), asked(call())).weights) == {1}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("get_order", ["get", '",']),  # itself the prefix of get_order_items: the token behind the name
        ("get_order_items", ["get", "_"]),  # where get_order ends
        ("cancel_order", ["can"]),  # shares nothing: its first token alone
        ("get_orders", ["get", "s"]),  # not given: read beside the tools' names all the same
    ],
)
def test_key_tokens_where_the_names_stand(name: str, key: list[str]) -> None:
    tokenizer = micro_tokenizer()
    step = only_step(Encoder(tokenizer, mae=False, w_max=100), asked(call(name)))
    tokens = [tokenizer.decode([token]) for token in step.reply_ids]
    places = [place for place, note in enumerate(step.notes) if note == KEY]
    assert [tokens[place] for place in places] == key
    weight = (len(tokens) - len(places)) / len(places)
    assert [step.weights[place] for place in places] == [weight] * len(places)
    assert step.weights.count(1) == len(tokens) - len(places)


def test_weights_of_all_calls_of_a_reply_are_one_and_masked_tokens_count_in_neither() -> None:
    encoder = Encoder(micro_tokenizer(), w_max=100)
    two = only_step(encoder, asked(call(), call("cancel_order")))
    assert two.notes.count(KEY) == 3
    assert max(two.weights) == (len(two.weights) - 3) / 3
    half = only_step(encoder, asked(call(), call("cancel_order", ordr_id="A-1")))
    assert half.notes.count(KEY) == 2
    assert max(half.weights) == (half.notes.count("")) / 2


def test_the_largest_weight() -> None:
    assert max(only_step(Encoder(micro_tokenizer(), w_max=2.5), asked(call())).weights) == 2.5
    assert set(only_step(Encoder(micro_tokenizer(), w_max=1), asked(call())).weights) == {1}


def test_a_template_whose_generation_prompt_is_no_prefix_is_refused() -> None:
    tokenizer = micro_tokenizer()
    template = tokenizer.chat_template
    before, marker, after = template.rpartition("{{- '<|im_start|>assistant\\n' -}}")  # the generation prompt is last
    tokenizer.chat_template = before + marker.replace("assistant", "bot") + after
    assert tokenizer.chat_template != template
    with pytest.raises(TemplateError, match=r"log, message 1: .*generation prompt is not a prefix .*'bot.*'assistant"):
        Encoder(tokenizer).steps(LOG)


def test_a_template_that_writes_no_names_is_refused() -> None:
    tokenizer = micro_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace("function.name | tojson", "'a tool'")
    with pytest.raises(TemplateError, match="asked, message 1: the chat template does not write the name 'get_order'"):
        Encoder(tokenizer).steps(asked(call()))


def test_a_template_that_fails_says_where_and_why() -> None:
    tokenizer = micro_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('no tools here') }}"
    with pytest.raises(TemplateError, match="message 0: the chat template fails: no tools here"):
        list(Encoder(tokenizer).prompts(asked(call())))
    with pytest.raises(TemplateError, match="trajectory, message 0: the chat template fails"):
        Encoder(tokenizer).steps(Trajectory((Message("assistant", "Hello."),)))


def test_the_length_limit() -> None:
    tokenizer = micro_tokenizer()
    step = only_step(Encoder(tokenizer), asked(call()))
    prompt, reply = len(step.prompt_ids), len(step.reply_ids)

    def counted(limit: int) -> tuple[list[Step], int, int, int]:
        encoder = Encoder(tokenizer, max_length=limit)
        encoded = encoder.encode(asked(call()))
        steps, counts = encoded.steps, encoded.counts
        assert counts.replies == 1
        assert counts.tokens == sum(len(step.reply_ids) for step in steps)
        assert encoder.unfailed_replies(asked(call())) == [1]
        prompts = list(encoder.prompts(asked(call())))
        assert all(one.room == limit - len(one.ids) for one in prompts)
        return steps, counts.cut, counts.dropped, len(prompts)

    assert counted(prompt + reply) == ([step], 0, 0, 1)
    (cut,), *counts = counted(prompt + reply - 1)
    assert counts == [1, 0, 1]
    assert cut.reply_ids == step.reply_ids[:-1]
    assert max(cut.weights) == min((len(cut.weights) - 2) / 2, 9)
    (short,), *counts = counted(prompt + 5)  # `<`, `tool`, `_`, `call`, `>`: before the name
    assert counts == [1, 0, 1]
    assert short.weights == [1] * 5
    assert counted(prompt) == ([], 0, 1, 0)
    assert counted(prompt - 1) == ([], 0, 1, 0)


def sentencepiece_like(scheme: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>", "</s>"], show_progress=False)
    tokenizer.train_from_iterator([*TEXT, " get_order get_order_items()\n"] * 3, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")
    wrapped.chat_template = """\
{%- for message in messages -%}
{%- if message.role == 'assistant' -%}
{{- 'assistant:' ~ SPACE ~ (message.content or '') -}}
{%- for call in message.tool_calls or [] -%}{{- call.function.name ~ '()' -}}{%- endfor -%}
{{- '</s>' -}}
{%- else -%}{{- message.role ~ ': ' ~ message.content ~ '\\n' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'assistant:' -}}{%- endif -%}
"""
    return wrapped


@pytest.mark.parametrize("scheme", ["first", "always"])
@pytest.mark.parametrize(("space", "first"), [("''", "get"), ("' '", "▁get")])
def test_a_tokenizer_that_begins_every_text_with_a_space(scheme: str, space: str, first: str) -> None:
    """The reply has the space that the template writes, and none where it writes none."""
    tokenizer = sentencepiece_like(scheme)
    tokenizer.chat_template = tokenizer.chat_template.replace("SPACE", space)
    step = only_step(Encoder(tokenizer, mae=False), asked(call()))
    assert tokenizer.convert_ids_to_tokens(step.reply_ids)[0].startswith(first)
    full = f"user: Where?\nassistant:{' ' * (space != repr(''))}get_order()</s>"
    assert tokenizer.decode(step.prompt_ids + step.reply_ids) == full
    assert tokenizer.decode(step.prompt_ids) + step.text == full
    assert step.notes[0] == KEY


words = st.text("abco_ .<>{}é", max_size=8)
names = st.sampled_from([tool.name for tool in TOOLS])
argument_sets = st.dictionaries(st.sampled_from(["order_id", "wrong"]), words, max_size=2)
replies = st.builds(
    lambda text, calls, thought, weight: Message("assistant", text, tuple(calls), thought, weight=weight),
    st.none() | words,
    st.lists(st.builds(Call, names, argument_sets), max_size=3),
    st.none() | words,
    st.sampled_from([None, None, None, 0, 1]),
)
turns = st.lists(st.tuples(replies, st.lists(st.builds(Message, st.just("tool"), words), max_size=2)), max_size=3)


@pytest.mark.parametrize("make", MAKERS)
@settings(max_examples=25, deadline=None)
@given(turns)
def test_any_trajectory(make: Make, drawn: list[tuple[Message, list[Message]]]) -> None:
    tokenizer = make()
    go_on = [Message("user", "Go on.")]
    messages = [Message("user", "x"), *(message for reply, after in drawn for message in (reply, *(after or go_on)))]
    trajectory = Trajectory(tuple(messages), TOOLS)
    encoder = Encoder(tokenizer)
    encoded = encoder.encode(trajectory)
    steps = encoded.steps
    assert len(steps) == len(drawn) == encoded.counts.replies
    assert encoded.counts + encoded.counts == EncodingCounts() + encoded.counts + encoded.counts
    for step in steps:
        rendered = [message.to_json() for message in messages[: step.message + 1]]
        tools = [tool.to_json() for tool in TOOLS]
        full = tokenizer.apply_chat_template(rendered, tools=tools, tokenize=False)
        assert tokenizer.decode(step.prompt_ids + step.reply_ids) == full.rstrip("\n")
        assert step.reply_ids[-1] in encoder.stop_ids
        assert len(step.weights) == len(step.notes) == len(step.reply_ids)
        reply = messages[step.message]
        failed = [reading.failed for reading in assess_calls(trajectory) if reading.message == step.message]
        assert step.masked == (reply.weight == 0 or (bool(failed) and all(failed)))
        assert step.masked or step.weights[-1] == 1
        for weight, note in zip(step.weights, step.notes, strict=True):
            assert (weight == 0) == (note not in ("", KEY))
            assert weight == 1 or note
        key, others = step.notes.count(KEY), step.notes.count("")
        assert not step.masked or not key
        assert sum(step.weights) == pytest.approx(others + key * key_weight(others, key))
