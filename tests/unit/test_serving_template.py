"""Chat templates: transformers' rules, in a sandbox with a budget."""

from __future__ import annotations

import pytest

from holdfast.errors import UntrustedBundle, UntrustedRequest
from holdfast.serving.engine.template import MAX_TEMPLATE, ChatTemplate

TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello {{ 1 + 1 }} <|end|>"}]
CHATML = """{%- for message in messages %}
    {%- if message.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('odd role') }}{% endif %}
    {{- '<|im_start|>' + message['role'] + '\n' + message.content | trim + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"""


def test_messages_are_written_in_order_and_their_content_is_not_a_program():
    assert ChatTemplate(CHATML, {}).render(TURNS) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello {{ 1 + 1 }} <|end|><|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_special_tokens_are_at_hand_and_absent_ones_are_empty():
    assert ChatTemplate("{{ bos_token }}|{{ eos_token }}", {"eos_token": "</s>"}).render(TURNS) == "|</s>"


def test_loop_controls_and_namespaces_work():
    source = (
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}"
        "{% set ns.n = ns.n + 1 %}{{ loop.index0 }}{{ m.content | tojson }}{% endfor %}{{ ns.n }}"
    )
    assert ChatTemplate(source, {}).render([TURNS[0], {"role": "user", "content": 'a"ä'}]) == '1"a\\"ä"1'


def test_a_template_that_asks_for_the_time_uses_its_own_default():
    source = "{{ strftime_now('%Y') if strftime_now is defined else 'some day' }}{% generation %}!{% endgeneration %}"
    assert ChatTemplate(source, {}).render(TURNS) == "some day!"


def test_a_long_conversation_is_within_the_limits():
    turns = [{"role": role, "content": "word " * 200} for role in ("user", "assistant")] * 500
    assert len(ChatTemplate(CHATML, {}).render(turns)) > 1_000_000


def test_a_refusal_of_the_template_is_the_clients_matter():
    with pytest.raises(UntrustedRequest, match="odd role"):
        ChatTemplate(CHATML, {}).render([{"role": "tool", "content": ""}])


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ strftime_now('%Y') }}",
        "{% include 'x' %}",
        "{% import 'os' as os %}",
        "{{ messages | random }}",
    ],
)
def test_nothing_outside_is_reachable(source):
    with pytest.raises(UntrustedBundle) as caught:
        ChatTemplate(source, {}).render(TURNS)
    assert caught.value.key == "serve.template"


@pytest.mark.parametrize(
    "source",
    [
        "{% set r = range(1000) %}{% for i in r %}{% for j in r %}{% for k in r %}{% endfor %}{% endfor %}{% endfor %}",
        "{% set r = range(9999) %}{% for i in r %}{% for j in r if false %}{% endfor %}{% endfor %}",
        "{% set n = namespace(a='x') %}{% for i in range(60) %}{% set n.a = n.a ~ n.a %}{% endfor %}",
        "{% set n = namespace(a='x') %}{% for i in range(60) %}{% set n.a = n.a + n.a %}{% endfor %}",
        "{% set n = namespace(a=[1]) %}{% for i in range(60) %}{% set n.a = n.a + n.a %}{% endfor %}",
        "{{ 'a' * 100000000000 }}",
        "{{ 100000000000 * 'a' }}",
        "{{ [1] * 100000000000 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ '%1000000000s' % 'x' }}",
        "{{ 'x'.center(10000000000) }}",
        "{{ 'x' | center(10000000000) }}",
        "{{ ('a' * 100000).replace('a', 'b' * 100000) }}",
        "{{ ('a' * 100000) | replace('a', 'b' * 100000) }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for m in messages recursive %}{{ loop(messages) }}{% endfor %}",
        "{% for i in range(30) %}{{ 'a' * 1000000 }}{% endfor %}",
        "{% set n = namespace(a='x') %}{% for i in range(60) %}{% set n.a %}{{ n.a }}{{ n.a }}{% endset %}{% endfor %}",
        "{% set n = namespace(a=['x']) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}{% endfor %}{{ n.a | tojson }}",
        "{{ [1] | batch(10000000000, 'x') | list }}",
        "{{ 'x' | indent(10000000000) }}",
    ],
)
def test_time_and_memory_are_bounded(source):
    with pytest.raises(UntrustedBundle) as caught:
        ChatTemplate(source, {}).render(TURNS)
    assert caught.value.key == "serve.template"


def test_the_budget_is_for_one_rendering():
    template = ChatTemplate("{% for i in range(15000) %}{% endfor %}", {})
    for _ in range(5):
        assert template.render(TURNS) == ""


@pytest.mark.parametrize("source", ["{% for", "x" * (MAX_TEMPLATE + 1), "{{ a | nosuchfilter }}"])
def test_what_is_no_template_is_refused_before_it_is_used(source):
    with pytest.raises(UntrustedBundle):
        ChatTemplate(source, {})
