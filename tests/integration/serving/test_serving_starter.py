"""The starter base as served: the same token ids as transformers, and answers that end by themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.serving.stack import ENGINE

from holdfast.governance.labels import Label
from holdfast.serving import spec
from holdfast.serving.engine.llama import Weights
from holdfast.serving.engine.template import ChatTemplate

pytestmark = pytest.mark.model

BASE = Path(__file__).parents[3] / "bundles" / "starter" / "base"
CONVERSATIONS = [
    [{"role": "user", "content": "Where is the cat?"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "  two  spaces\n\nand lines "}],
    [
        {"role": "user", "content": "Größe, 日本語, 🚀 <|end|> it's {{ 1 }}"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "12345.67 crowns?"},
    ],
]
CONVERT = "import sys; from pathlib import Path; from holdfast.gguf import convert; convert.convert_base(Path(sys.argv[1]), Path(sys.argv[2]), 'base')"


@pytest.fixture(scope="module")
def starter(tmp_path_factory):
    target = tmp_path_factory.mktemp("starter") / "f16.gguf"
    subprocess.run([sys.executable, "-c", CONVERT, str(BASE), str(target)], check=True)
    label = Label("public", frozenset(), frozenset({"site"}))
    model = spec.ModelSpec(
        id="base",
        engine=ENGINE,
        path=str(target),
        digest="sha512:" + "0" * 128,
        label=label.to_json(),
        context=512,
    )
    return spec.Settings(models=(model,), limits=spec.Limits(parallel=2))


def test_token_ids_equal_those_of_transformers(starter):
    from transformers import AutoTokenizer

    weights = Weights(starter.models[0])
    source = (BASE / "chat_template.jinja").read_text(encoding="utf-8")
    assert weights.template() == source
    template = ChatTemplate(source, weights.vocabulary.special_texts())
    read = weights.vocabulary.tokenize
    original = AutoTokenizer.from_pretrained(BASE, local_files_only=True)
    for turns in CONVERSATIONS:
        expected = original.apply_chat_template(
            turns, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        assert read(template.render(turns), begin=False, special=True) == list(expected)
        text = turns[-1]["content"]
        assert read(text, begin=True, special=True) == original(text)["input_ids"]
    weights.close()


def test_answers_end_by_themselves(starter, tmp_path, new_server):
    server = new_server(starter, tmp_path)
    try:
        with server.openai() as client:
            reply = client.chat.completions.create(
                model="base", messages=CONVERSATIONS[0], temperature=0, max_tokens=200
            )
    finally:
        server.close()
    assert reply.choices[0].finish_reason == "stop"
    assert "<|" not in reply.choices[0].message.content
    assert reply.choices[0].message.content.isprintable()
