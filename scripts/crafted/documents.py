"""JSON files, tokenizers and chat templates, right and wrong."""

from __future__ import annotations

import json
from typing import Any

from scripts.crafted.vector import Vector

RUNS, CONFIG, FOREIGN = "formats.runs-code", "formats.config", "formats.foreign-path"
ARCHITECTURE, TOKENIZER, TEMPLATE = "formats.architecture", "formats.tokenizer", "formats.chat-template"
MODEL: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 8,
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    "tie_word_embeddings": True,
}
ADAPTER: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": None,
    "r": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.0,
    "target_modules": ["q_proj", "v_proj"],
    "auto_mapping": None,
    "megatron_config": None,
    "megatron_core": "megatron.core",
}
SETTINGS: dict[str, Any] = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "model_max_length": 64,
    "eos_token": "</s>",
}
GENERATION: dict[str, Any] = {"do_sample": True, "temperature": 0.7, "top_p": 0.9, "max_new_tokens": 64}
WORDS: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [
        {
            "id": 4, "content": "</s>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            "special": True,
        }
    ],
    "normalizer": None,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    "post_processor": None,
    "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    "model": {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
        "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
        "vocab": {"a": 0, "b": 1, "ab": 2, "c": 3}, "merges": [["a", "b"]],
    },
}  # fmt: skip
CHAT = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] | trim }}</s>\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def pack(value: object) -> bytes:
    """Write a JSON document."""
    return json.dumps(value, indent=1).encode()


def words(**model: Any) -> bytes:
    """Write a tokenizer whose model differs."""
    return pack({**WORDS, "model": {**WORDS["model"], **model}})


def right() -> list[Vector]:
    """Give files that are accepted."""
    return [
        Vector("config-llama.json", pack(MODEL), "a model's configuration"),
        Vector(
            "adapter-config-lora.json",
            pack(ADAPTER),
            "an adapter's configuration, with what peft writes and means nothing by",
        ),
        Vector("tokenizer-config.json", pack(SETTINGS), "a tokenizer's settings"),
        Vector(
            "tokenizer-config-template.json",
            pack({**SETTINGS, "chat_template": CHAT}),
            "the same with a chat template inside",
        ),
        Vector("generation-config.json", pack(GENERATION), "settings of generation"),
        Vector("tokenizer-byte-pairs.json", pack(WORDS), "a tokenizer"),
        Vector("template-chat.jinja", CHAT.encode(), "a chat template"),
        Vector(
            "lines.jsonl",
            b'{"text": "\xe2\x80\xae right to left, in data"}\n{"text": "<script>"}\n',
            "data, which may say anything",
        ),
        Vector(
            "lines-wide-ids.jsonl",
            b'{"id": 9223372036854775807}\n{"id": 18446744073709551615}\n\n',
            "data with ids of 64 bits and a blank line at the end",
        ),
        Vector(
            "text-prose.md",
            '# A model\n\n<p align="center">Größe, עברית, 中文</p>\n'.encode(),
            "text about a model",
        ),
    ]


def wrong() -> list[Vector]:
    """Give files that are refused."""
    return [*_json(), *_models(), *_adapters(), *_settings(), *_words(), *_templates(), *_lines()]


def _json() -> list[Vector]:
    text = pack(MODEL)
    return [
        Vector(
            "json-duplicate-key.json",
            text.replace(b"{", b'{"vocab_size": 9,', 1),
            "a key twice: readers differ in which they take",
            "json.duplicate-key",
        ),
        Vector(
            "json-deep.json",
            b'{"model_type":' + b"[" * 5000 + b"]" * 5000 + b"}",
            "nested 5,000 deep",
            "json.depth",
        ),
        Vector(
            "json-not-a-number.json", text.replace(b"1e-05", b"NaN"), "NaN, which is no JSON", "json.constant"
        ),
        Vector(
            "json-infinite.json",
            text.replace(b"1e-05", b"1e999"),
            "a number beyond what binary64 holds",
            "json.number",
        ),
        Vector("json-trailing-text.json", text + b"{}", "a second document behind the first", "json.syntax"),
        Vector("json-cut.json", text[:-2], "a document that ends in the middle", "json.syntax"),
        Vector(
            "json-half-surrogate.json",
            pack({**MODEL, "x": "\ud800"}),
            "half of a surrogate pair",
            "json.surrogate",
        ),
    ]


def _models() -> list[Vector]:
    hub = "attacker/kernels"
    code: list[tuple[str, dict[str, Any], str]] = [
        (
            "auto-map",
            {"auto_map": {"AutoModelForCausalLM": "modeling_evil.Evil"}},
            "names a Python file that is imported",
        ),
        ("auto-map-nested", {"text_config": {"auto_map": {"AutoConfig": "evil.Evil"}}}, "the same, deeper"),
        ("auto-map-hub", {"auto_map": {"AutoModel": "attacker/repo--evil.Evil"}}, "the same, from a hub"),
        ("attention-hub", {"_attn_implementation": hub}, "attention code that is downloaded and imported"),
        (
            "attention-internal",
            {"_attn_implementation_internal": hub},
            "the same under the name that is kept in memory",
        ),
        ("attention-per-part", {"_attn_implementation": {"": hub}}, "the same for one part of the model"),
        ("attention-public", {"attn_implementation": hub}, "the same under its public name"),
        (
            "experts-internal",
            {"_experts_implementation_internal": hub},
            "code of experts that is downloaded and imported",
        ),
        ("trust-remote-code", {"trust_remote_code": True}, "lets a library run Python files of the model"),
        ("code-revision", {"code_revision": "main"}, "chooses which Python files are fetched"),
        ("custom-generate", {"custom_generate": hub}, "names a repository whose generate.py is run"),
        (
            "custom-pipelines",
            {"custom_pipelines": {"x": {"impl": "evil.Evil"}}},
            "names Python files imported as pipelines",
        ),
        ("kernels", {"kernel_config": {"RMSNorm": hub}}, "kernels that are fetched and imported"),
        (
            "quantizer",
            {"quantization_config": {"quant_method": "evil"}},
            "a quantiser, whose library is imported",
        ),
    ]
    shape: list[tuple[str, dict[str, Any], str, str]] = [
        (
            "architecture-unknown",
            {"architectures": ["EvilForCausalLM"]},
            "an architecture that nobody converts or serves",
            ARCHITECTURE,
        ),
        ("architecture-two", {"architectures": ["LlamaForCausalLM", "X"]}, "two architectures", ARCHITECTURE),
        (
            "architecture-other-type",
            {"model_type": "gpt2"},
            "an architecture and a type that contradict each other",
            ARCHITECTURE,
        ),
        ("vocabulary-huge", {"vocab_size": 2**40}, "dimensions that would fill the memory", CONFIG),
        ("layers-negative", {"num_hidden_layers": -1}, "a negative dimension", CONFIG),
        ("layers-text", {"num_hidden_layers": "1"}, "a dimension that is text", CONFIG),
        ("heads-uneven", {"num_attention_heads": 3}, "heads that do not divide the width", CONFIG),
        ("name-url", {"_name_or_path": "https://example.org/model"}, "a URL where a path belongs", FOREIGN),
        ("name-hub", {"_name_or_path": "attacker/model"}, "a hub id where a path belongs", FOREIGN),
        ("name-climbs", {"_name_or_path": "../../etc"}, "a path that climbs", FOREIGN),
        ("unknown-object", {"plugins": {"load": "evil"}}, "an object that no library writes", CONFIG),
        ("num-labels", {"num_labels": 10**10}, "labels, for each of which a name would be made", CONFIG),
        ("rotary-factor", {"partial_rotary_factor": 1e12}, "a part of 1 that would fill the memory", CONFIG),
    ]
    return [
        *(Vector(f"config-{name}.json", pack({**MODEL, **more}), why, RUNS) for name, more, why in code),
        *(Vector(f"config-{name}.json", pack({**MODEL, **more}), why, key) for name, more, why, key in shape),
    ]


def _adapters() -> list[Vector]:
    cases: list[tuple[str, dict[str, Any], str, str]] = [
        (
            "auto-mapping",
            {"auto_mapping": {"base_model_class": "X", "parent_library": "evil"}},
            "names a module that peft imports",
            RUNS,
        ),
        ("megatron-core", {"megatron_core": "evil"}, "the same by another key", RUNS),
        (
            "megatron-config",
            {"megatron_config": {"x": 1}},
            "makes peft import what megatron_core names",
            RUNS,
        ),
        (
            "tokenizer-kwargs",
            {"tokenizer_kwargs": {"trust_remote_code": True}},
            "is passed to a tokenizer's loader",
            RUNS,
        ),
        ("corda", {"corda_config": {"cache_file": "evil.pt"}}, "names a file that torch unpickles", RUNS),
        (
            "base-url",
            {"base_model_name_or_path": "https://example.org/base"},
            "a URL where the base's path belongs",
            FOREIGN,
        ),
        (
            "base-hub",
            {"base_model_name_or_path": "attacker/base"},
            "a hub id where the base's path belongs",
            FOREIGN,
        ),
        ("rank-0", {"r": 0}, "no rank", CONFIG),
        ("rank-huge", {"r": 10**6}, "a rank beyond any matrix", CONFIG),
        ("alpha-text", {"lora_alpha": "8"}, "a scale that is text", CONFIG),
        (
            "rewrites-base",
            {"init_lora_weights": "pissa"},
            "rewrites the base's weights while it is loaded",
            CONFIG,
        ),
        ("other-method", {"peft_type": "PROMPT_TUNING"}, "another method than LoRA", CONFIG),
        ("runaway-pattern", {"target_modules": "(a+)+$"}, "a pattern that takes for ever", CONFIG),
    ]
    return [
        Vector(f"adapter-config-{name}.json", pack({**ADAPTER, **more}), why, key)
        for name, more, why, key in cases
    ]


def _settings() -> list[Vector]:
    evil = "{{ self.__init__.__globals__ }}"
    cases: list[tuple[str, dict[str, Any], str, str]] = [
        (
            "auto-map",
            {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}},
            "names a Python file that is imported",
            RUNS,
        ),
        ("other-file", {"tokenizer_file": "/etc/passwd"}, "names another file to be opened", RUNS),
        ("unknown-class", {"tokenizer_class": "EvilTokenizer"}, "a class that reads other files", CONFIG),
        (
            "template-escape",
            {"chat_template": evil},
            "a chat template inside that reaches for Python's globals",
            TEMPLATE,
        ),
        (
            "named-template-escape",
            {"chat_template": [{"name": "x", "template": evil}]},
            "the same in a list of templates",
            TEMPLATE,
        ),
        (
            "id-huge",
            {"added_tokens_decoder": {"99999999999": {"content": "x"}}},
            "a token far beyond any embedding",
            CONFIG,
        ),
    ]
    return [
        *(
            Vector(f"tokenizer-config-{name}.json", pack({**SETTINGS, **more}), why, key)
            for name, more, why, key in cases
        ),
        Vector(
            "generation-config-custom.json",
            pack({**GENERATION, "custom_generate": "attacker/x"}),
            "names a repository whose code is run",
            RUNS,
        ),
        Vector(
            "generation-config-assistant.json",
            pack({**GENERATION, "assistant_model": "attacker/x"}),
            "names a second model to be loaded",
            RUNS,
        ),
        Vector(
            "generation-config-beams.json",
            pack({**GENERATION, "num_beams": 10**9}),
            "beams, for each of which a cache would be kept",
            CONFIG,
        ),
    ]


def _words() -> list[Vector]:
    twice = {"id": 0, "content": "</s>", "special": True}
    grows = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}
    cut = {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 5}
    cases: list[tuple[str, bytes, str]] = [
        ("same-id", words(vocab={"a": 0, "b": 1, "ab": 2, "c": 2}), "two pieces of one id"),
        ("negative-id", words(vocab={"a": -1, "b": 1, "ab": 2, "c": 3}), "a negative id"),
        ("huge-id", words(vocab={"a": 2**40, "b": 1, "ab": 2, "c": 3}), "an id far beyond any embedding"),
        ("no-pieces", words(vocab={}), "no pieces"),
        ("merge-unknown", words(merges=[["a", "z"]]), "a merge of an unknown piece"),
        ("merge-into-unknown", words(merges=[["b", "a"]]), "a merge into an unknown piece"),
        ("merge-of-three", words(merges=[["a", "b", "c"]]), "a merge of three"),
        (
            "added-contradicts",
            pack({**WORDS, "added_tokens": [twice]}),
            "an added token with the id of another piece",
        ),
        ("model-unknown", words(type="Lua"), "a model of an unknown type"),
        ("dropout", words(dropout=0.5), "other ids each time"),
        ("runaway-pattern", _splitting("(a+)+$"), "a pattern that takes for ever on a prompt"),
        (
            "pattern-quadratic",
            _splitting(r"\p{L}+\p{L}+\p{N}"),
            "a pattern on which the engine gives up in a long prompt",
        ),
        (
            "replace-grows",
            pack({**WORDS, "normalizer": {"type": "Sequence", "normalizers": [grows, grows]}}),
            "replacements that make a hundred letters of one",
        ),
        (
            "stride",
            pack({**WORDS, "truncation": cut}),
            "a text cut into parts that overlap whole, at which the library panics",
        ),
    ]
    return [Vector(f"tokenizer-{name}.json", data, why, TOKENIZER) for name, data, why in cases]


def _splitting(pattern: str) -> bytes:
    """Write a tokenizer that splits by a regular expression."""
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return pack({**WORDS, "pre_tokenizer": split})


def _templates() -> list[Vector]:
    cases: list[tuple[str, str, str]] = [
        ("class", "{{ messages.__class__.__mro__ }}", "reaches for Python's classes"),
        ("class-item", "{{ messages['__class__'] }}", "the same by subscript"),
        ("class-filter", "{{ messages | attr('__class__') }}", "the same by a filter"),
        ("class-joined", "{{ messages['__cla' ~ 'ss__'] }}", "the same, its name put together"),
        (
            "class-mapped",
            "{{ messages | map(attribute='__class__') | list }}",
            "the same by a filter's argument",
        ),
        (
            "globals",
            "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
            "reaches for the operating system",
        ),
        ("format", "{{ '{0.__class__}'.format(messages) }}", "reaches for classes through a format"),
        (
            "private-in-one-branch",
            "{{ messages[0].content }}{% if tools %}{% set k = ['__cl', 'ass__']|join %}{{ messages[k] }}{% endif %}",
            "reaches for Python's classes in conversations with tools alone",
        ),
        (
            "format-by-built-name",
            "{{ messages[0].content }}{% set f = 'for' %}{{ '{:>1000000000}'[f ~ 'mat'](1) }}",
            "fills the memory by a format whose name is put together",
        ),
        ("import", "{% import 'x' as y %}", "loads another template"),
        ("include", "{% include '/etc/passwd' %}", "includes another file"),
        ("extends", "{% extends 'x' %}", "extends another template"),
        (
            "endless",
            "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}x{% endfor %}{% endfor %}{% endfor %}",
            "runs for ever",
        ),
        ("huge", "{{ 'x' * 9999999999 }}", "writes without end"),
        ("unfinished", "{{ messages", "does not end"),
        ("deep", "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "nests 5,000 deep"),
    ]
    return [Vector(f"template-{name}.jinja", text.encode(), why, TEMPLATE) for name, text, why in cases]


def _lines() -> list[Vector]:
    return [
        Vector("lines-list.jsonl", b"{}\n[]\n", "a line that is no object", "formats.lines"),
        Vector("lines-duplicate-key.jsonl", b'{"a": 1, "a": 2}\n', "a key twice", "json.duplicate-key"),
        Vector("lines-empty-line.jsonl", b"{}\n\n{}\n", "an empty line between others", "formats.lines"),
        Vector("lines-cut.jsonl", b'{"a": 1}\n{"a"', "a line that ends in the middle", "json.syntax"),
    ]
