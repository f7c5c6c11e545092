"""Every method in every precision: equal bits when run again, also when stopped between; and it learns."""

from __future__ import annotations

import hashlib
import math
import random
from typing import TYPE_CHECKING

import pytest
from tests.integration.methods.tiny import FACTS, FULL, messages, prepare, recipe

from holdfast.errors import UntrustedRecipe

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.model

LORA = {"dropout": 0.1}
CASES = {
    "sft-lora": {"tuning": LORA},
    "sft-rslora": {"tuning": LORA | {"type": "rslora"}},
    "sft-dora": {"tuning": LORA | {"type": "dora", "targets": ["q_proj", "*.mlp.*_proj"]}},
    "sft-full": {"tuning": FULL},
    "cpt": {"method": "cpt"},
    "dpo": {"method": "dpo", "dpo": {"beta": 0.2}, "batch": {"packing": False}},
    "dpo-full": {"method": "dpo", "dpo": {"beta": 0.2}, "batch": {"packing": False}, "tuning": FULL},
    "accumulated": {"batch": {"accumulation": 3, "gradient_checkpointing": True}},
}


class Run:
    """One recipe on one base."""

    def __init__(self, made, folder: Path, base: Path, data: Path) -> None:
        from transformers import AutoTokenizer

        from holdfast.training import material

        self.recipe, self.folder, self.base = made, folder, base
        self.tokenizer = AutoTokenizer.from_pretrained(base)
        self.material = material.load(made, {"data": data}, self.tokenizer)

    def trainer(self, *callbacks):
        from holdfast.training import trainer

        return trainer.build(
            self.recipe,
            self.material,
            self.base,
            self.tokenizer,
            steps=self.recipe.batch.steps,
            scratch=self.folder / "partial",
            callbacks=callbacks,
        )

    def digest(self, trainer, **options: int) -> str:
        from holdfast.training import product

        made = product.save(trainer, self.folder, "sha512:base", **options)
        total = hashlib.sha256()
        for name in made.files:
            total.update(name.encode() + (self.folder / made.folder / name).read_bytes())
        return total.hexdigest()

    def stopped_at(self, step: int) -> Path:
        from transformers import TrainerCallback

        class Stop(TrainerCallback):
            def on_step_end(self, args, state, control, **_):
                del args
                if state.global_step == step:
                    control.should_save = control.should_training_stop = True

        self.trainer(Stop()).run(None)
        return self.folder / "partial" / f"checkpoint-{step}"


@pytest.fixture
def run(bases, data, tmp_path):
    def make(base: Path | None = None, rows: Path | None = None, **changes: object) -> Run:
        made = recipe(**changes)
        return Run(made, tmp_path, base or bases("llama"), rows or data[made.method])

    return make


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("case", CASES)
def test_run_again_with_a_stop_between_gives_the_same_bits(run, case, dtype):
    one = run(**CASES[case], precision={"dtype": dtype})
    trainer = one.trainer()
    before = {name: parameter.clone() for name, parameter in trainer.tuned_parameters().items()}
    trainer.run(None)
    whole = one.digest(trainer)
    assert all(
        (now != before[name]).any() for name, now in trainer.tuned_parameters().items() if name in before
    )
    assert {str(now.dtype) for now in before.values()} == {"torch.float32"}
    # Where it stops; the first step has no rate, and would leave the base as it was.
    step = random.Random(f"{case}{dtype}").randrange(2, 6)  # noqa: S311 - no secret
    checkpoint = one.stopped_at(step)
    assert sorted(path.name for path in checkpoint.iterdir()) == [
        "optimizer.pt",
        "rng_state.pth",
        "scheduler.pt",
        "trainer_state.json",
        "tuned.safetensors",
    ]
    again = one.trainer()
    again.run(checkpoint)
    assert again.state.global_step == 6
    assert one.digest(again) == whole


def test_a_restored_checkpoint_is_what_was_trained(run):
    one = run(checkpoint_every=6)
    trainer = one.trainer()
    trainer.run(None)
    fresh = one.trainer()
    fresh.restore(one.folder / "partial" / "checkpoint-6" / "tuned.safetensors")
    assert one.digest(fresh) == one.digest(trainer)


def test_a_step_in_parts_is_a_step(run):
    """Loss and gradient are means over the step's learnt tokens, however many each part has."""
    figures = []
    for batch in ({"sequences": 4, "packing": False}, {"sequences": 1, "accumulation": 4, "packing": False}):
        one = run(batch=batch | {"steps": 2}, tuning={"dropout": 0.0}, optimiser={"warmup_steps": 0})
        trainer = one.trainer()
        trainer.run(None)
        figures += [
            [log[key] for log in trainer.state.log_history if "loss" in log for key in ("loss", "grad_norm")]
        ]
    assert figures[0] == pytest.approx(figures[1], rel=1e-4)


MOVES = {
    "seed": {"seed": 12},
    "loss": {"loss": "all"},
    "weight_decay": {"optimiser": {"weight_decay": 0.5}},
    "max_grad_norm": {"optimiser": {"max_grad_norm": 0.01}},
    "warmup_steps": {"optimiser": {"warmup_steps": 0}},
    "schedule": {"optimiser": {"schedule": "linear"}},
    "alpha": {"tuning": {"alpha": 16}},
    "dropout": {"tuning": {"dropout": 0.0}},
    "accumulation": {"batch": {"accumulation": 2}},
    "packing": {"batch": {"packing": False}},
    "dtype": {"precision": {"dtype": "bf16"}},
    # Without an adapter's first values and dropout, the seed is the order of the rows.
    "order": {"tuning": FULL, "batch": {"packing": False}},
    "another order": {"tuning": FULL, "batch": {"packing": False}, "seed": 12},
}


def test_every_key_that_is_to_move_the_weights_does(run):
    """A key that is read and then forgotten would go unnoticed in each run by itself."""
    import torch

    found = {}
    for name, changes in ({"none": {}} | MOVES).items():
        batch = {"steps": 4} | changes.get("batch", {})
        trainer = run(**changes | {"batch": batch}).trainer()
        start = torch.cat([one.detach().flatten().clone() for one in trainer.tuned_parameters().values()])
        trainer.run(None)
        moved = torch.cat([one.detach().flatten() for one in trainer.tuned_parameters().values()]) - start
        found[name] = hashlib.sha256(moved.numpy().tobytes()).hexdigest()
    assert len(set(found.values())) == len(found)


def test_computing_activations_twice_changes_nothing(run):
    losses, passes = [], []
    for twice in (False, True):
        trainer = run(batch={"gradient_checkpointing": twice, "steps": 3}).trainer()
        assert (
            trainer.learnt_model().is_activation_checkpointing is twice
        )  # before it trains, for an estimate
        seen: list[int] = []
        trainer.learnt_model().model.layers[0].mlp.register_forward_pre_hook(
            lambda *_, seen=seen: seen.append(1)
        )
        trainer.run(None)
        losses.append([log["loss"] for log in trainer.state.log_history if "loss" in log])
        passes.append(len(seen))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert passes == [3, 6]


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ({"schedule": "constant"}, [0.0, 1, 1, 1, 1, 1, 1, 1]),
        ({"schedule": "linear"}, [0.0, 1, 6 / 7, 5 / 7, 4 / 7, 3 / 7, 2 / 7, 1 / 7]),
        (
            {"schedule": "cosine"},
            [0.0, *((1 + math.cos(math.pi * done / 7)) / 2 for done in range(7))],
        ),
        ({"schedule": "wsd", "decay_share": 0.5}, [0.0, 1, 1, 1, 1, 0.75, 0.5, 0.25]),
    ],
    ids=["constant", "linear", "cosine", "wsd"],
)
def test_schedules(run, schedule, rates):
    trainer = run(
        optimiser=schedule | {"warmup_steps": 1, "learning_rate": 0.01}, batch={"steps": 8}
    ).trainer()
    trainer.run(None)
    seen = [log["learning_rate"] for log in trainer.state.log_history if "learning_rate" in log]
    assert seen == pytest.approx([0.01 * rate for rate in rates])


@pytest.mark.filterwarnings("ignore::FutureWarning")  # TRL's own trainer uses old names of transformers
def test_dpo_is_the_loss_of_trl(run, bases):
    """One step's loss and gradients against TRL's own trainer, after the model has left its reference."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import DPOConfig, DPOTrainer

    one = run(**CASES["dpo-full"] | {"batch": {"packing": False, "sequences": 6, "steps": 2}})
    ours = one.trainer()
    ours._add_reference()
    with torch.no_grad():
        for parameter in ours.tuned_parameters().values():
            parameter.mul_(1.01)
    batch = ours.batch_of(range(6))
    with ours.computing():
        ours.loss_of(batch).backward()
    rows = [
        {"prompt": "?", "chosen": "a", "rejected": "b"}
    ]  # it tokenizes by itself, so it gets our tokens below
    options = {"dtype": torch.float32, "attn_implementation": "sdpa"}
    model, frozen = (AutoModelForCausalLM.from_pretrained(bases("llama"), **options) for _ in range(2))
    theirs = DPOTrainer(
        model,
        frozen,
        DPOConfig(
            str(one.folder / "trl"), beta=0.2, use_cpu=True, bf16=False, report_to="none", max_length=None,
            per_device_train_batch_size=6, activation_checkpointing=False, disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=one.tokenizer,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.01)
    pairs = [one.material.dataset[at] for at in range(6)]
    cuts = [next(at for at, label in enumerate(row["chosen_labels"]) if label != -100) for row in pairs]
    given = theirs.data_collator(
        [
            {
                "prompt_ids": row["chosen_ids"][:cut],
                "chosen_ids": row["chosen_ids"][cut:],
                "rejected_ids": row["rejected_ids"][cut:],
            }
            for row, cut in zip(pairs, cuts, strict=True)
        ]
    )
    loss = theirs.compute_loss(model, given)
    loss.backward()
    assert ours.loss_of(batch).item() == pytest.approx(loss.item(), rel=1e-4)
    for name, parameter in ours.tuned_parameters().items():
        assert torch.allclose(parameter.grad, model.get_parameter(name).grad, rtol=1e-3, atol=1e-5), name


def test_what_is_preferred_becomes_likelier(run):
    one = run(
        **CASES["dpo"] | {"batch": {"packing": False, "steps": 30, "sequences": 4}},
        optimiser={"learning_rate": 0.02},
    )
    trainer = one.trainer()
    trainer.run(None)
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)  # nothing is preferred yet
    assert losses[-1] < 0.1


@pytest.mark.parametrize(("tuning", "rate"), [({"type": "dora"}, 0.02), (FULL, 0.01)], ids=["dora", "full"])
def test_the_data_are_learnt(run, bases, tmp_path, tuning, rate):
    import torch

    rows = prepare(tmp_path / "rows", [{"prompt": asked, "completion": answer} for asked, answer in FACTS])
    one = run(
        bases("llama", hidden_size=64, intermediate_size=128, num_hidden_layers=3),
        rows,
        tuning={"rank": 16, "alpha": 32, "dropout": 0.0} | tuning,
        batch={"steps": 60, "sequences": 4},
        optimiser={"learning_rate": rate, "weight_decay": 0.0},
    )
    trainer = one.trainer()
    trainer.run(None)
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    assert losses[-1] < 0.1
    assert losses[0] > 2
    model = trainer.learnt_model().eval()
    for asked, answer in FACTS:
        text = one.tokenizer.apply_chat_template(messages(asked), add_generation_prompt=True, tokenize=False)
        ids = torch.tensor([one.tokenizer(text, add_special_tokens=False)["input_ids"]])
        made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
        said = one.tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)
        assert said.strip() == answer


def test_an_example_beyond_the_positions_of_the_base_is_refused(run, tmp_path):
    rows = prepare(tmp_path / "rows", [{"text": "Boats pay nine crowns. " * 40}])
    with pytest.raises(UntrustedRecipe, match="has 200 tokens, and the base has 128 positions"):
        run(rows=rows, method="cpt", batch={"sequence_length": 200}).trainer()


@pytest.mark.parametrize(("family", "tied"), [("llama", False), ("qwen3", True)])
def test_a_whole_model_has_the_form_of_its_base(run, bases, family, tied):
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    base = bases(family, tie_word_embeddings=tied)
    one = run(base, tuning=FULL | {"targets": ["*.layers.1.mlp"]}, precision={"dtype": "bf16"})
    trainer = one.trainer()
    trainer.run(None)
    whole = one.digest(trainer)
    made = load_file(one.folder / "model" / "model.safetensors")
    before = load_file(base / "model.safetensors")
    assert {name: (one.dtype, one.shape) for name, one in made.items()} == {
        name: (one.dtype, one.shape) for name, one in before.items()
    }
    changed = {name for name in made if not torch.equal(made[name], before[name])}
    assert changed == {name for name in made if ".layers.1.mlp." in name}
    assert (one.folder / "model" / "config.json").read_bytes() == (base / "config.json").read_bytes()
    # In several files it is the same model, which the library opens as it is.
    assert one.digest(trainer, bound=40_000) != whole
    assert len(list((one.folder / "model").glob("model-*.safetensors"))) > 1
    opened = AutoModelForCausalLM.from_pretrained(one.folder / "model")
    state = opened.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in made.items())
    assert (opened.get_input_embeddings().weight is opened.get_output_embeddings().weight) is tied
