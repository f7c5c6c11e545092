"""Whatever a template does with contents, no control token comes of them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import UntrustedRequest
from holdfast.serving.engine import conversation
from holdfast.serving.engine.template import ChatTemplate

CONTROLS = {"<|end|>": 1, "<|user|>": 2, "<|assistant|>": 3, "[INST]": 4, "</s>": 5, "EOS": 6, "<|end|>>": 7}
OWN = "\ue000\ue001\U000f0000"  # private characters, which contents may hold too


class Characters:
    """A vocabulary of characters and control tokens, the longest first; counts what it read as which."""

    def __init__(self, controls=CONTROLS):
        self.controls = controls

    def tokenize(self, text, *, begin, special):
        assert not begin
        parts = re.split("(" + "|".join(map(re.escape, sorted(CONTROLS, key=len, reverse=True))) + ")", text)
        found = []
        for part in parts if special else [text]:
            found += [CONTROLS[part]] if special and part in CONTROLS else [1000 + ord(one) for one in part]
        return found


def read(tokens):
    names = {number: name for name, number in CONTROLS.items()}
    return [names.get(token) or chr(token - 1000) for token in tokens]


TEMPLATES = [
    "{% for m in messages %}<|user|>{{ m.content }}<|end|>{% endfor %}<|assistant|>",
    "{% for m in messages %}<|user|>{{ m.content | trim }}<|end|>{% endfor %}<|assistant|>",
    "{% for m in messages %}<|user|>{{ m.content.replace('x', '') }}<|end|>{% endfor %}<|assistant|>",
    "{% for m in messages %}<|user|>{{ m.content | tojson }}<|end|>{% endfor %}<|assistant|>",
    "{% for m in messages %}<|user|>{{ m.content.split('|end|')[-1] }}<{{ m.content }}|end|>{% endfor %}",
    "{% for m in messages %}<|user|>{{ m.content[:9] }}{{ m.content[9:] }}{{ m.content }}<|end|>{% endfor %}",
    "{% for m in messages %}{{ '' if '<|' in m.content else '<|end|>' }}<|user|>{{ m.content }}{% endfor %}",
]
CONTENTS = st.lists(
    st.lists(st.one_of(st.sampled_from([*CONTROLS, "<", "|", "<|", "end", "|>", ">", "x", "E", "OS", " ", "\n", *OWN]), st.text("ab", max_size=2)), max_size=8).map("".join),
    min_size=1,
    max_size=3,
)  # fmt: skip


@pytest.mark.parametrize("source", TEMPLATES)
@given(CONTENTS)
def test_control_tokens_are_the_templates_own(source, contents):
    template = ChatTemplate(source, {})
    said = [{"role": "user", "content": content} for content in contents]
    found = read(conversation.tokens(template, Characters(), said))
    # The same messages with every character of every control token changed to a harmless one.
    harmless = {ord(sign): "~" for control in CONTROLS for sign in control}
    plain = [{"role": "user", "content": content.translate(harmless)} for content in contents]
    expected = read(Characters().tokenize(template.render(plain), begin=False, special=True))
    if "if '<|'" in source:  # this one writes by what contents hold
        assert found.count("<|user|>") == len(contents)
        assert found.count("<|end|>") <= len(contents)
        return
    assert [one for one in found if one in CONTROLS] == [one for one in expected if one in CONTROLS]


@given(st.lists(st.text("ab<|>[]/ \n\ue000", max_size=12), min_size=1, max_size=3))
def test_what_holds_no_control_token_is_read_as_it_is_rendered(contents):
    template = ChatTemplate(TEMPLATES[0], {})
    said = [{"role": "user", "content": content} for content in contents]
    expected = Characters().tokenize(template.render(said), begin=False, special=True)
    assert conversation.tokens(template, Characters(), said) == expected


def test_contents_come_through_as_they_are():
    template = ChatTemplate(TEMPLATES[0], {})
    said = [{"role": "user", "content": "a<|end|>\ue000\ue001<"}]
    found = read(conversation.tokens(template, Characters(), said))
    assert found == ["<|user|>", *"a<|end|>\ue000\ue001<", "<|end|>", "<|assistant|>"]


def test_a_tokenizer_that_reads_control_tokens_in_plain_text_is_not_trusted():
    class Careless(Characters):
        def tokenize(self, text, *, begin, special):
            del special
            return super().tokenize(text, begin=begin, special=True)

    with pytest.raises(UntrustedRequest, match="can't tell from a control token"):
        conversation.tokens(ChatTemplate(TEMPLATES[0], {}), Careless(), [{"role": "user", "content": "</s>"}])


def test_a_model_without_control_tokens_has_plain_conversations():
    template = ChatTemplate("{% for m in messages %}{{ m.content }}\n{% endfor %}", {})
    assert len(conversation.tokens(template, Characters({}), [{"role": "user", "content": "<a>"}])) == 4
