"""Chat templates that attack: by reaching out, by running away, and by hiding what they do until they run."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from tests.benign.templates import TEMPLATES

from holdfast.errors import UntrustedBundle
from holdfast.formats import chattemplate, sandbox
from holdfast.formats.budget import Limits

REACHES = [
    "{{ messages.__class__ }}",
    "{{ messages['__class__'] }}",
    "{{ messages['__cl' ~ 'ass__'] }}",
    "{{ messages['__cl' + 'ass__'] }}",
    "{{ messages['_' ~ ('_cla' + 'ss__')] }}",
    "{{ messages[['__class__']|join] }}",
    "{{ messages['__ssalc__'|reverse] }}",
    "{{ messages|attr('__class__') }}",
    "{{ messages|map(attribute='__class__')|list }}",
    "{{ messages|map(attribute='role.__class__')|list }}",
    "{{ messages|map('attr', '__class__')|list }}",
    "{{ messages|map('format')|list }}",
    "{{ messages|selectattr('__class__')|list }}",
    "{{ messages|rejectattr('role.__len__')|list }}",
    "{{ messages|groupby('__class__') }}",
    "{{ messages|sort(attribute='__class__') }}",
    "{{ messages|join(attribute='__doc__') }}",
    "{{ '{0.__class__}'.format(messages) }}",
    "{{ '{0}'['format'](messages) }}",
    "{{ '%s' % messages }}",
    "{{ '%1000000000s' % 'x' }}",
    "{{ '%s'|format(messages) }}",
    "{{ self }}",
    "{{ self.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ joiner }}",
    "{{ lipsum(n=100000) }}",
    "{% set ns = namespace(__class__=1) %}",
    "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
    "{% import 'x' as y %}",
    "{% from 'x' import y %}",
    "{% include 'x' %}",
    "{% extends 'x' %}",
    "{% block x %}{% endblock %}",
    "{{ _private }}",
    "{% set _private = 1 %}",
    "{% macro f(__step) %}{% endmacro %}",
    "{% for __write in messages %}{% endfor %}",
    "{% generation %}{{ x.__init__ }}{% endgeneration %}",
    "{% trans %}x{% endtrans %}",
    "{% do messages.append(1) %}",
    "{% debug %}",
    "{{ messages|random }}",
    "{{ messages|pprint }}",
    "{{ messages|xmlattr }}",
    "{{ 'http://x'|urlize }}",
    "{{ 'a'|center(1000000000) }}",
    "{{ [1]|batch(1000000000, 'x')|list }}",
    "{{ 'ab'|slice(1000000000)|list }}",
    "{{ 9 ** 9 ** 9 }}",
    "{{ unfinished",
    "{% if %}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{{ " + "9" * 5000 + " }}",
    "x" * (chattemplate.MAX_TEMPLATE + 1),
    "{{a.b}}" * 36_000,
]
# Each gets past a reading of its text and is stopped when it runs.
RUNS = [
    "{% set n = '__cla' %}{{ messages[n ~ 'ss__'].mro() }}",
    "{% for c in ['_'] %}{{ messages[c * 2 + 'class' + c * 2].mro() }}{% endfor %}",
    "{% set u = '__cla' ~ 'ss__' %}{{ (messages|map(attribute=u)|first).mro() }}",
    "{% set ns = namespace() %}{% set k = '__cla' ~ 'ss__' %}{{ ns[k].mro() }}",
    "{{ namespace(**{'__cl' ~ 'ass__': 1}).x }}",
    "{{ range }}",
    "{{ namespace }}",
    "{{ messages|map('upper') }}",
    "{% for m in messages %}{{ loop }}{% endfor %}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update(role='x') }}",
    "{{ dict.mro() }}",
    "{{ 'a'.encode('utf-8') }}",
    "{{ 'a'.center(1000000000) }}",
    "{{ 'a'.ljust(1000000000) }}",
    "{{ strftime_now('%1000000000Y') }}",
    "{{ strftime_now('%Y' * 1000) }}",
    "{{ strftime_now(5) }}",
]
# Each is refused though it renders other conversations without it.
HIDES = [
    "{% if tools %}{% set k = ['__cl', 'ass__']|join %}{{ messages[k] }}{% endif %}",
    "{% set k = '__cl' %}{% if messages[k ~ 'ass__'] is defined %}x{% endif %}",
    "{% if tools %}{% set k = '__cl' %}{{ messages|map(attribute=k ~ 'ass__')|list }}{% endif %}",
    "{% set f = 'for' %}{{ '{:>1000000000}'[f ~ 'mat'](1) }}",
    "{% if tools %}{% set f = 'format_' %}{{ '{a:>1000000000}'[f ~ 'map']({'a': 1}) }}{% endif %}",
    "{% if tools %}{{ 'a'.ljust(1000000000) }}{% endif %}",
]
EXHAUSTS = [
    "{% set r = range(1000) %}{% for i in r %}{% for j in r %}{% for k in r %}{% endfor %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{{ range(99999)|list|length }}{% endfor %}",
    "{% for i in range(99999) %}{{ range(99999)|select('gt', 1e9)|list|length }}{% endfor %}",
    "{% set n = namespace(a='x') %}{% for i in range(60) %}{% set n.a = n.a ~ n.a %}{% endfor %}",
    "{% set n = namespace(a='x') %}{% for i in range(60) %}{% set n.a = n.a + n.a %}{% endfor %}",
    "{% set n = namespace(a=[1]) %}{% for i in range(60) %}{% set n.a = n.a + n.a %}{% endfor %}",
    "{% set n = namespace(a='x') %}{% for i in range(60) %}{% set n.a %}{{ n.a }}{{ n.a }}{% endset %}{% endfor %}",
    "{% set n = namespace(a=['x']) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}{% endfor %}{{ n.a }}",
    "{% set n = namespace(a=['x']) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}{% endfor %}{{ n.a|tojson }}",
    "{% set n = namespace(a=['x']) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}{% endfor %}{{ n.a|string }}",
    "{% set n = namespace(a=['x']) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}{% endfor %}{{ n.a ~ '' }}",
    "{% set n = namespace(a=['x'], b=['x']) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}{% set n.b = [n.b, n.b] %}{% endfor %}{{ n.a == n.b }}",
    "{% set n = namespace(a=9) %}{% for i in range(60) %}{% set n.a = n.a * n.a %}{% endfor %}",
    "{% set n = namespace(a=9) %}{% for i in range(6000) %}{% set n.a = n.a + n.a %}{% endfor %}",
    "{{ 'a' * 100000000000 }}",
    "{{ 100000000000 * 'a' }}",
    "{{ [1] * 100000000000 }}",
    "{% set s = 'a' * 1000000 %}{% for i in range(9999) %}{{ s.upper()|length }}{% endfor %}",
    "{% set s = 'a' * 1000000 %}{% for i in range(9999) %}{{ 'b' in s }}{% endfor %}",
    "{% set s = 'a' * 1000000 %}{% for i in range(9999) %}{{ s[1:]|length }}{% endfor %}",
    "{% set s = 'a' * 1000000 %}{% for i in range(9999) %}{{ (s == s[:-1] ~ 'b') }}{% endfor %}",
    "{{ ('a' * 100000).replace('a', 'b' * 100000) }}",
    "{{ ('a' * 100000) | replace('a', 'b' * 100000) }}",
    "{{ ([('a' * 100000)] * 100000) | join }}",
    "{{ ''.join([('a' * 100000)] * 100000) }}",
    "{% macro f() %}"
    + "x" * 200_000
    + "{% endmacro %}{% for i in range(9999) %}{% set x = f() %}{% endfor %}",
    "{% macro f(n) %}{{ f(n - 1) ~ f(n - 1) if n }}{% endmacro %}{{ f(60) }}",
    "{% for m in messages recursive %}{{ loop(messages) }}{% endfor %}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{{ 1.5 | round(100000000, 'ceil') }}",
    "{{ 'x' | indent(100000000) }}",
    "{{ messages | tojson(indent=100000000) }}",
]


@pytest.mark.parametrize("template", REACHES, ids=lambda one: one[:32])
def test_a_template_that_reaches_out_is_refused_unrun(template):
    with pytest.raises(UntrustedBundle) as caught:
        chattemplate.check(template.encode(), "chat_template.jinja")
    assert caught.value.key == "formats.chat-template"
    assert caught.value.message.startswith("chat_template.jinja is refused: ")


@pytest.mark.parametrize("branch", HIDES)
def test_a_template_that_reaches_out_in_one_conversation_alone_is_refused(branch):
    with pytest.raises(UntrustedBundle, match=r"reaches for '(__class__|format|format_map|ljust)'"):
        chattemplate.trial(("{{ messages[0].content }}" + branch).encode(), "chat_template.jinja")


@pytest.mark.parametrize("template", [*RUNS, *EXHAUSTS], ids=lambda one: one[:48])
def test_a_template_that_hides_or_runs_away_is_stopped_soon_and_small(template):
    data = template.encode()
    chattemplate.check(data, "chat_template.jinja")
    tracemalloc.start()
    start = time.process_time()
    try:
        with pytest.raises(UntrustedBundle) as caught:
            chattemplate.trial(data, "chat_template.jinja")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.key == "formats.chat-template"
    assert time.process_time() - start < 8  # with every allocation traced; about a fifth of it otherwise
    assert peak < 64 * 2**20


@pytest.mark.parametrize(
    "template", ["{% for x in y %}" * 25 + "{% endfor %}" * 25, "{{ " + "-" * 3000 + "1 }}"]
)
def test_a_template_that_python_cannot_compile_is_refused(template):
    with pytest.raises(UntrustedBundle) as caught:
        chattemplate.trial(template.encode(), "chat_template.jinja")
    assert caught.value.key == "formats.chat-template"


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_templates_of_the_known_families_are_accepted(name):
    found = chattemplate.trial(TEMPLATES[name].encode(), "chat_template.jinja")
    assert found["expresses"] >= 3


def test_a_template_that_refuses_every_conversation_is_refused_with_its_own_words():
    with pytest.raises(UntrustedBundle, match="Speak not"):
        chattemplate.trial(b"{{ raise_exception('Speak not') }}", "t.jinja")


def test_what_a_template_says_is_shown_without_control_characters():
    with pytest.raises(UntrustedBundle) as caught:
        chattemplate.trial(b"{{ raise_exception('\\x1b[2J\n') }}", "t.jinja")
    assert caught.value.message.isprintable()


def test_one_conversation_that_is_expressed_is_enough():
    only_one = b"{{ messages[0].content if messages|length == 1 else raise_exception('one at a time') }}"
    assert chattemplate.trial(only_one, "t.jinja")["expresses"] == 2


def test_rendering_gives_the_text_and_says_when_messages_are_refused():
    turns = [{"role": "user", "content": "Hello {{ 1 + 1 }}"}]
    assert chattemplate.render(TEMPLATES["chatml"].encode(), "t.jinja", turns) == (
        "<|turn|>user\nHello {{ 1 + 1 }}<|over|>\n<|turn|>assistant\n"
    )
    with pytest.raises(UntrustedBundle, match="refuses the conversation"):
        chattemplate.render(b"{{ raise_exception('no') }}", "t.jinja", turns)
    limits = Limits(steps=100, characters=1000)
    with pytest.raises(UntrustedBundle, match="100 steps"):
        chattemplate.render(b"{% for i in range(99) %}{{ i }}{% endfor %}", "t.jinja", turns, limits=limits)


def test_a_program_renders_many_times_within_one_budget_each():
    program = sandbox.Program("{% for m in messages %}{{ m }}{% endfor %}", Limits(200, 100))
    for _ in range(20):
        assert program.render({"messages": ["a", "b"]}) == "ab"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ strftime_now('%d %b %Y') }}", "01 Jan 2025"),
        ("{{ {'b': [1, 'ä<'], 'a': none} | tojson }}", '{"b": [1, "ä<"], "a": null}'),
        ("{{ [1, 2] | tojson(indent=2, separators=(',', ':')) }}", "[\n  1,\n  2\n]"),
        ("{{ [3, 1] | sort | join('-') }}{{ ['b', 'a'] | map('upper') | join }}", "1-3BA"),
        ("{{ 'a\nb' | indent(2) }}{{ 'aaa' | replace('a', 'b', 2) }}{{ 2.345 | round(1) }}", "a\n  bbba2.3"),
        ("{{ 'a-b'.split('-')[-1] ~ 1 ~ none ~ true }}{{ undefined }}", "b1NoneTrue"),
        ("{% generation %}{{ 'x' }}{% endgeneration %}{{ [1, 'a'] }}{{ {'a': 1.5} }}", "x[1, 'a']{'a': 1.5}"),
        (
            "{{ 7 // 2 }}{{ 7 % 2 }}{{ 'ab' * 2 }}{{ [1] * 2 }}{{ dict(a=1).items() | list }}",
            "31abab[1, 1][('a', 1)]",
        ),
    ],
)
def test_what_templates_ordinarily_use_is_there(template, text):
    assert sandbox.Program(template, Limits(1000, 1000)).render({}) == text
