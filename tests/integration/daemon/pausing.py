"""A run on a file system that is really too small: PLACE, whose home lies in it, and KEYS. Says what happened, a word a line.

Whoever starts it mounts the file system. What the disk can't hold is not started; what it could hold when it began is paused
when the disk fills up; once there is space again it goes on to its end. All weights are tuned, so that checkpoints have
megabytes.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from tests.integration.daemon import able
from tests.integration.daemon.conftest import RECIPE, Place
from tests.integration.daemon.filling import MIB, Mounted

from holdfast.artefact import Kind
from holdfast.cli import keyfiles
from holdfast.client import training
from holdfast.daemon import runs, uploads
from holdfast.daemon.runs import space
from holdfast.errors import NoSpace

STEPS = 60
FILLED_AT = 8  # a step after the first checkpoint
LEFT = 3 * MIB // 2  # bytes: less than a checkpoint, more than the log needs
FULL = 'type = "full"'
LORA = 'type = "lora"\nrank = 2\nalpha = 4\ndropout = 0.0\ntargets = ["q_proj"]'


async def main() -> None:
    folder, keys = Path(sys.argv[1]), Path(sys.argv[2])
    place = Place(
        folder / "place",
        {"olga": keyfiles.open_pair(keyfiles.secret(keys, "olga"), keys / "passphrase")},
        keys,
    )
    text = able.recipe(RECIPE, **{LORA: FULL, f"\nsteps = {able.STEPS}": f"\nsteps = {STEPS}"})
    recipe, room = place.recipe(text, able.rows()), Mounted(folder)
    uploads.RESERVE = 0
    async with place.open() as daemon, daemon.session("olga") as olga:
        with pytest.raises(NoSpace) as refused:  # the usual reserve is larger than this disk
            await training.start(olga, recipe, "tiny")
        assert refused.value.key == "train.no-space"
        assert not daemon.events("train.run")
        print("refused")  # noqa: T201 - the answer
        space.RESERVE = 0
        run = await training.start(olga, recipe, "tiny")
        async for entry in daemon.services.jobs.get(run).follow(0):
            if (
                entry["kind"] == "metric" and entry["step"] >= FILLED_AT
            ):  # old checkpoints are removed now and then
                room.leave(LEFT)
        error = entry["error"]
        assert (error["key"], error["type"]) == ("train.paused", "NoSpace"), error
        shown = await training.show(olga, str(run))
        assert (shown["state"], shown["resumable"]) == ("paused", True)
        assert 0 < shown["result"]["steps"] < STEPS
        assert shown["figures"]["spent"]["seconds"] > 0
        daemon.at_rest()
        print("paused")  # noqa: T201 - the answer
        with pytest.raises(NoSpace) as refused:
            await training.resume(olga, run)
        assert refused.value.key == "train.no-space"
        room.empty()
        again = await training.resume(olga, run)
        done = await olga.finish(again)
        assert (done["steps"], done["figures"]["resumed_from"]) == (STEPS, shown["result"]["steps"])
        model, _ = runs.model_parts(daemon.services, str(again))
        assert (model.kind, model.digest) == (Kind.MERGED, done["model"])
        total = (await training.show(olga, str(again)))["total"]
        assert (total["parts"], total["unknown"]) == ([run, again], [])
        assert [entry.name for entry in daemon.services.jobs.folder(again).iterdir()] == ["stream.jsonl"]
        print("done")  # noqa: T201 - the answer


if __name__ == "__main__":
    asyncio.run(main())
