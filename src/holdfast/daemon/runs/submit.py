"""A recipe and its prepared data, taken in: the beginning of a run or of an estimate.

Order of operations: the recipe is read and compared with the data sets that stand for its paths, the model and the suite that
it names are found, labels are joined, and only then the recipe becomes an artefact. Invariants: what is refused leaves nothing
behind; a data set was prepared under a label that is no looser than the recipe's own for it, and under its licence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.artefact import Artefact, Kind
from holdfast.audit.event import Subject
from holdfast.daemon import admissible, intake
from holdfast.daemon.runs import find, start, trial
from holdfast.daemon.runs.sources import RECIPE_FILE, Inputs, bounded, model_parts
from holdfast.errors import UntrustedRecipe
from holdfast.formats import written
from holdfast.governance import labels
from holdfast.training import spec

if TYPE_CHECKING:
    from holdfast.api.messages import TrainRequest
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session
    from holdfast.training.spec import DataSpec, Recipe


async def submit(services: Services, session: Session, request: TrainRequest) -> Job:
    """Take a recipe in, and start the run.

    Args:
        services: The daemon's parts.
        session: An operator's.
        request: Names the upload, the data sets and the model.

    Returns:
        The job.

    Raises:
        UntrustedRecipe: If the recipe is wrong, or does not go with the data; then nothing was taken in.
    """
    session.actor(find.RUN)
    inputs = await _take(services, session, request)
    return await start.start(services, session, inputs, quarantine=request.quarantine)


async def estimate(services: Services, session: Session, request: TrainRequest) -> Job:
    """Take a recipe in, and estimate what a run of it needs.

    Args:
        services: The daemon's parts.
        session: An operator's.
        request: Names the upload, the data sets and the model.

    Returns:
        The job; its result holds ``estimate``.

    Raises:
        UntrustedRecipe: If the recipe is wrong, or does not go with the data; then nothing was taken in.
    """
    session.actor(trial.ACTION)
    inputs = await _take(services, session, request)
    return await trial.estimate(services, session, inputs, quarantine=request.quarantine)


async def _take(services: Services, session: Session, request: TrainRequest) -> Inputs:
    base, tokenizer = model_parts(services, request.model)
    path = services.uploads.path(session.name, request.recipe)
    recipe = spec.read_recipe(bounded(path, written.MAX_DOCUMENT), file=request.file)
    wanted = {entry.path for entry in recipe.data}
    if wanted != set(request.data):
        raise UntrustedRecipe(
            "recipe.data",
            f"{request.file} names {sorted(wanted)}, but data sets for {sorted(request.data)} were given.",
            remedy="Prepare exactly the data that the recipe names.",
        )
    data = {entry.path: _data_set(services, recipe, entry, request.data[entry.path]) for entry in recipe.data}
    suite = services.state.resolve(recipe.stop.suite, Kind.SUITE) if recipe.stop else None
    parts = (base, tokenizer, *data.values(), *([suite] if suite else []))
    for found in parts:
        admissible.usable(services, found)
    admissible.at_home(services, labels.join_all([recipe.label(), *(found.label for found in parts)]))
    document = await intake.adopt(
        services,
        Kind.RECIPE,
        recipe.name,
        recipe.version,
        {RECIPE_FILE: path},
        label=recipe.label(),
        meta={"method": recipe.method},
    )
    if document.digest not in services.state.artefacts or document.digest in services.state.collected:
        await services.recorder.fact(
            session.actor(find.RUN),
            "recipe.added",
            {"artefacts": [document.to_json()]},
            subject=Subject(document.kind.value, document.digest),
            label=document.label,
        )
    return Inputs(document, base, tokenizer, data, suite)


def _data_set(services: Services, recipe: Recipe, entry: DataSpec, digest: str) -> Artefact:
    """Find the prepared data set of one of the recipe's paths, and refuse one that does not suit it."""
    found = services.state.artefacts.get(hashing.parse(digest))
    if found is None or found.kind is not Kind.DATASET:
        raise UntrustedRecipe(
            "recipe.data-unknown",
            f"{hashing.short(digest)}, given for {entry.path}, is no data set that was prepared here.",
            remedy="Prepare it with `holdfast dataset prepare`, or start the run with `holdfast train run`, which does.",
        )
    form = found.meta.get("form")
    if form not in recipe.forms():
        raise UntrustedRecipe(
            "recipe.data-form",
            f"{entry.path} holds {form} rows; method {recipe.method!r} takes {' or '.join(recipe.forms())}.",
            remedy="Use another method, or write the data in a form that it takes.",
        )
    if found.label.join(entry.label.label()) != found.label:
        raise UntrustedRecipe(
            "recipe.data-label",
            f"{entry.path} was prepared under the label {found.label}, which is looser than the recipe's.",
            remedy="Prepare it again under the recipe's label.",
        )
    if found.meta.get("licence") != entry.licence:
        raise UntrustedRecipe(
            "recipe.data-licence",
            f"{entry.path} was prepared under the licence {found.meta.get('licence')!r}, the recipe says {entry.licence!r}.",
            remedy="Correct the recipe, or prepare the data again under its licence.",
        )
    return found
