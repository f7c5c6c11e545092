"""Evaluations, gates and comparisons in a daemon: what is kept, what is judged, what is shown to whom.

The worker's part is played by a function that answers as it is told: what it says is what a worker could say, and the
daemon has to judge it. The last test lets real workers answer with the starter base.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from holdfast.artefact import Kind
from holdfast.audit.event import Actor, Subject
from holdfast.cli import service
from holdfast.client import operations
from holdfast.confine import gpu
from holdfast.daemon import answers, intake, workbench
from holdfast.errors import Conflict, HoldfastError, NotFound
from holdfast.hashing import sha512
from holdfast.training import spec

STARTER = Path(__file__).resolve().parents[3] / "bundles" / "starter"
LABEL = '[artefact.label]\nlevel = "public"\ncompartments = []\nzones = ["site"]\n'
HEAD = """\
schema = "holdfast.suite/1"
name = "{name}"
version = "1"
description = "Questions."
licence = "Apache-2.0"
items = "items.jsonl"
[label]
level = "public"
compartments = []
zones = ["site"]
[generation]
max_new_tokens = 24
"""
SECTION = '[[section]]\nname = "{0}"\nmetric = "{1}"\nprimary = {2}\n'
ASKED = 12
NO_ROWS = sha512(b"")


def quiz() -> list[dict]:
    return [
        {
            "id": f"q{at}",
            "section": "facts",
            "messages": [{"role": "user", "content": f"What is {at}?"}],
            "answers": [str(at)],
        }
        for at in range(ASKED)
    ]


def publish(press, name: str, suites: dict[str, tuple[str, list[dict]]]) -> Path:
    """Build a medium of the starter base and some suites (name: sections and items)."""
    source = press.folder / f"{name}-source"
    shutil.copytree(STARTER / "base", source / "base")
    text = (
        f'schema = "holdfast.medium/1"\nname = "{name}"\nversion = "1"\n'
        'description = "A base and suites."\npublisher = "Test works"\n'
    )
    parts = [
        ("base", "starter", "base", ["model.safetensors", "config.json", "generation_config.json"]),
        ("tokenizer", "starter", "base", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]),
    ]
    for suite, (sections, items) in suites.items():
        (source / suite).mkdir()
        (source / suite / "suite.toml").write_text(HEAD.format(name=suite) + sections)
        (source / suite / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
        parts.append(("suite", suite, suite, ["suite.toml", "items.jsonl"]))
    for kind, called, path, files in parts:
        there = [file for file in files if (source / path / file).exists()]
        text += f'[[artefact]]\nkind = "{kind}"\nname = "{called}"\nversion = "1"\npath = "{path}"\n'
        text += f'files = {json.dumps(there)}\nlicence = "Apache-2.0"\n{LABEL}'
    (source / "recipe.toml").write_text(text)
    return press.build(source, press.folder / name)


@pytest.fixture(scope="module")
def medium(press) -> Path:
    facts = SECTION.format("facts", "exact", "true")
    return publish(press, "asked", {"quiz": (facts, quiz()), "other": (facts, quiz()[:6])})


@asynccontextmanager
async def opened(place, medium):
    place.found(medium)
    copy = place.insert(medium)
    async with place.open() as daemon:
        await daemon.admit(await daemon.take_in(copy))
        yield daemon


@pytest.fixture
async def site(place, medium):
    async with opened(place, medium) as daemon:
        yield daemon


@pytest.fixture
def worker(monkeypatch) -> SimpleNamespace:
    """Answers for the evaluation worker: per column, a text of 0 and 1."""
    told = SimpleNamespace(outcomes={}, changes={}, orders=[], devices=[])

    async def run(services, job, kind, order, *, inputs, output, devices=()):  # noqa: ARG001 - as it is called
        assert kind == "evaluate"
        told.orders.append(order)
        told.devices.append(devices)
        results: dict = {}
        for one in order["runs"]:
            results[one["id"]] = {}
            for suite in order["suites"]:
                items = quiz() if suite == "quiz" else quiz()[:6]
                outcomes = told.outcomes.get(one["id"], "1" * ASKED)[: len(items)]
                rows = [
                    {
                        "id": item["id"],
                        "section": "facts",
                        "answer": item["answers"][0] if outcome == "1" else "no idea",
                        "expected": item["answers"],
                        "correct": outcome == "1",
                    }
                    for item, outcome in zip(items, outcomes, strict=True)
                ]
                (output / f"{one['id']}-{suite}.jsonl").write_text(
                    "".join(json.dumps(row) + "\n" for row in rows)
                )
                share = outcomes.count("1") / len(items)
                counted = {
                    "metric": "exact",
                    "items": len(items),
                    "correct": outcomes.count("1"),
                    "score": share,
                }
                results[one["id"]][suite] = {
                    "schema": "holdfast.result/1",
                    "suite": {"name": suite, "version": "1"},
                    "score": share,
                    "sections": {"all": counted, "primary": counted, "facts": counted},
                    "primary": ["facts"],
                    "ids": [item["id"] for item in items],
                    "of": ["facts"] * len(items),
                    "outcomes": outcomes,
                } | told.changes
        return {"results": results, "outcomes": [], "pending": [], "finished": True}

    monkeypatch.setattr(workbench, "run_worker", run)
    return told


async def evaluate(client, suite="quiz", **more):
    started = await client.call("POST", "/v1/evaluations", {"suite": suite, "model": "starter", **more})
    await client.finish(int(started["job"]))
    return str(started["job"])


async def compare(client, first, second, **more):
    return await client.call("GET", "/v1/comparison", first=first, second=second, **more)


async def test_two_evaluations_stand_side_by_side(site, worker):
    async with site.session("olga") as olga, site.session("aude") as aude, site.session("alice") as alice:
        worker.outcomes = {"transformers": "1" * 9 + "000"}
        first = await evaluate(olga)
        worker.outcomes = {"transformers": "0" + "1" * 11}
        second = await evaluate(olga)
        size = site.services.log.size
        found = await compare(aude, first, second, examples=2)
        assert found["first"]["column"] == found["second"]["column"] == "transformers"
        assert [suite["name"] for suite in found["suites"]] == ["quiz"]
        suite = found["suites"][0]
        assert suite["digest"] == site.state.resolve("quiz", Kind.SUITE).digest
        assert [one["section"] for one in suite["sections"]] == ["facts"]
        row = suite["sections"][0]
        assert (row["before"], row["after"], row["fixed"], row["broken"], row["verdict"], row["p"]) == (
            0.75,
            0.916666667,
            ["q9", "q10", "q11"],
            ["q0"],
            "same",
            0.625,
        )
        assert [(one["change"], one["id"]) for one in suite["examples"]] == [
            ("broken", "q0"),
            ("fixed", "q9"),
            ("fixed", "q10"),
        ]
        assert suite["examples"][0]["question"] == "What is 0?"
        assert (suite["examples"][0]["expected"], suite["examples"][0]["answers"]) == (
            ["0"],
            ["0", "no idea"],
        )
        assert suite["left_out"] == 1
        # Figures are for everybody, texts for who evaluates or audits.
        held_back = await compare(alice, first, second)
        assert held_back["withheld"] is True
        assert held_back["suites"][0]["examples"] == []
        assert held_back["suites"][0]["sections"] == suite["sections"]
        assert site.services.log.size == size  # a comparison is a reading
        listed = (await aude.call("GET", "/v1/evaluations"))["evaluations"]
        assert [str(one["number"]) for one in listed] == [second, first]
        shown = await aude.call("GET", f"/v1/evaluations/{listed[0]['evaluation'][:20]}")
        assert shown["scores"]["transformers"]["quiz"]["facts"] == pytest.approx(11 / 12)
        assert shown["suites"]["quiz"]["digest"] == suite["digest"]


async def test_what_can_not_be_compared_is_refused(site, worker):  # noqa: ARG001 - it answers
    async with site.session("olga") as olga:
        first, second = await evaluate(olga), await evaluate(olga, "other")
        with pytest.raises(Conflict) as caught:
            await compare(olga, first, second)
        assert caught.value.key == "eval.suites-differ"
        with pytest.raises(NotFound) as caught:
            await compare(olga, first, f"{first}/after-q8_0")
        assert caught.value.key == "eval.column"
        assert "transformers" in caught.value.message
        for name in ("99999", "nothing", ""):
            with pytest.raises(NotFound):
                await compare(olga, first, name)


@pytest.mark.parametrize(
    "changes",
    [
        {"ids": [f"x{at}" for at in range(ASKED)]},
        {"ids": ["q0"], "of": ["facts"], "outcomes": "1"},
        {"of": ["easy"] * ASKED},
        {"outcomes": "2" * ASKED},
        {"suite": None},
    ],
    ids=["other ids", "fewer items", "other sections", "no verdicts", "no suite"],
)
async def test_a_worker_s_result_that_is_not_of_the_suite_s_items_is_refused_and_not_kept(
    site, worker, changes
):
    worker.changes = changes
    async with site.session("olga") as olga:
        with pytest.raises(HoldfastError) as caught:
            await evaluate(olga)
        assert caught.value.key in {"eval.result", "evaluation.result"}
    assert not [one for one in site.state.artefacts.values() if one.kind is Kind.EVALUATION]
    assert site.events("eval.run.failed")


async def test_what_a_worker_adds_up_or_leaves_besides_is_not_taken(site, worker, monkeypatch):
    worker.outcomes = {"transformers": "0" * ASKED}
    worker.changes = {"score": 1.0, "sections": {"facts": {"metric": "exact", "items": 1, "score": 1.0}}}
    real = workbench.run_worker

    async def more(*arguments, output, **named):
        (output / "folder.jsonl").mkdir()
        (output / "payload.bin").write_bytes(b"x")
        return await real(*arguments, output=output, **named)

    monkeypatch.setattr(workbench, "run_worker", more)
    async with site.session("olga") as olga:
        number = await evaluate(olga)
        shown = await olga.call("GET", f"/v1/evaluations/{number}")
        assert shown["scores"] == {"transformers": {"quiz": {"all": 0.0, "primary": 0.0, "facts": 0.0}}}
        found = site.state.artefacts[shown["evaluation"]]
        assert {one.path for one in found.files} == {"results.json", "transformers-quiz.jsonl"}
        for examples in ("-1", "x", "9" * 30):
            try:
                told = await compare(olga, number, number, examples=examples)
            except HoldfastError as error:
                assert error.http_status == 400  # noqa: PT017 - either is right
            else:
                assert told["suites"][0]["examples"] == []
    assert [one.name for one in site.services.jobs.folder(int(number)).iterdir()] == ["stream.jsonl"]


# Gates.

GATE = """\
schema = "holdfast.recipe/1"
name = "lesson"
version = "1"
description = "Twelve questions."
method = "sft"
seed = 1
checkpoint_every = 10
[[data]]
path = "rows.jsonl"
role = "domain"
licence = "Apache-2.0"
[data.label]
level = "public"
compartments = []
zones = ["site"]
[tuning]
type = "lora"
rank = 2
alpha = 4
targets = ["q_proj"]
[optimiser]
learning_rate = 0.01
schedule = "constant"
warmup_steps = 0
weight_decay = 0.0
max_grad_norm = 1.0
[batch]
sequence_length = 64
sequences = 1
steps = 4
[precision]
dtype = "fp32"
threads = 1
[[gate]]
suite = "quiz"
section = "facts"
rule = "improvement"
value = 0.5
[[gate]]
suite = "other"
section = "all"
rule = "non_inferiority"
value = 0.5
"""


@pytest.fixture
def made(site, tmp_path):
    """Put a finished run on the record, and what was made of it: kinds, metas and parents as they are."""

    async def make(product: Kind, *, merged: bool = False, lora: bool = True) -> SimpleNamespace:
        services, state = site.services, site.state
        base, tokenizer = state.resolve("starter", Kind.BASE), state.resolve("starter", Kind.TOKENIZER)

        async def adopt(kind, name, content, parents=(), **meta):
            path = tmp_path / f"{kind.value}-{name}-{len(content)}"
            path.write_bytes(content)
            names = {Kind.RECIPE: "recipe.toml", Kind.GGUF: f"{name}.bin"}  # a .gguf would be parsed
            return await intake.adopt(
                services,
                kind,
                name,
                "1",
                {names.get(kind, "file"): path},
                label=base.label,
                parents=tuple(one.digest for one in parents),
                meta=meta,
            )

        parents = (base, tokenizer)
        recipe = await adopt(Kind.RECIPE, "lesson", GATE.encode(), method="sft")
        run = await adopt(Kind.RUN, "lesson", b"{}", (*parents, recipe))
        ours = {"base": base.digest, "tokenizer": tokenizer.digest, "run": run.digest}
        thing = await adopt(product, "lesson", b"weights", (*parents, run), **ours)
        extra = [
            await adopt(
                Kind.GGUF, "q8_0", b"base", parents, base=base.digest, quantization="q8_0", part="model"
            )
        ]
        whole = thing
        if merged:
            meta = {"base": base.digest, "tokenizer": tokenizer.digest, "adapter": thing.digest}
            whole = await adopt(Kind.MERGED, "lesson", b"merged weights", (*parents, thing), **meta)
            extra.append(whole)
        if whole.kind is Kind.MERGED:
            meta = {"base": whole.digest, "quantization": "q8_0", "part": "model"}
            extra.append(await adopt(Kind.GGUF, "q8_0", b"merged", (whole, tokenizer), **meta))
        elif lora:
            meta = {"base": base.digest, "adapter": thing.digest, "part": "adapter"}
            extra.append(await adopt(Kind.GGUF, "adapter", b"lora", (thing, *parents), **meta))
        actor = Actor(person="olga", uid=os.getuid(), role="operator", session="made")
        await services.recorder.fact(
            actor, "recipe.added", {"artefacts": [recipe.to_json()]}, subject=Subject("recipe", recipe.digest)
        )
        named = {
            "recipe": recipe.digest,
            "recipe_name": "lesson@1",
            "base": base.digest,
            "base_name": "starter",
        }
        asked = named | {"tokenizer": tokenizer.digest, "data": {}, "datasets": [], "resumes": None}
        asked |= {"method": "sft", "tuning": "lora", "quarantine": False}
        async with services.recorder.act(actor, "train.run", asked) as act:
            act.outcome = {
                "run": run.digest,
                "adapter" if product is Kind.ADAPTER else "model": thing.digest,
                "artefacts": [run.to_json(), thing.to_json()],
                "steps": 4,
                "tokens": 9,
                "tokens_per_second": 1,
                "seconds": 1,
                "final_loss": 0.1,
                "stopped_early": False,
                "telemetry": NO_ROWS,
                "states": NO_ROWS,
                "estimate": {},
                "figures": {},
            }
        async with services.recorder.act(
            actor, "model.quantize", {"base": base.digest, "adapter": None, "quantizations": ["q8_0"]}
        ) as act:
            act.outcome = {"fidelity": {}, "artefacts": [one.to_json() for one in extra]}
        return SimpleNamespace(run=run, thing=thing, whole=whole)

    return make


async def decide(site, run: str):
    async with site.session("olga") as olga:
        started = await olga.call("POST", f"/v1/runs/{run}/gate", {"quantization": "q8_0"})
        return await olga.finish(int(started["job"]))


BETTER = {
    "before-transformers": "0" * ASKED,
    "before-q8_0": "0" * ASKED,
    "after-transformers": "1" * ASKED,
    "after-q8_0": "1" * ASKED,
}


async def test_a_gate_is_decided_on_both_engines_and_names_suites_by_digest(site, worker, made):
    assert spec.read_recipe(GATE.encode(), file="recipe.toml").gate[1].alpha == 0.05
    run = await made(Kind.ADAPTER)
    worker.outcomes = BETTER
    told = await decide(site, run.run.digest)
    assert told["go"] is True
    order = {one["id"]: one for one in worker.orders[0]["runs"]}
    assert set(order) == set(BETTER)
    assert order["after-transformers"]["adapter"]
    assert order["after-transformers"]["lora"] is None
    assert order["after-q8_0"]["lora"].endswith("/adapter.bin")
    assert order["before-q8_0"]["gguf"] == order["after-q8_0"]["gguf"]
    event = site.events("gate.decided")[-1]
    assert event.params["adapter"] == run.thing.digest
    assert "model" not in event.params
    suites = {name: site.state.resolve(name, Kind.SUITE).digest for name in ("other", "quiz")}
    assert event.params["suites"] == suites
    assert [
        (one["on"], one["suite"], one["rule"], one["holds"], one["verdict"]) for one in event.params["judged"]
    ] == [
        ("transformers", "quiz", "improvement", True, "better"),
        ("transformers", "other", "non_inferiority", True, "better"),
        ("q8_0", "quiz", "improvement", True, "better"),
        ("q8_0", "other", "non_inferiority", True, "better"),
    ]
    kept = site.state.artefacts[str(event.params["evaluation"])]
    stored = json.loads((site.services.store.folder(kept.digest) / answers.RESULTS_FILE).read_bytes())
    rule = stored["verdicts"]["q8_0"]["rules"][0]
    assert rule["digest"] == suites["quiz"]
    assert rule["fixed"] == [f"q{at}" for at in range(ASKED)]
    assert {run.thing.digest, *suites.values()} <= set(kept.parents)
    # The evaluation can be compared with itself: the run stands for what was customised.
    async with site.session("olga") as olga:
        found = await compare(olga, f"{event.params['evaluation']}/before-q8_0", run.run.digest)
        assert found["second"]["column"] == "after-transformers"
        assert {suite["name"] for suite in found["suites"]} == {"quiz", "other"}
        shown = await olga.call("GET", f"/v1/evaluations/{run.run.digest}")
        assert shown["verdicts"]["q8_0"]["go"] is True


async def test_a_gpu_is_lent_only_where_a_model_answers_on_its_own_weights(site, worker, made, monkeypatch):
    nodes = ("nvidiactl", "nvidia-uvm", "nvidia0")
    monkeypatch.setattr(gpu, "nodes", lambda: nodes)
    await made(Kind.ADAPTER)
    async with site.session("olga") as olga:
        await evaluate(olga)
        await evaluate(olga, engine="gguf", quantization="q8_0")
    assert worker.devices == [nodes, ()]


async def test_one_engine_that_says_no_is_enough(site, worker, made):
    run = await made(Kind.ADAPTER)
    worker.outcomes = BETTER | {"after-q8_0": "1" * 5 + "0" * 7}
    told = await decide(site, run.run.digest)
    assert told["go"] is False
    assert [reason.split(":")[1].strip() for reason in told["reasons"]] == [
        "Holds",
        "Holds",
        "Fails",
        "Holds",
    ]


async def test_a_whole_model_is_judged_on_its_own_weights_and_its_own_file(site, worker, made):
    run = await made(Kind.MERGED)
    worker.outcomes = BETTER
    told = await decide(site, run.run.digest)
    assert (told["go"], told["model"]) == (True, run.thing.digest)
    order = {one["id"]: one for one in worker.orders[0]["runs"]}
    assert order["after-transformers"]["model"] != order["before-transformers"]["model"]
    assert order["after-transformers"]["adapter"] is None
    assert order["after-q8_0"]["gguf"] != order["before-q8_0"]["gguf"]
    assert order["after-q8_0"]["lora"] is None
    assert site.state.gates[run.run.digest]["model"] == run.thing.digest


async def test_an_adapter_that_gguf_can_not_express_is_judged_as_it_was_merged(site, worker, made):
    run = await made(Kind.ADAPTER, merged=True)
    worker.outcomes = BETTER
    told = await decide(site, run.run.digest)
    assert told["adapter"] == run.thing.digest
    order = {one["id"]: one for one in worker.orders[0]["runs"]}
    assert order["after-transformers"]["adapter"]  # on its own weights it is what was trained
    assert order["after-q8_0"]["lora"] is None
    kept = site.state.artefacts[str(told["evaluation"])]
    assert run.whole.digest in kept.parents


async def test_what_was_not_converted_can_not_be_judged(site, worker, made):  # noqa: ARG001 - nobody asks it
    run = await made(Kind.ADAPTER, lora=False)
    with pytest.raises(NotFound) as caught:
        await decide(site, run.run.digest)
    assert caught.value.key == "model.no-gguf"
    with pytest.raises(NotFound) as caught:
        async with site.session("olga") as olga:
            await compare(olga, run.run.digest, run.run.digest)
    assert caught.value.key == "eval.no-gate"


# The whole of it, with real workers.


def trial() -> list[dict]:
    with (STARTER / "suites" / "general" / "items.jsonl").open() as file:
        known = [json.loads(file.readline()) for _ in range(6)]
    facts = [
        {"id": f"k{at}", "section": "facts"} | {key: one[key] for key in ("messages", "answers")}
        for at, one in enumerate(known)
    ]
    wrong = [
        {"id": "w0", "section": "facts", "messages": known[0]["messages"], "answers": ["what nobody says"]}
    ]
    passages = [{"id": f"t{at}", "section": "text", "text": f"The office opens at {at}."} for at in range(7)]
    program = {
        "id": "c0",
        "section": "code",
        "messages": [{"role": "user", "content": "Write f."}],
        "tests": [{"call": "f", "arguments": [1], "expected": 2}],
    }
    return [*facts, *wrong, *passages, program]


async def admitted(place, medium):
    async with place.session("alice") as alice, place.session("bob") as bob:
        request = await operations.start_import(alice, medium)
        await alice.finish(request)
        await operations.admit(bob, place.pairs["bob"], request)


@pytest.mark.model
def test_a_base_answers_questions_texts_and_programs_and_the_command_line_shows_it(place, press):
    sections = "".join(
        SECTION.format(name, metric, primary)
        for name, metric, primary in (
            ("facts", "exact", "true"),
            ("text", "bits_per_byte", "false"),
            ("code", "code", "true"),
        )
    )
    medium = publish(press, "trial", {"trial": (sections, trial())})
    place.found(medium)
    copy = place.insert(medium)
    service.start(place.home)
    asyncio.run(admitted(place, copy))
    made = place.told("eval", "run", "trial", "--model", "starter", who="olga")
    scores = made["scores"]["transformers"]["trial"]
    assert scores["facts"] > 0.5
    assert 0 < scores["text"] < 8
    assert scores["code"] == 0.0
    listed = place.told("eval", "list", who="aude")["evaluations"]
    number = str(listed[0]["number"])
    found = place.told("eval", "compare", number, made["evaluation"], who="aude")["suites"][0]
    rows = {one["section"]: one for one in found["sections"]}
    assert list(rows) == ["all", "primary", "facts", "text", "code"]
    assert (rows["text"]["unit"], rows["facts"]["unit"]) == ("bits per byte", "share")
    assert {one["verdict"] for one in rows.values()} == {"same"}
    assert rows["text"]["before"] == pytest.approx(scores["text"], abs=1e-5)
    out, _ = place.call("eval", "compare", number, number, who="olga")
    assert max(len(line) for line in out.splitlines()) <= 80
    assert "text, bits per byte" in out
    shown, _ = place.call("eval", "show", number, who="aude")
    assert "trial" in shown
    place.call("eval", "compare", number, "nothing", who="olga", code=1)
