"""Two chat templates of other make than ours, and the micro tokenizer with their special tokens."""

from __future__ import annotations

from transformers import PreTrainedTokenizerFast

from support.micro import micro_tokenizer

HEADERS = """\
{{- '<|begin_of_text|>' -}}
{%- if tools -%}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' -}}
{%- for tool in tools -%}{{- tool.function | tojson ~ '\\n' -}}{%- endfor -%}
{{- '<|eot_id|>' -}}
{%- endif -%}
{%- for message in messages -%}
{%- set role = 'ipython' if message.role == 'tool' else message.role -%}
{{- '<|start_header_id|>' ~ role ~ '<|end_header_id|>\\n\\n' ~ (message.content or '') -}}
{%- for call in message.tool_calls or [] -%}
{{- '; ' if not loop.first -}}
{{- '{"name": "' ~ call.function.name ~ '", "parameters": ' ~ call.function.arguments | tojson ~ '}' -}}
{%- endfor -%}
{{- '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
{%- endif -%}
"""
"""Turns under headers, calls as bare JSON objects; a reply ends with a token that is not the end of text."""

THOUGHTS = """\
{%- for tool in tools or [] -%}{{- '<tool>' ~ tool.function.name ~ '</tool>\\n' -}}{%- endfor -%}
{%- for message in messages -%}
{{- '<|im_start|>' ~ message.role ~ '\\n' -}}
{%- if message.role == 'assistant' and loop.last and message.reasoning_content -%}
{{- '<think>\\n' ~ message.reasoning_content ~ '\\n</think>\\n\\n' -}}
{%- endif -%}
{{- message.content or '' -}}
{%- for call in message.tool_calls or [] -%}
{{- '<tool_call><function=' ~ call.function.name ~ '>' -}}
{%- for name, value in call.function.arguments.items() -%}
{{- '<' ~ name ~ '>' ~ value ~ '</' ~ name ~ '>' -}}
{%- endfor -%}
{{- '</function></tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""
"""Thoughts of the last message only, so that a history changes when it grows; calls in tags, nothing between two."""


def headers_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = micro_tokenizer()
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    tokenizer.eos_token = "<|end_of_text|>"
    tokenizer.chat_template = HEADERS
    return tokenizer


def thoughts_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = micro_tokenizer()
    tokenizer.chat_template = THOUGHTS
    return tokenizer
