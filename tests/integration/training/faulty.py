"""Training workers that die by SIGKILL or run out of disk: BASE DATA ROOT SMALL SOFTWARE.

One process loads the libraries; each case is a fork of it that writes to ROOT/<case>. SMALL is a file system of a few
megabytes, or empty where none can be mounted; the run in it is copied to ROOT afterwards. SOFTWARE is who the other process
of the test says it is, for a run is named by that. Says how each case ended, as one JSON object.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.integration.training.kit import KILLED, Site, prepared_folder

from holdfast.training import checkpoints, environment, software

# Where a process dies, and at which time it comes there: in the pass of a step, while a checkpoint is written, before and
# after it gets its name, while an old one is removed, while the product is written.
DEATHS = {
    "pass": 6,
    "optimiser": 2,
    "rename": 2,
    "renamed": 2,
    "old": 1,
    "product": 1,
}
# What is left of a small disk after the first checkpoint: enough bytes for the weights and not for the optimiser's figures;
# or all bytes but no more files.
DISKS = {"optimiser": 250_000, "files": None}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arrange(place: str, left: int) -> None:  # noqa: C901 - one small function for each place
    """Let the process die where it was told, when it comes there for the given time."""
    from holdfast.training import product, trainer

    def comes() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            die()

    step, optimiser = trainer.RunTrainer.training_step, trainer.RunTrainer._save_optimizer_and_scheduler
    rename, sync, remove, save = Path.rename, checkpoints.sync, shutil.rmtree, product.sync

    def training_step(*arguments, **named):
        found = step(*arguments, **named)
        comes()
        return found

    def save_optimizer(self, folder):
        comes()
        return optimiser(self, folder)

    def rename_path(path, target):
        if target.name.startswith("step-"):
            comes()
        return rename(path, target)

    def sync_path(path):
        if path.name == checkpoints.FOLDER:
            comes()
        sync(path)

    def remove_tree(path, **named):
        if path.name.startswith("step-"):
            next(iter(path.iterdir())).unlink()
            comes()
        remove(path, **named)

    def save_product(path):
        comes()
        save(path)

    at: dict[str, tuple[object, str, object]] = {
        "pass": (trainer.RunTrainer, "training_step", training_step),
        "optimiser": (trainer.RunTrainer, "_save_optimizer_and_scheduler", save_optimizer),
        "rename": (Path, "rename", rename_path),
        "renamed": (checkpoints, "sync", sync_path),
        "old": (checkpoints.shutil, "rmtree", remove_tree),
        "product": (product, "sync", save_product),
    }
    setattr(*at[place])


def fill(small: Path, left: int | None) -> None:
    """Take all but a little room as soon as there is a checkpoint."""
    adopt = checkpoints.adopt

    def then_fill(*arguments, **named):
        folder = adopt(*arguments, **named)
        free = os.statvfs(small)
        if left is None:
            for at in range(free.f_favail - 4):
                (small / str(at)).touch()
        else:
            (small / "ballast").write_bytes(bytes(free.f_bavail * free.f_frsize - left))
        return folder

    checkpoints.adopt = then_fill


def forked(work) -> str:
    """Do something in a process of its own; give what it said, or the signal that ended it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = "failed"
        try:
            said = str(work())
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else said


def main() -> None:
    base, data, root = map(Path, sys.argv[1:4])
    identity = json.loads(sys.argv[5])
    software.identity = lambda: identity
    environment.prepare(1, tempfile.gettempdir())
    from holdfast.training import run  # noqa: F401 - loaded once, for all

    def killed(place: str) -> str:
        arrange(place, DEATHS[place])
        return str(Site(base, data, root / place).train()["finished"])

    def killed_in_a_pass(method: str) -> str:
        form, rows, recipe, left = KILLED[method]
        arrange("pass", left)
        rows_of = prepared_folder(root / f"{method}-data", form, rows)
        return str(Site(base, rows_of, root / method).train(recipe)["finished"])

    def filled(name: str, small: Path) -> str:
        fill(small, DISKS[name])
        found = Site(base, data, small / "out").train()
        shutil.copytree(small / "out", root / f"disk-{name}")
        return f"{found['paused']} {found['steps']} {found['product']}"

    ended = {place: forked(lambda place=place: killed(place)) for place in DEATHS}
    ended |= {method: forked(lambda method=method: killed_in_a_pass(method)) for method in KILLED}
    if sys.argv[4]:
        small = Path(sys.argv[4])
        for name in DISKS:
            ended[f"disk-{name}"] = forked(lambda name=name: filled(name, small))
            for path in small.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    print(json.dumps(ended))  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
