"""The prompts of the TL-Training release as chat templates: that of its code, and that of its published model.

Both belong to the dialect `python`. They differ from its own template as `docs/DESIGN.md` lists: `Function:` before
every tool, parameters in another order and with other types, and a single stop token at the end of the conversation.
"""

from __future__ import annotations

_LISTS = """\
{%- set roles = {'system': 'System', 'user': 'User', 'assistant': 'Assistant', 'tool': 'Output'} -%}
{%- set types = {'string': 'str', 'integer': 'int', 'number': 'float', 'boolean': 'bool', 'array': 'list', \
'object': 'dict'} -%}
{%- macro type(schema) -%}
{{- schema.type if schema.type is string else 'any' -}}
{%- endmacro -%}
"""
_CODE_TOOL = """\
{%- macro definition(function, arguments, required, names) -%}
{{- 'def ' ~ function.name ~ '(' -}}
{%- for name in names -%}
{{- (', ' if not loop.first else '') ~ name ~ ': ' ~ type(arguments[name]) ~ ('' if name in required else ' = None') -}}
{%- endfor -%}
{{- '):\\n    \\"\\"\\"\\n    ' ~ function.description | default('', true) ~ '\\n\\n    Args:' -}}
{%- for name in names -%}
{{- '\\n    ' ~ name ~ ' (' ~ type(arguments[name]) ~ '): ' ~ arguments[name].description | default('', true) -}}
{%- endfor -%}
{{- '\\n    \\"\\"\\"' -}}
{%- endmacro -%}
{%- macro call(name, arguments) -%}
{{- name ~ '(' -}}
{%- for key, value in arguments.items() -%}
{{- (', ' if not loop.first else '') ~ key ~ '=' ~ value | tojson -}}
{%- endfor -%}
{{- ')' -}}
{%- endmacro -%}
{%- set between, after = '\\n\\n', '' -%}
"""
_PUBLISHED_TOOL = """\
{%- macro definition(function, arguments, required, names) -%}
{{- 'def ' ~ function.name ~ '(' -}}
{%- for name in names -%}
{{- (', ' if not loop.first else '') ~ name ~ ':' ~ (types[type(arguments[name])] | default('Any')) -}}
{{- '' if name in required else ' = None' -}}
{%- endfor -%}
{{- '):\\n    \\"\\"\\"\\n    ' ~ function.description | default('', true) ~ '\\n' -}}
{%- for name in names -%}
{{- ('\\n    Args:\\n' if loop.first else '') ~ '        ' ~ name ~ ' (' ~ type(arguments[name]) ~ '): ' -}}
{{- arguments[name].description | default('', true) ~ '\\n' -}}
{%- endfor -%}
{{- '    \\"\\"\\"' -}}
{%- endmacro -%}
{%- macro call(name, arguments) -%}
{{- name ~ '(' -}}
{%- for key, value in arguments.items() -%}
{{- (', ' if not loop.first else '') ~ key ~ ' = ' ~ '%r' | format(value) -}}
{%- endfor -%}
{{- ') ' -}}
{%- endmacro -%}
{%- set between, after = '\\n\\n', '\\n\\n' -%}
"""
_CONVERSATION = """\
{%- macro written(call_) -%}
{%- set function = call_.function if call_.function is defined else call_ -%}
{%- if function.arguments is string -%}
{{- function.name ~ '(' ~ function.arguments ~ ')' -}}
{%- else -%}
{{- call(function.name, function.arguments) -}}
{%- endif -%}
{%- endmacro -%}
{%- set given = messages and messages[0].role == 'system' -%}
{%- if tools or given -%}
{{- 'System: ' ~ (messages[0].content or '' if given else '') -}}
{%- endif -%}
{%- if tools -%}
{{- '\\n' if given and messages[0].content else '' -}}
{%- for tool in tools -%}
{%- set function = tool.function if tool.function is defined else tool -%}
{%- set parameters = function.parameters or {} -%}
{%- set arguments = parameters['properties'] or {} -%}
{%- set required = (parameters['required'] or []) | select('in', arguments) | list -%}
{%- set names = required + (arguments | reject('in', required) | list) -%}
{{- 'Function:\\n' ~ definition(function, arguments, required, names) ~ (between if not loop.last else after) -}}
{%- endfor -%}
{%- endif -%}
{%- for message in messages -%}
{%- if not (loop.first and given) -%}
{{- ('\\n' if tools or not loop.first else '') ~ (roles[message.role] | default(message.role)) ~ ':' -}}
{%- if message.role == 'assistant' -%}
{%- generation -%}
{{- ' ' -}}
{%- for call_ in message.tool_calls or [] -%}
{{- ('\\n' if not loop.first else '') ~ written(call_) -}}
{%- else -%}
{{- message.content or '' -}}
{%- endfor -%}
{{- eos_token | default('') if loop.last and not add_generation_prompt else '' -}}
{%- endgeneration -%}
{%- else -%}
{{- ' ' ~ (message.content or '') -}}
{%- endif -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '\\nAssistant:' -}}
{%- endif -%}
"""
CHAT_TEMPLATE = _LISTS + _CODE_TOOL + _CONVERSATION
"""The prompt that the release's code trains on: tools as signatures with the types of JSON Schema, required parameters
first; values of calls as JSON."""
PUBLISHED = _LISTS + _PUBLISHED_TOOL + _CONVERSATION
"""The prompt of the published model TL-CodeLLaMA-2, as the release's README shows it: Python's types in signatures, no
space after a colon, and values of calls as Python literals. The README shows neither optional parameters nor several
calls; those follow `CHAT_TEMPLATE`."""
