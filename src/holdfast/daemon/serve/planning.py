"""What serving is made of: engines with their files and adapters, the front's settings, and what each model id rests on.

Order of operations: what operators asked for comes first; then, for each alias that is released for one of those bases, the files
that its gate judged, under the alias alone. Invariants: the context is never longer than the base was made for; a file is hashed
before an engine opens it; a release that can't be used is left out and said, but for the one that is being decided on, which is
refused; the same weights with the same chat template are the same engine, whatever else is planned.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.audit.registry.serving import MAX_SERVED
from holdfast.daemon import admissible
from holdfast.errors import Conflict, HoldfastError, NotFound, UntrustedBundle
from holdfast.serving import spec
from holdfast.serving.spec import MAX_ADAPTERS, MAX_ALIASES, MAX_MODELS
from holdfast.store import files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from holdfast.artefact import Artefact
    from holdfast.canonical import Json
    from holdfast.daemon.serve.wanted import Desired, Loaded
    from holdfast.daemon.services import Services
    from holdfast.governance.releases import Proposal, Release

MAX_CONFIG = 2**20  # bytes of config.json
TEMPLATE = "chat_template.jinja"
INTERNAL = ".release-"  # begins the id of what is not offered by one; no alias begins with a point


@dataclass(frozen=True)
class Lane:
    """An adapter as an engine is given it.

    Args:
        name: ``AdapterSpec.lane``.
        digest: The GGUF artefact's.
        scale: How strongly it is applied.
        path: Its file in the store.
        size: Bytes of that file, as recorded.
    """

    name: str
    digest: str
    scale: float
    path: Path
    size: int


@dataclass
class EnginePlan:
    """One engine.

    Args:
        name: Its own, the same for the same weights and chat template.
        model: ``serving.spec.ModelSpec`` as plain data, without adapters.
        inputs: The folders that it sees, by name.
        digests: Of the weights and the tokenizer.
        quantization: The type of the weights; None where their document does not say.
        lanes: The adapters with it, by name.
    """

    name: str
    model: dict[str, Json]
    inputs: dict[str, Path]
    digests: frozenset[str]
    quantization: Json = None
    lanes: dict[str, Lane] = field(default_factory=dict)


@dataclass
class Plan:
    """All that is served.

    Args:
        settings: ``serving.spec.Settings`` as plain data.
        engines: The engines, by name.
        uses: Digests of what each model id is made of.
        released: The release behind each alias, by its request's number.
        left_out: Aliases that can't be served, and why.
    """

    settings: dict[str, Json] = field(default_factory=dict)
    engines: dict[str, EnginePlan] = field(default_factory=dict)
    uses: dict[str, tuple[str, ...]] = field(default_factory=dict)
    released: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def digests(self) -> frozenset[str]:
        """Everything that it is made of."""
        return frozenset(digest for digests in self.uses.values() for digest in digests)

    def listed(self) -> list[dict[str, Json]]:
        """List the model ids that are offered; a version's own id only where the shorter one means another.

        Returns:
            For each its ``id``, ``digest``, ``label`` and ``release`` (its number, or None).
        """
        seen: set[tuple[str, int | None]] = set()
        found: list[dict[str, Json]] = []
        for choice in spec.offered(spec.parse(self.settings)) if self.settings else ():
            if (choice.place, choice.release) in seen:
                continue
            seen.add((choice.place, choice.release))
            one = choice.model if choice.adapter is None else choice.adapter
            label: dict[str, Json] = {**choice.label.to_json()}
            found.append({"id": choice.id, "digest": one.digest, "label": label, "release": choice.release})
        return found

    def reaching(self, engine: str) -> list[str]:
        """List the model ids that an engine answers for.

        Args:
            engine: Its name.

        Returns:
            Ids that are offered.
        """
        offered = spec.offered(spec.parse(self.settings)) if self.settings else ()
        return [choice.id for choice in offered if choice.model.engine == engine]


def engine_name(weights: str, tokenizer: str) -> str:
    """Name the engine of some weights with some chat template.

    Args:
        weights: Digest of the GGUF artefact.
        tokenizer: Digest of the tokenizer.

    Returns:
        A name that is the same in every plan.
    """
    return "e-" + hashlib.sha256(f"{weights} {tokenizer}".encode()).hexdigest()[:24]


async def plan(
    services: Services,
    asked: Desired,
    releases: Mapping[str, Proposal],
    *,
    needed: str | None = None,
    verified: AbstractSet[str] = frozenset(),
) -> Plan:
    """Plan what is served.

    Args:
        services: The daemon's parts.
        asked: What operators asked for.
        releases: What each alias stands for.
        needed: The alias that must be served.
        verified: Digests of what engines have open, which was hashed before they opened it.

    Returns:
        The plan.

    Raises:
        HoldfastError: If what was asked for, or the alias that is needed, can't be served now.
    """
    building = _Building(services, asked, verified)
    for one in asked.loaded:
        await building.own(one)
    for alias, found in asked.released(releases).items():
        try:
            await building.alias(found)
        except HoldfastError as error:
            if alias == needed:
                raise
            building.made.left_out[alias] = error.message
    return building.finish()


@dataclass
class _Model:
    """A model of the plan that is being made."""

    engine: EnginePlan
    uses: tuple[str, ...]
    offered: bool
    adapters: dict[str, dict[str, Json]] = field(default_factory=dict)  # by lane


class _Building:
    """A plan that is being made."""

    def __init__(self, services: Services, asked: Desired, verified: AbstractSet[str]) -> None:
        self.made = Plan()
        self._services, self._asked = services, asked
        self._checked = set(verified)
        self._models: dict[str, _Model] = {}  # by engine
        self._aliases: list[Json] = []

    async def own(self, loaded: Loaded) -> None:
        """Take what operators asked for."""
        for one in loaded.opened:
            await self._check(one)
        for one in (loaded.base, *(adapter for adapter, _ in loaded.pairs)):
            admissible.usable(self._services, one)
        base = loaded.base
        if base.name in self.made.uses:
            raise Conflict(
                "serve.loaded",
                f"Two models are called {base.name}.",
                remedy="Serve one of them.",
            )
        model = self._model(base.name, base, loaded.tokenizer, loaded.gguf, offered=True)
        self.made.uses[base.name] = model.uses
        for adapter, lora in loaded.pairs:
            self._adapter(model, adapter.name, adapter.version, lora, offered=True)
            called = f"{base.name}{spec.SEPARATOR}{adapter.name}"
            for name in (called, f"{called}{spec.AT}{adapter.version}"):
                self.made.uses[name] = (*model.uses, lora.digest, adapter.digest)

    async def alias(self, found: Proposal) -> None:
        """Take what an alias stands for."""
        release = found.release
        weights, lora = self._files(release)
        for digest in (release.product, release.base):
            admissible.usable(self._services, self._known(digest))
        for one in (self._known(release.tokenizer), weights, *(() if lora is None else (lora,))):
            await self._check(one)
        if release.alias in self.made.uses:
            raise Conflict(
                "serve.alias",
                f"{release.alias} is the id of a model that is served already.",
                remedy="Release it under another alias.",
            )
        if len(self._aliases) == MAX_ALIASES:
            raise Conflict(
                "serve.aliases",
                f"{MAX_ALIASES} aliases are served at once.",
                remedy="Release fewer of one base.",
            )
        place = self._place(found.request, release, weights, lora)
        self._aliases.append({"id": release.alias, "of": place, "release": found.request})
        used = (weights.digest, *(() if lora is None else (lora.digest,)))
        self.made.uses[release.alias] = (*used, release.base, release.tokenizer, release.product)
        self.made.released[release.alias] = found.request

    def _files(self, release: Release) -> tuple[Artefact, Artefact | None]:
        """Find the files that were judged: of the type that is served beside it if it was, else of the first."""
        loaded = self._asked.of(release.base)
        first = next(iter(release.gguf.values()))
        weights = self._known(first if loaded is None else release.gguf.get(loaded.quantization, first))
        return weights, None if release.lora is None else self._known(release.lora)

    def _place(self, request: int, release: Release, weights: Artefact, lora: Artefact | None) -> str:
        """Give the id of what computes a release, which others may share."""
        model = self._models.get(engine_name(weights.digest, release.tokenizer))
        if model is None:
            base, tokenizer = self._known(release.base), self._known(release.tokenizer)
            model = self._model(f"{INTERNAL}{request}", base, tokenizer, weights, offered=False)
        if lora is None:
            return str(model.engine.model["id"])
        return self._adapter(model, f"{INTERNAL}{request}", str(request), lora, offered=False)

    def _model(
        self, name: str, base: Artefact, tokenizer: Artefact, weights: Artefact, *, offered: bool
    ) -> _Model:
        engine = engine_name(weights.digest, tokenizer.digest)
        if engine in self._models:
            raise Conflict(
                "serve.loaded",
                f"{base.name} has the weights of a model that is served already.",
                remedy="Serve one of them.",
            )
        if len(self._models) == MAX_MODELS:
            raise Conflict(
                "serve.models",
                f"{MAX_MODELS} models are served at once.",
                remedy="Unload one with `holdfast serve unload`.",
            )
        site, terms = self._services.site.serving, self._asked.terms
        folder = self._services.store.folder
        templated = any(file.path == TEMPLATE for file in tokenizer.files)
        plain: dict[str, Json] = {
            "id": name,
            "engine": engine,
            "path": f"/in/model/{weights.files[0].path}",
            "template": f"/in/tokenizer/{TEMPLATE}" if templated else None,
            "context": min(_positions(self._services, base), terms.context),
            "kv": terms.kv,
            "mmap": site.mmap,
            "mlock": site.mlock,
            "digest": weights.digest,
            "label": weights.label.join(tokenizer.label).to_json(),
            "offered": offered,
        }
        inputs = {"model": folder(weights.digest), "tokenizer": folder(tokenizer.digest)}
        digests = frozenset({weights.digest, tokenizer.digest})
        uses = (weights.digest, base.digest, tokenizer.digest)
        made = self.made.engines[engine] = EnginePlan(
            engine, plain, inputs, digests, weights.meta.get("quantization")
        )
        model = self._models[engine] = _Model(made, uses, offered)
        return model

    def _adapter(self, model: _Model, name: str, version: str, lora: Artefact, *, offered: bool) -> str:
        """Put an adapter on a model, unless it is there, and give its place."""
        file = lora.files[0]
        adapter: dict[str, Json] = {
            "id": name,
            "version": version,
            "digest": lora.digest,
            "label": lora.label.to_json(),
            "scale": 1.0,
            "offered": offered,
        }
        read = spec.AdapterSpec.model_validate(adapter)
        known = model.adapters.get(read.lane)
        if known is None:
            if len(model.adapters) == MAX_ADAPTERS:
                raise Conflict(
                    "serve.adapters",
                    f"A model serves {MAX_ADAPTERS} adapters at once.",
                    remedy="Unload one with `holdfast serve unload`.",
                )
            known = model.adapters[read.lane] = adapter
            path = self._services.store.folder(lora.digest) / file.path
            model.engine.lanes[read.lane] = Lane(read.lane, lora.digest, read.scale, path, file.size)
        return f"{model.engine.model['id']}{spec.SEPARATOR}{known['id']}{spec.AT}{known['version']}"

    def _known(self, digest: str) -> Artefact:
        found = self._services.state.artefacts.get(digest)
        if found is None:
            raise NotFound(
                "artefact.unknown",
                f"{digest[:24]} is not on the record.",
                remedy="See `holdfast model list`.",
            )
        return found

    async def _check(self, found: Artefact) -> None:
        """Refuse what may not be opened, or was changed; each file is hashed once."""
        admissible.usable(self._services, found)
        if found.digest not in self._checked:
            await asyncio.to_thread(self._services.store.verify, found)
            self._checked.add(found.digest)

    def finish(self) -> Plan:
        """Give the plan, once it is known to hold together.

        Returns:
            The plan.

        Raises:
            Conflict: If it lists more ids than an event holds.
        """
        models: list[Json] = [
            {**one.engine.model, "adapters": [*one.adapters.values()]} for one in self._models.values()
        ]
        limits = self._asked.terms.limits
        site = self._services.site.serving
        access: dict[str, Json] = {
            "tls": site.tls is not None,
            "clients": site.tls is not None and site.tls.clients is not None,
            "origins": [*site.cors_origins],
            "open_health": site.open_health,
        }
        plain = {"models": models, "aliases": self._aliases, "limits": limits, "access": access}
        self.made.settings = spec.parse(plain).model_dump(mode="json")
        if len(self.made.listed()) > MAX_SERVED:
            raise Conflict(
                "serve.listed",
                f"{MAX_SERVED} model ids are served at once.",
                remedy="Unload one with `holdfast serve unload`.",
            )
        return self.made


def _positions(services: Services, base: Artefact) -> int:
    """Read how many tokens the base was made for."""
    folder = services.store.folder(base.digest)
    for file in base.files:
        if file.path == "config.json":
            files.check(folder, file)
    data = (folder / "config.json").read_bytes()
    config = canonical.decode(data, limit=MAX_CONFIG, what="config.json", error=UntrustedBundle)
    positions = config.get("max_position_embeddings") if isinstance(config, dict) else None
    if not isinstance(positions, int):
        raise UntrustedBundle(
            "serve.context",
            f"The config.json of {base.name} does not say max_position_embeddings.",
            remedy="Ask the publisher for a complete base.",
        )
    return positions
