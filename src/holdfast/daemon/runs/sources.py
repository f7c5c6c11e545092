"""What a run is made from: recipe, base, tokenizer and data, by digest.

Invariants: a recorded intent names all of it, so that a replay and a resumption need nothing else; nothing is used that may
not be used now.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.artefact import Artefact, Kind
from holdfast.daemon import admissible
from holdfast.daemon.runs import find
from holdfast.errors import NotFound
from holdfast.formats import written
from holdfast.training import spec

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.canonical import Json
    from holdfast.daemon.services import Services
    from holdfast.training.spec import Recipe

RECIPE_FILE = "recipe.toml"


@dataclass(frozen=True)
class Inputs:
    """Everything that determines a run's outcome on one host.

    Args:
        recipe: The recipe artefact.
        base: The base model.
        tokenizer: Its tokenizer and chat template.
        data: The recipe's data paths and the data sets that stand for them.
        suite: What the recipe looks at to stop early, if it does.
    """

    recipe: Artefact
    base: Artefact
    tokenizer: Artefact
    data: dict[str, Artefact]
    suite: Artefact | None = None

    @property
    def parents(self) -> tuple[str, ...]:
        """Digests of all inputs."""
        return tuple(found.digest for found in self.all)

    @property
    def all(self) -> tuple[Artefact, ...]:
        """All inputs."""
        suite = () if self.suite is None else (self.suite,)
        return (self.base, self.tokenizer, self.recipe, *self.data.values(), *suite)

    def digests(self) -> dict[str, Json]:
        """Name the inputs, for a run's manifest.

        Returns:
            The digests, by what they are for.
        """
        found: dict[str, Json] = {
            "base": self.base.digest,
            "tokenizer": self.tokenizer.digest,
            "recipe": self.recipe.digest,
            "data": {path: found.digest for path, found in self.data.items()},
        }
        return found | ({} if self.suite is None else {"suite": self.suite.digest})

    def named(self) -> dict[str, Json]:
        """Name the inputs, for an intent's parameters.

        Returns:
            The digests, by what they are for, and the names that people know.
        """
        return {
            "recipe": self.recipe.digest,
            "recipe_name": f"{self.recipe.name}@{self.recipe.version}",
            "base": self.base.digest,
            "base_name": self.base.name,
            "tokenizer": self.tokenizer.digest,
            "data": {path: found.digest for path, found in self.data.items()},
        }


def inputs_of(services: Services, params: dict[str, Json]) -> Inputs:
    """Find the inputs that a recorded intent names.

    Args:
        services: The daemon's parts.
        params: The intent's parameters.

    Returns:
        The inputs.

    Raises:
        NotFound: If one is no longer known.
    """

    def known(digest: Json) -> Artefact:
        found = services.state.artefacts.get(str(digest))
        if found is None:
            raise NotFound(
                "run.input-gone",
                f"The run needs {hashing.short(str(digest))}, which is no longer here.",
                remedy="Import the bundle or send the data again.",
            )
        return found

    data = params["data"]
    return Inputs(
        recipe=known(params["recipe"]),
        base=known(params["base"]),
        tokenizer=known(params["tokenizer"]),
        data={path: known(digest) for path, digest in data.items()} if isinstance(data, dict) else {},
        suite=known(params["suite"]) if "suite" in params else None,
    )


def model_parts(services: Services, name: str) -> tuple[Artefact, Artefact]:
    """Find a model that can be trained, evaluated and served, and its tokenizer.

    Args:
        services: The daemon's parts.
        name: A base that a bundle brought, or a whole model that was made here: by name, digest, or the number of the run
            that made it.

    Returns:
        The model and its tokenizer.

    Raises:
        NotFound: If one is missing or not active.
    """
    if find.is_number(name) and services.state.acts.get(int(name)):
        _, _, result = find.find_run(services, name)
        model = find.product(services, result)
        if model.kind is not Kind.MERGED:
            raise NotFound(
                "model.adapter",
                f"Run {name} made an adapter, which is no model by itself.",
                remedy="Name the base, and the run with --adapter; or merge it with `holdfast model merge`.",
            )
    else:
        model = services.state.resolve(name, Kind.BASE, Kind.MERGED)
    if model.kind is Kind.MERGED:
        tokenizer = services.state.artefacts.get(str(model.meta.get("tokenizer")))
    else:
        tokenizer = services.state.resolve(model.name, Kind.TOKENIZER)
    if tokenizer is None:
        raise NotFound(
            "model.no-tokenizer",
            f"The tokenizer of {model.name} is not known here.",
            remedy="Import the bundle that brought its base again.",
        )
    for found in (model, tokenizer):
        admissible.usable(services, found)
    return model, tokenizer


def read_recipe(services: Services, found: Artefact) -> Recipe:
    """Read a stored recipe.

    Args:
        services: The daemon's parts.
        found: The recipe artefact.

    Returns:
        The recipe.
    """
    data = bounded(services.store.folder(found.digest) / RECIPE_FILE, written.MAX_DOCUMENT)
    return spec.read_recipe(data, file=f"{found.name}@{found.version}")


def bounded(path: Path, limit: int) -> bytes:
    """Read a file as far as it may go, and one byte more, by which its reader sees that it went too far.

    Args:
        path: The file.
        limit: Bytes.

    Returns:
        At most ``limit + 1`` bytes.
    """
    with path.open("rb") as file:
        return file.read(limit + 1)
