"""Answers that must look like something do; hostile grammars are refused in time; llama.cpp's own reading of GBNF agrees."""

from __future__ import annotations

import ctypes
import json
import re
import time

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.integration.serving.stack import make_settings

from holdfast.errors import UntrustedRequest
from holdfast.serving.engine import grammar as module
from holdfast.serving.engine.grammar import Grammars
from holdfast.serving.engine.llama import Weights
from holdfast.serving.engine.sampling import Sampler
from holdfast.serving.link import Grammar, GrammarKind, Sampling

pytestmark = pytest.mark.model

J, S, G, R = GrammarKind.JSON, GrammarKind.JSON_SCHEMA, GrammarKind.GBNF, GrammarKind.REGEX
END = 0  # the crafted model's end token


@pytest.fixture(scope="module")
def weights(models):
    opened = Weights(make_settings(models / "base.gguf").models[0])
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def grammars(weights):
    made = Grammars(weights.vocabulary)
    yield made
    made.close()


def answer(weights, grammars, grammar, seed, *, most=300, hurry=""):
    """Answer with random scores; ``hurry`` names characters that are likelier. Gives the text, and whether it ended."""
    vocabulary = weights.vocabulary
    size, random = vocabulary.size, np.random.default_rng(seed)
    likely = {vocabulary.tokenize(sign, begin=False, special=False)[0]: 3.0 for sign in hurry}
    sampling = Sampling(seed=seed, logit_bias={**likely, END: 5.0} if hurry else {})
    sampler = Sampler(sampling, choice=0, prompt=[], size=size, grammar=grammars.state(grammar, "a"))
    said = b""
    for _ in range(most):
        token = sampler.choose(random.normal(0, 1.5, size).astype(np.float32)).token
        if vocabulary.ends(token):
            return said.decode(), True
        assert token not in vocabulary.control_ids
        said += vocabulary.piece(token)
    return said.decode("utf-8", "replace"), False


SCALARS = st.one_of(
    st.builds(
        lambda low, more: {"type": "integer", "minimum": low, "maximum": low + more},
        st.integers(-9, 9),
        st.integers(0, 200),
    ),
    st.builds(
        lambda low: {"type": "number", "minimum": low, "exclusiveMaximum": low + 10}, st.integers(-9, 9)
    ),
    st.builds(
        lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more},
        st.integers(0, 3),
        st.integers(0, 4),
    ),
    st.sampled_from(
        [
            {"type": "boolean"},
            {"type": "null"},
            {"const": {"a": [1, None]}},
            {"type": ["string", "null"], "maxLength": 2},
        ]
    ),
    st.sampled_from(
        [{"type": "string", "pattern": "^[A-Z]{2}[0-9]{1,3}$"}, {"type": "string", "format": "date"}]
    ),
    st.builds(
        lambda some: {"enum": some},
        st.lists(st.sampled_from(["a", "b c", 1, None, True, 'q"']), min_size=1, unique_by=repr),
    ),
)


def _object(fields, needed):
    names = sorted(fields)
    required = [name for name, wanted in zip(names, needed, strict=False) if wanted]
    return {"type": "object", "properties": fields, "required": required, "additionalProperties": False}


SCHEMAS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.builds(
            _object,
            st.dictionaries(st.sampled_from("abcdé"), inner, max_size=3),
            st.lists(st.booleans(), max_size=3),
        ),
        st.builds(
            lambda item, least: {"type": "array", "items": item, "minItems": least, "maxItems": least + 2},
            inner,
            st.integers(0, 2),
        ),
        st.builds(lambda some: {"anyOf": some}, st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=6,
)
SPACES = 20  # signs between two parts of JSON, at most
SCALAR = 250  # signs of what has no parts of its own, with the spaces within a constant; hundreds of digits are not drawn
LONGEST = 20_000  # signs of the longest answer that is asked for; each takes some 0.05 ms


def longest(schema):
    """Count the signs of the longest answer under a schema; no token has fewer than one."""
    match schema:
        case {"anyOf": some}:
            return max(longest(one) for one in some)
        case {"properties": fields}:
            return SPACES + 2 + sum(longest(one) + 3 * SPACES + 8 for one in fields.values())
        case {"items": item, "maxItems": most}:
            return SPACES + 2 + most * (longest(item) + 2 * SPACES + 1)
    return SCALAR


@settings(max_examples=60)
@given(SCHEMAS.filter(lambda schema: longest(schema) <= LONGEST), st.integers(0, 2**32))
def test_every_answer_under_a_schema_validates(weights, grammars, schema, seed):
    source, most = Grammar(S, json.dumps(schema)), longest(schema) + 2 * SPACES
    text, ended = answer(weights, grammars, source, seed, hurry='"}],:0\n', most=most)
    assert ended, text
    jsonschema.validate(json.loads(text), schema)


def test_a_schema_that_refers_to_itself_holds(weights, grammars):
    schema = {
        "$defs": {"tree": {"type": "object", "properties": {"v": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]}}, "required": ["v", "next"], "additionalProperties": False}},
        "$ref": "#/$defs/tree",
    }  # fmt: skip
    for seed in range(5):
        text, ended = answer(weights, grammars, Grammar(S, json.dumps(schema)), seed, hurry="n}:0", most=2000)
        assert ended
        jsonschema.validate(json.loads(text), schema)


def test_json_alone_is_an_object(weights, grammars):
    ended = 0
    for seed in range(10):
        text, done = answer(weights, grammars, Grammar(J), seed, hurry='"}],:')
        ended += done
        assert text.startswith("{")
        if done:
            assert isinstance(json.loads(text), dict)
    assert ended >= 5


@pytest.mark.parametrize("pattern", ["[a-z]{3}-[0-9]{1,4}", "(yes|no)", "a*b?", "[^ ]{2,5}", r"\(x\)\.\n"])
def test_a_regular_expression_is_matched_as_a_whole(weights, grammars, pattern):
    for seed in range(5):
        text, ended = answer(weights, grammars, Grammar(R, pattern), seed, hurry="abx")
        assert ended
        assert re.fullmatch(pattern, text)


def test_the_end_is_allowed_only_where_the_grammar_may_end(weights, grammars):
    state = grammars.state(Grammar(R, "ab?"), "a")
    first, second = (weights.vocabulary.tokenize(sign, begin=False, special=False)[0] for sign in "ab")
    allowed = lambda: set(np.flatnonzero(np.isfinite(state.mask())).tolist())  # noqa: E731 - read three times below
    assert allowed() == {first}
    state.accept(first)
    assert allowed() == {second, END}
    other = state.fresh()
    state.accept(second)
    assert allowed() == {END}
    assert set(np.flatnonzero(np.isfinite(other.mask())).tolist()) == {second, END}


GRAMMARS = [
    'root ::= "a" [0-9]+ ("x" | "y"){2} # end',
    'root ::= [a-z]+ "a"',
    'root ::= item ("," item)*\nitem ::= "(" root ")" | [b-d]{1,2} "a"? | "z"',
    'root ::= expr\nexpr ::= term (("+" | "-") term)?\nterm ::= num | "(" expr ")"\nnum ::= "0" | [1-9] [0-9]?',
    'root ::= "\\x41\\u00e9\\"" [^a-z\\]\\n]{0,3} "]"',
    'root ::= ws | "b" ws root\nws ::= [ \\t]{0,2}',
    'root ::= (\n  "a" |\n  "b" # or\n)+ tail?\ntail-2 ::= "!"\ntail ::= tail-2 tail-2',
    'root ::= root "a" | "b"',
    'value ::= "1" | "[" value ("," value)* "]"\nroot ::= value "\\n"',
]  # fmt: skip


@pytest.mark.parametrize("source", GRAMMARS)
def test_llama_cpp_accepts_what_its_own_notation_gave(weights, grammars, source):
    llama, vocabulary = weights.llama, weights.vocabulary
    if 'root "a"' in source:  # llama.cpp refuses left recursion; here it is just a list
        assert re.fullmatch("ba*", answer(weights, grammars, Grammar(G, source), 1)[0])
        return
    handle = llama.llama_model_get_vocab(weights.model)
    ended = 0
    for seed in range(8):
        text, done = answer(weights, grammars, Grammar(G, source), seed, hurry="a)]10,")
        theirs = llama.llama_sampler_init_grammar(handle, source.encode(), b"root")
        assert theirs
        tokens = vocabulary.tokenize(text, begin=False, special=False)
        for token in [*tokens, END][: None if done else len(tokens)]:
            entry = llama.llama_token_data(token, 0.0, 0.0)
            array = llama.llama_token_data_array((llama.llama_token_data * 1)(entry), 1, -1, False)
            llama.llama_sampler_apply(theirs, ctypes.byref(array))
            assert array.data[0].logit == 0.0, (text, token)
            if token != END:
                llama.llama_sampler_accept(theirs, token)
        llama.llama_sampler_free(theirs)
        ended += done
    assert ended


def test_a_grammar_is_compiled_once_and_answers_do_not_share_their_place(weights, grammars):
    source = Grammar(G, 'root ::= "abc"')
    assert [answer(weights, grammars, source, seed)[0] for seed in range(3)] == ["abc"] * 3
    assert [tenant for tenant, known in grammars._kept if known == source] == ["a"]
    grammars.state(source, "b")  # how long this takes tells nothing of what others ask
    assert [tenant for tenant, known in grammars._kept if known == source] == ["a", "b"]
    grammars.forget("b")
    assert [tenant for tenant, known in grammars._kept if known == source] == ["a"]
    for number in range(module.KEPT + 5):
        grammars.state(Grammar(R, f"x{number}"), "a")
    assert len(grammars._kept) == module.KEPT


def _chain(count, link):
    links = {f"d{at}": link(f"#/d{at + 1}") for at in range(count)}
    return json.dumps({**links, f"d{count}": {"type": "string"}, "$ref": "#/d0"}, separators=(",", ":"))


REFUSED = {
    "not JSON": Grammar(S, "{"),
    "no schema": Grammar(S, "[1]"),
    "no object": Grammar(S, "false"),
    "no such type": Grammar(S, '{"type": "strin"}'),
    "unsupported": Grammar(S, '{"not": {"type": "string"}}'),
    "options": Grammar(S, '{"properties": {"a": {"x-guidance": {"lenient": true}}}}'),
    "a file": Grammar(S, '{"$ref": "file:///etc/passwd"}'),
    "the network": Grammar(S, '{"$ref": "http://example.com/x.json"}'),
    "itself": Grammar(S, '{"$ref": "#"}'),
    "itself twice": Grammar(S, '{"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}'),
    "deep": Grammar(S, '{"items":' * 6000 + "{}" + "}" * 6000),
    "large": Grammar(S, json.dumps({"enum": [f"v{at}" for at in range(9000)]})),
    "products": Grammar(S, json.dumps({"allOf": [{"anyOf": [{"properties": {f"{a}_{b}": {}}} for b in range(3)]} for a in range(12)]})),
    "a long pattern": Grammar(S, json.dumps({"pattern": "a" * 5000})),
    "many patterns": Grammar(S, json.dumps({"patternProperties": {f"^{at}{'a' * 3000}$": {} for at in range(8)}})),
    "many patterns of one text": Grammar(S, json.dumps({"allOf": [{"type": "string", "pattern": f"a{at}"} for at in range(30)]})),
    "patterns that meet by reference": Grammar(S, json.dumps({"$ref": "#/a0", **{f"a{at}": {"pattern": f"a{at}", "$ref": f"#/a{at + 1}"} for at in range(30)}, "a30": {}})),
    "many lists of itself": Grammar(S, json.dumps({"anyOf": [{"type": "array", "items": {"$ref": "#"}} for _ in range(1300)]})),
    "many fields": Grammar(S, json.dumps({"properties": {f"p{at}": {} for at in range(1800)}})),
    "many disjoint names": Grammar(S, json.dumps({"patternProperties": {f"^a{at}$": {} for at in range(1200)}})),
    "wild stars": Grammar(G, "root ::= " + ".*" * 30_000),
    "itself or itself": Grammar(G, "root ::= root " + "|root" * 10_000),
    "itself after all": Grammar(G, "root ::= root | " + "|".join(f'"{at}" root' for at in range(5000))),
    "stars of stars": Grammar(G, 'root ::= "a"' + "*" * 50),
    "a large divisor": Grammar(S, '{"type": "integer", "multipleOf": 999999937}'),
    "half a pair": Grammar(S, '{"const": "\ud800"}'),
    "parentheses": Grammar(R, "(" * 2000 + "a" + ")" * 2000),
    "not closed": Grammar(R, "(a"),
    "looks around": Grammar(R, "(?=a)a"),
    "looks back": Grammar(R, r"(a)\1"),
    "nothing": Grammar(R, r"[^\x00-\U0010FFFF]"),
    "a long expression": Grammar(R, "|".join(f"a{at}" for at in range(9000))),
    "no rule": Grammar(G, ""),
    "no root": Grammar(G, 'a ::= "b"'),
    "no end of a quotation": Grammar(G, 'root ::= "a'),
    "a missing rule": Grammar(G, "root ::= a b"),
    "a rule twice": Grammar(G, 'root ::= "a"\nroot ::= "b"'),
    "only itself": Grammar(G, "root ::= root"),
    "in a circle": Grammar(G, "root ::= a\na ::= b\nb ::= a"),
    "GBNF parentheses": Grammar(G, "root ::= " + "(" * 30_000 + '"a"' + ")" * 30_000),
    "many rules": Grammar(G, "\n".join(f"r{at} ::= r{at + 1}" for at in range(4000))),
    "an escape": Grammar(G, 'root ::= "\\q"'),
    "a surrogate": Grammar(G, 'root ::= "\\ud800"'),
    "a huge count": Grammar(G, 'root ::= "a"{1000000}'),
    "counts of counts": Grammar(G, 'root ::= "a"' + "{2,3}" * 1000),
    "a million alternatives": Grammar(G, "root ::= " + "|".join(f'"{at}"' for at in range(1_000_000))),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_grammar_or_too_much_is_refused_with_the_reason(grammars, name):
    began = time.thread_time()
    for _ in range(2):  # a refusal is kept as well
        with pytest.raises(UntrustedRequest, match=r"The grammar is refused: .{8}") as caught:
            grammars.state(REFUSED[name], "a")
        assert caught.value.key == "serve.grammar"
        assert len(caught.value.message) < 400
    assert time.thread_time() - began < 1


HEAVY = {
    "powers": Grammar(R, "((((a{1,100}){1,100}){1,100}){1,100}){1,100}"),
    "long powers": Grammar(R, "(a{1000}){1000}{1000}"),
    "stars": Grammar(R, "(a*)*" * 30),
    "states": Grammar(R, "(a|b)*a(a|b){300}"),
    "any and states": Grammar(R, "(.*a.{30}){100}"),
    "letters": Grammar(R, r"(\w|\p{L}|\p{Greek})" * 200),
    "references": Grammar(S, _chain(1900, lambda to: {"items": {"$ref": to}})),
    "choices": Grammar(S, _chain(1200, lambda to: {"anyOf": [{"$ref": to}, {"type": "integer"}]})),
    "all of one": Grammar(S, _chain(1700, lambda to: {"allOf": [{"$ref": to}]})),
    "doubled references": Grammar(S, _chain(40, lambda to: {"anyOf": [{"$ref": to}, {"$ref": to}]})),
    "large lists": Grammar(S, '{"type": "array", "minItems": 4503599627370496}'),
    "long strings": Grammar(S, '{"type": "string", "minLength": 1000000000}'),
    "fields": Grammar(S, json.dumps({"properties": {f"p{at}": {"type": "string"} for at in range(990)}})),
    "patterns that meet": Grammar(S, json.dumps({"allOf": [{"type": "string", "pattern": f".*a.{{{20 + at}}}"} for at in range(8)]})),
    "disjoint names": Grammar(S, json.dumps({"patternProperties": {f"^a{at}$": {} for at in range(60)}})),
    "numbers": Grammar(S, json.dumps({"anyOf": [{"type": "number", "minimum": at + 0.5, "maximum": at * 1000.25 + 1} for at in range(190)]})),
    "alternatives of itself": Grammar(G, "root ::= root | " + "|".join(f"[a{chr(300 + at)}] root" for at in range(400))),
    "counts of counts": Grammar(G, "root ::= ((.{9999}){9999}){9999}"),
    "all empty": Grammar(G, "root ::= " + "|" * 1990),
    "a divisor": Grammar(S, '{"type": "integer", "multipleOf": 49999, "minimum": 3, "maximum": 999999999}'),
    "a chain of rules": Grammar(G, "root ::= r0\n" + "\n".join(f"r{at} ::= r{at + 1}" for at in range(1990)) + '\nr1990 ::= "a"'),
    "doubling rules": Grammar(G, "root ::= r0\n" + "\n".join(f"r{at} ::= r{at + 1} r{at + 1}" for at in range(60)) + '\nr60 ::= "a"'),
    "doubling circles": Grammar(G, "root ::= r0\n" + "\n".join(f"r{at} ::= r{at + 1} r{at + 1} | root" for at in range(60)) + '\nr60 ::= "a"'),
    "everything may be empty": Grammar(G, 'root ::= a a a a a a a a\na ::= b*\nb ::= c*\nc ::= root | "" | "x"'),
    "ambiguous": Grammar(G, 'root ::= s\ns ::= s s s | "a" | ""'),
    "many alternatives": Grammar(G, "root ::= x*\nx ::= " + " | ".join(f'"a{at}" root' for at in range(3500))),
    "counted rules": Grammar(G, 'root ::= (x{0,9999} y{0,9999}){0,9999}\nx ::= "a"\ny ::= x | "a" root'),
    "left recursion everywhere": Grammar(G, "root ::= " + " | ".join(f"r{at}" for at in range(400)) + "\n" + "\n".join(f'r{at} ::= root r{(at * 7) % 400} | r{(at * 13) % 400} "a" | "b"' for at in range(400))),
}  # fmt: skip


@pytest.mark.parametrize("name", HEAVY)
def test_a_heavy_grammar_is_refused_or_followed_within_the_bounds(weights, grammars, name):
    """Each step of an answer takes little, or the answer is refused; nobody else notices."""
    began, random = time.monotonic(), np.random.default_rng(1)
    spent = []
    try:
        state = grammars.state(HEAVY[name], "a")
        sampler = Sampler(Sampling(), choice=0, prompt=[], size=weights.vocabulary.size, grammar=state)
        for _ in range(100):
            step = time.thread_time()
            token = sampler.choose(random.normal(0, 1, weights.vocabulary.size).astype(np.float32)).token
            spent.append(time.thread_time() - step)
            if weights.vocabulary.ends(token):
                break
    except UntrustedRequest as refusal:
        assert refusal.key == "serve.grammar"  # noqa: PT017 - either end is right
    assert time.monotonic() - began < module.COMPILE_SECONDS + 30
    assert max(spent, default=0) < 0.25
    assert answer(weights, grammars, Grammar(R, "ab"), 1) == ("ab", True)


@settings(max_examples=150)
@given(
    st.sampled_from([G, R, S]),
    st.one_of(
        st.text(max_size=60),
        st.text('root:= |()*+?{}"[]\\ab01,\n.-^#', max_size=60).map("root ::= ".__add__),
        st.text('{}[]":,$refdallOfanyOftypeitemsproperties123 ', max_size=80),
    ),
)
def test_no_source_does_anything_but_work_or_be_refused(weights, grammars, kind, source):
    try:
        text, _ended = answer(weights, grammars, Grammar(kind, source), 1, most=20)
    except UntrustedRequest as refusal:
        assert refusal.key == "serve.grammar"  # noqa: PT017 - either end is right
    else:
        assert isinstance(text, str)


def test_a_model_without_an_end_takes_no_grammar():
    class Endless:
        end_tokens = ()
        size = 3

    made = Grammars(Endless())
    with pytest.raises(UntrustedRequest, match="no token that ends"):
        made.state(Grammar(J), "a")
    made.close()
