"""What the tests of training share: the libraries as a worker prepares them, a tiny base, data, a suite."""

from __future__ import annotations

import gc
import json
import os
import tempfile
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from tests import suites
from tests.integration.training.kit import (
    FACTS,
    Site,
    changed,
    conversations,
    make_base,
    prepared_folder,
)

from holdfast.training import environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="package")
def libraries() -> Iterator[None]:
    """The model libraries as a worker prepares them; other tests get their environment back."""
    before = dict(os.environ)
    environment.prepare(1, tempfile.gettempdir())
    from holdfast.training import run  # noqa: F401 - with all libraries
    from holdfast.workers import evaluate, train  # noqa: F401 - loaded once

    gc.freeze()  # each run collects garbage, and would look through every module
    yield
    gc.unfreeze()
    import torch

    torch.use_deterministic_algorithms(False)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="package")
def base(tmp_path_factory, libraries) -> Path:  # noqa: ARG001 - prepared first
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="package")
def data(tmp_path_factory) -> Path:
    return prepared_folder(tmp_path_factory.mktemp("data"), "messages", conversations())


@pytest.fixture(scope="package")
def suite(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("suite")
    sections = {"facts": 'metric = "exact"\nprimary = true'}
    (folder / "suite.toml").write_text(
        suites.head("facts", sections, description="Facts.", max_new_tokens=24)
    )
    items = [
        {
            "id": f"f{at}",
            "section": "facts",
            "messages": [{"role": "user", "content": asked}],
            "answers": [answer],
        }
        for at, (asked, answer) in enumerate(FACTS)
    ]
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    return folder


@pytest.fixture
def site(base, data, tmp_path) -> Site:
    return Site(base, data, tmp_path / "out")


@pytest.fixture(scope="package")
def done(base, data, tmp_path_factory) -> tuple[Site, dict]:
    """A run of the shared recipe from its first step to its last, and its result; for looking at only.

    Its steps are timed by the processor's clock: a machine that stands still for a while changes no figure.
    """
    from holdfast.training import watch

    site = Site(base, data, tmp_path_factory.mktemp("done") / "out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watch, "time", SimpleNamespace(monotonic=time.process_time))
        return site, site.train()


@pytest.fixture(scope="package")
def uninterrupted(done) -> tuple[dict, dict[str, str], list[dict]]:
    """Result, product and state hashes of that run."""
    return done[1], done[0].product(), done[0].lines("states.jsonl")


@pytest.fixture(scope="package")
def learned(base, data, tmp_path_factory) -> Path:
    """An adapter that knows the facts; the base's random weights know none."""
    site = Site(base, data, tmp_path_factory.mktemp("learned") / "out")
    recipe = changed(
        batch={"steps": 50, "packing": False, "sequences": 12},
        tuning={"rank": 16, "alpha": 32, "dropout": 0.0},
        optimiser={"learning_rate": 0.01},
        checkpoint_every=1000,
    )
    result = site.train(recipe)
    assert result["final_loss"] < 0.1
    return site.out / "adapter"
