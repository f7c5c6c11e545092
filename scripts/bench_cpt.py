"""Go on with the starter base's pre-training on a folder of text, as an operator would, and say what it gave and took.

    python scripts/bench_cpt.py TEXTS [--out DIR] [--tuning full|lora] [--epochs N]

Order of operations: the demo founds a home and imports the starter; a tenth of the text's sections is held out by their stable
hash; `train estimate`; `train run`; the general suite before and after. Everything goes through the command line, in processes
of its own. The last line is JSON: bits per byte of the held-out text before and after, the general suite before and after, and
seconds, memory, disk and energy beside what was estimated.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HOLDFAST = [sys.executable, "-m", "holdfast.cli"]
RECIPE = """\
schema = "holdfast.recipe/1"
name = "texts"
version = "1"
description = "Goes on with pre-training on a folder of text."
method = "cpt"
seed = 7
checkpoint_every = 200
state_every = 50

[[data]]
path = "texts"
role = "domain"
heldout = 0.1
licence = "as stated by whoever gave the folder"
[data.label]
level = "public"
compartments = []
zones = ["site"]

[tuning]
{tuning}

[optimiser]
learning_rate = {rate}
schedule = "cosine"
warmup_steps = 20
weight_decay = 0.0
max_grad_norm = 1.0

[batch]
sequence_length = 512
sequences = 4
packing = true
epochs = {epochs}

[precision]
dtype = "bf16"
threads = {threads}

[[gate]]
suite = "general"
section = "all"
rule = "minimum"
value = 0.0
"""
LORA = 'type = "lora"\nrank = 64\nalpha = 64\ntargets = ["all-linear"]'


def call(home: Path, *words: str) -> dict[str, Any]:
    """Run a command as the demo's operator; give what it printed."""
    keys = home.parent / "keys"
    environment = {
        **os.environ,
        "HOLDFAST_KEYS": str(keys),
        "HOLDFAST_PASSPHRASE_FILE": str(keys / "passphrase"),
    }
    print("holdfast", *words, flush=True)
    done = subprocess.run(
        [*HOLDFAST, "--home", str(home), "--as", "olga", *words, "--json"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def score(home: Path, *model: str) -> float:
    """Give a model's score of the general suite."""
    scores = call(home, "eval", "run", "general", *model)["scores"]
    return float(next(iter(scores.values()))["general"]["all"])


def write_recipe(folder: Path, texts: Path, chosen: argparse.Namespace) -> Path:
    """Put a recipe beside a copy of the texts."""
    shutil.copytree(texts, folder / "texts", copy_function=shutil.copyfile)
    for path in [folder / "texts", *(folder / "texts").rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)  # a read-only original should not make a read-only copy
    full = chosen.tuning == "full"
    recipe = folder / "recipe.toml"
    recipe.write_text(
        RECIPE.format(
            tuning='type = "full"' if full else LORA,
            rate=5e-4 if full else 1e-3,
            epochs=chosen.epochs,
            threads=min(os.cpu_count() or 1, 2),
        ),
        encoding="utf-8",
    )
    return recipe


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("texts", type=Path)
    parser.add_argument("--out", type=Path, help="Work here instead of in a new temporary folder.")
    parser.add_argument("--tuning", choices=["full", "lora"], default="full")
    parser.add_argument("--epochs", type=int, default=1)
    chosen = parser.parse_args()
    out = (chosen.out or Path(tempfile.mkdtemp(prefix="holdfast-cpt-"))).absolute()
    out.mkdir(parents=True, exist_ok=True)
    home = out / "demo" / "home"
    subprocess.run([*HOLDFAST, "demo", "--out", str(out / "demo"), "--stay"], check=True)
    try:
        recipe = write_recipe(out, chosen.texts, chosen)
        call(home, "serve", "stop")
        estimated = call(home, "train", "estimate", str(recipe))
        run = call(home, "train", "run", str(recipe))
        shown = call(home, "train", "show", str(run["job"]))
        before = score(home, "--model", "starter")
        made = (
            ["--model", run["model"]]
            if chosen.tuning == "full"
            else ["--model", "starter", "--adapter", str(run["job"])]
        )
        after = score(home, *made)
    finally:
        subprocess.run([*HOLDFAST, "--home", str(home), "down"], check=False)
    (out / "estimate.json").write_text(json.dumps(estimated, indent=2), encoding="utf-8")
    (out / "run.json").write_text(json.dumps(shown, indent=2), encoding="utf-8")
    print(
        json.dumps(
            {"general_before": before, "general_after": after, "run": shown["result"], "estimate": estimated}
        )
    )


if __name__ == "__main__":
    main()
