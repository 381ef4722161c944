//! Chat templates that come with this program, for models whose file has none.

/// Names and sources.
const TEMPLATES: [(&str, &str); 9] = [
    ("chatml", CHATML),
    ("llama2", LLAMA2),
    ("llama3", LLAMA3),
    ("mistral", MISTRAL),
    ("gemma", GEMMA),
    ("zephyr", ZEPHYR),
    ("phi3", PHI3),
    ("deepseek", DEEPSEEK),
    ("alpaca", ALPACA),
];

/// The source of the template with the given name.
pub(super) fn source(name: &str) -> Option<&'static str> {
    TEMPLATES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, source)| *source)
}

/// The names of all templates.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TEMPLATES.iter().map(|(name, _)| *name)
}

const CHATML: &str = "\
{%- for message in messages -%}
{{ '<|im_start|>' ~ message.role ~ '\\n' ~ message.content ~ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\\n' }}
{%- endif -%}";

const LLAMA2: &str = "\
{%- set ns = namespace(system='') -%}
{%- for message in messages -%}
{%- if message.role == 'system' -%}
{%- set ns.system = '<<SYS>>\\n' ~ message.content|trim ~ '\\n<</SYS>>\\n\\n' -%}
{%- elif message.role == 'user' -%}
{{ bos_token ~ '[INST] ' ~ ns.system ~ message.content|trim ~ ' [/INST]' }}
{%- set ns.system = '' -%}
{%- else -%}
{{ ' ' ~ message.content|trim ~ ' ' ~ eos_token }}
{%- endif -%}
{%- endfor -%}";

const LLAMA3: &str = "\
{{- bos_token -}}
{%- for message in messages -%}
{{ '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\\n\\n' ~ message.content|trim ~ '<|eot_id|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif -%}";

const MISTRAL: &str = "\
{{- bos_token -}}
{%- set ns = namespace(system='') -%}
{%- for message in messages -%}
{%- if message.role == 'system' -%}
{%- set ns.system = ns.system ~ message.content ~ '\\n\\n' -%}
{%- elif message.role == 'user' -%}
{{ '[INST] ' ~ ns.system ~ message.content ~ ' [/INST]' }}
{%- set ns.system = '' -%}
{%- else -%}
{{ ' ' ~ message.content ~ eos_token }}
{%- endif -%}
{%- endfor -%}";

const GEMMA: &str = "\
{{- bos_token -}}
{%- for message in messages -%}
{%- if message.role == 'system' -%}
{{ raise_exception('system messages are not supported') }}
{%- endif -%}
{%- set role = 'model' if message.role == 'assistant' else message.role -%}
{{ '<start_of_turn>' ~ role ~ '\\n' ~ message.content|trim ~ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<start_of_turn>model\\n' }}
{%- endif -%}";

const ZEPHYR: &str = "\
{%- for message in messages -%}
{{ '<|' ~ message.role ~ '|>\\n' ~ message.content ~ eos_token ~ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|assistant|>\\n' }}
{%- endif -%}";

const PHI3: &str = "\
{%- for message in messages -%}
{{ '<|' ~ message.role ~ '|>\\n' ~ message.content ~ '<|end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|assistant|>\\n' }}
{%- endif -%}";

const DEEPSEEK: &str = "\
{{- bos_token -}}
{%- for message in messages -%}
{%- if message.role == 'system' -%}
{{ message.content }}
{%- elif message.role == 'user' -%}
{{ '<｜User｜>' ~ message.content }}
{%- else -%}
{{ '<｜Assistant｜>' ~ message.content ~ '<｜end▁of▁sentence｜>' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<｜Assistant｜>' }}
{%- endif -%}";

const ALPACA: &str = "\
{%- for message in messages -%}
{%- if message.role == 'system' -%}
{{ message.content ~ '\\n\\n' }}
{%- elif message.role == 'user' -%}
{{ '### Instruction:\\n' ~ message.content ~ '\\n\\n' }}
{%- else -%}
{{ '### Response:\\n' ~ message.content ~ eos_token ~ '\\n\\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '### Response:\\n' }}
{%- endif -%}";
