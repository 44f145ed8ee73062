"""Models' own forms: read as their chat templates write them, and told from the template."""

from __future__ import annotations

import pytest
from support.chat_templates import HEADERS, THOUGHTS
from support.micro import micro_tokenizer

from tltrain import dialects
from tltrain.dialects import Parsed, gemma, hermes, llama3, mistral, python, qwen
from tltrain.errors import ModelError
from tltrain.trajectory import Call, Tool

PROPERTIES = {"a": {"type": "integer"}, "s": {"type": ["string", "null"]}, "o": {"type": "object"}}
TOOL = Tool("f", parameters={"type": "object", "properties": PROPERTIES})
F, G = Call("f", {"a": 1}), Call("g")

CODER = """\
{%- for message in messages -%}
{{- '<|im_start|>' ~ message.role ~ '\\n' ~ message.content -}}
{%- for call in message.tool_calls or [] -%}
{{- '<tool_call>\\n<function=' ~ call.function.name ~ '>\\n' -}}
{%- for name, value in call.function.arguments.items() -%}
{{- '<parameter=' ~ name ~ '>\\n' ~ (value if value is string else value | tojson) ~ '\\n</parameter>\\n' -}}
{%- endfor -%}
{{- '</function>\\n</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
BRACKETS = """\
{%- for message in messages -%}
{%- if message.role == 'user' -%}{{- '<s>[INST] ' ~ message.content ~ '[/INST]' -}}{%- else -%}
{{- '[TOOL_CALLS] [' -}}
{%- for call in message.tool_calls -%}
{{- (call.function | tojson)[:-1] ~ ', "id": "' ~ call.id ~ '"}' -}}
{%- endfor -%}
{{- ']</s>' -}}
{%- endif -%}
{%- endfor -%}
"""
ESCAPES = """\
{%- for message in messages -%}
{{- '<start_of_turn>' ~ message.role ~ '\\n' ~ message.content -}}
{%- for call in message.tool_calls or [] -%}
{{- '<start_function_call>call:' ~ call.function.name ~ '{' -}}
{%- for name, value in call.function.arguments.items() -%}
{{- (',' if not loop.first else '') ~ name ~ ':' ~ ('<escape>' ~ value ~ '<escape>' if value is string else value) -}}
{%- endfor -%}
{{- '}<end_function_call>' -}}
{%- endfor -%}
{{- '<end_of_turn>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>assistant\\n' -}}{%- endif -%}
"""


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (hermes.CHAT_TEMPLATE, "hermes"),
        (python.CHAT_TEMPLATE, "python"),
        (HEADERS, "llama3"),
        (CODER, "qwen"),
        (BRACKETS, "mistral"),
        (ESCAPES, "gemma"),
        (THOUGHTS, None),
        ("{{ raise_exception('no tools') }}", None),
        ("{% broken", None),
        ("{% for message in messages %}{{ message.content }}{% endfor %}", None),
    ],
)
def test_a_template_tells_its_form(template: str, name: str | None) -> None:
    assert dialects.detect(template) == name


CODED = (
    "<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n"
    "<parameter=s>\n 12\n\n</parameter>\n</function>\n</tool_call>"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"Hm.\n{CODED}", Parsed((Call("f", {"a": 1, "s": " 12\n"}),), "Hm.")),
        ("<tool_call><function=g></function></tool_call>", Parsed((G,), "")),
        (
            "<tool_call><function=f><parameter=o>{'k': True}</parameter><parameter=x>so</parameter></function>"
            "</tool_call>",
            Parsed((Call("f", {"o": {"k": True}, "x": "so"}),), ""),
        ),
        ('<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>', Parsed((F,), "")),
    ],
)
def test_qwen(text: str, expected: Parsed) -> None:
    assert qwen.parse(text, [TOOL]) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"name": "f", "parameters": {"a": 1}}', Parsed((F,), "")),
        (' {"name": "f", "parameters": {"a": 1}}; {"name": "g"} \n', Parsed((F, G), "")),
        ('{"type": "function", "name": "f", "parameters": {"a": 1}}', Parsed((F,), "")),
        ('Hm.<|python_tag|>{"name": "f", "parameters": {"a": 1}}', Parsed((F,), "Hm.")),
        ('It is {"name": "f"}.', Parsed((), 'It is {"name": "f"}.')),
        ('{"answer": 1}', Parsed((), '{"answer": 1}')),
    ],
)
def test_llama3(text: str, expected: Parsed) -> None:
    assert llama3.parse(text, [TOOL]) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}, "id": "123456789"}]', Parsed((F,), "")),
        ('Hm.[TOOL_CALLS][{"name": "f", "arguments": {"a": 1}}, {"name": "g"}]', Parsed((F, G), "Hm.")),
        ('[TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]g[CALL_ID]x1[ARGS]{}', Parsed((F, G), "")),
        ('[TOOL_CALLS]f{"a": 1}', Parsed((F,), "")),
    ],
)
def test_mistral(text: str, expected: Parsed) -> None:
    assert mistral.parse(text, [TOOL]) == expected


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("<start_function_call>call:f{a:1}<end_function_call>", [F]),
        (
            '<start_function_call>call:f{s:<escape>{"}<escape>,o:{k:[true,null,<escape>x<escape>]}}<end_function_call>',
            [Call("f", {"s": '{"}', "o": {"k": [True, None, "x"]}})],
        ),
        ('<|tool_call>call:f{s:<|"|>b<|"|>}<tool_call|><|tool_call>call:g{}<tool_call|>', [Call("f", {"s": "b"}), G]),
        ("```tool_code\nf(1)\ng()\n```", [F, G]),
        ("```tool_code\nprint(f(a=1))\n```\n", [F]),
    ],
)
def test_gemma(text: str, calls: list[Call]) -> None:
    assert gemma.parse(text, [TOOL]) == Parsed(tuple(calls), "")
    assert gemma.parse(f"Hm.\n{text}", [TOOL]) == Parsed(tuple(calls), "Hm.")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("qwen", "<tool_call><function=f><parameter=a>1</tool_call>"),
        ("qwen", "<tool_call><function=f></tool_call>"),
        ("qwen", "<tool_call><function=f><parameter=a>1</parameter><parameter=a>2</parameter></function></tool_call>"),
        ("qwen", "<tool_call><function=f><parameter=a>\ud800</parameter></function></tool_call>"),
        ("llama3", '{"name": "f", "parameters": {"a": 1}} and more'),
        ("llama3", '{"name": "f", "parameters": {"a": 1}'),
        ("llama3", '{"name": "f", "parameters": {}};'),
        ("llama3", "<|python_tag|>f(a=1)"),
        ("llama3", '{"name": "Bob", "age": 3}'),
        ("mistral", "[TOOL_CALLS]"),
        ("mistral", "[TOOL_CALLS] []"),
        ("mistral", '[TOOL_CALLS] {"name": "f"}'),
        ("mistral", '[TOOL_CALLS] [{"name": "f"}] and more'),
        ("mistral", "[TOOL_CALLS]f[ARGS]"),
        ("mistral", '[TOOL_CALLS]f[ARGS]{"a": 1, "a": 2}'),
        ("gemma", "<start_function_call>call:f{a:1}"),
        ("gemma", "call:f{a:1}<end_function_call>"),
        ("gemma", "<start_function_call>f{a:1}<end_function_call>"),
        ("gemma", "<start_function_call>call:f{a:1,a:2}<end_function_call>"),
        ("gemma", "<start_function_call>call:f{a:<escape>1}<end_function_call>"),
        ("gemma", "<start_function_call>call:f{a:" + "[" * 300 + "]" * 300 + "}<end_function_call>"),
        ("gemma", "<start_function_call>call:f[1]<end_function_call>"),
        ("gemma", "```tool_code\nf(1)"),
        ("gemma", "```tool_code\nI think\n```"),
    ],
)
def test_what_cannot_be_read_is_broken(name: str, text: str) -> None:
    parsed = dialects.get(name).parse(text, [TOOL])
    assert (parsed.calls, parsed.text) == ((), text)
    assert parsed.broken


RESPONSE = {
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "content": {},
        "tool_calls": {
            "open": "<tool_call>",
            "close": "</tool_call>",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
    },
}


def test_a_tokenizers_own_reading() -> None:
    tokenizer = micro_tokenizer()
    with pytest.raises(ModelError, match="no response template"):
        dialects.get("native", tokenizer)
    tokenizer.response_template = RESPONSE
    native = dialects.get("native", tokenizer)
    assert native.parse(native.format([F, G], "Hm."), [TOOL]).calls == (F, G)
    assert native.parse("Hm.\n" + hermes.format([F]), [TOOL]) == Parsed((F,), "Hm.")
    assert native.parse("Hello.", [TOOL]) == Parsed((), "Hello.")
    for text in ('<tool_call>{"name": "f"', "<tool_call>[1]</tool_call>", "x" * 300_000):
        assert native.parse(text, [TOOL]).broken


def test_the_papers_prompt() -> None:
    tokenizer = micro_tokenizer()
    tokenizer.chat_template = python.CHAT_TEMPLATE
    place = {"type": "string", "description": "A place."}
    days = {"type": "integer", "enum": [1, 3]}
    schema = {"type": "object", "properties": {"place": place, "days": days}, "required": ["place"]}
    tools = [Tool("get_x", "Gets.\nTwice.", schema).to_json(), Tool("stop").to_json()]
    calls = [Call("get_x", {"place": "é\"'", "days": 3}).to_json(), Call("stop").to_json()]
    messages = [
        {"role": "system", "content": "Be nice."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": "ok"},
        {"role": "assistant", "content": "Done."},
    ]
    text = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False)
    assert text == (
        "System: Be nice.\nFunction:\n"
        'def get_x(place: str, days: int = None):\n    """\n    Gets.\n    Twice.\n\n    Args:\n'
        '        place (str): A place.\n        days (int):  One of [1, 3].\n    """\n'
        'def stop():\n    """\n    \n    """\n'
        "User: Hi\n"
        'Assistant: get_x(place="é\\"\'", days=3)\nstop()<|im_end|>\n'
        "Output: ok\n"
        "Assistant: Done.<|im_end|>\n"
    )
    for end in (2, 4):
        prompt = tokenizer.apply_chat_template(messages[:end], tools=tools, tokenize=False, add_generation_prompt=True)
        assert text.startswith(prompt) and prompt.endswith("\nAssistant:")
    written = text[text.index("Assistant:") + 10 : text.index("<|im_end|>")]
    assert written.strip() == python.format(python.parse(written).calls)
