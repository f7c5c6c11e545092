"""What a serve worker is given: its files, its settings, its socket, and what each model id is made of.

Order of operations: what an operator asked for comes first; then, for each alias that is released for the same base, the files
that its gate judged, under the alias alone. Invariants: a port in use is refused before anything is loaded; the context is never
longer than the base was made for; every file is hashed again; a release that can't be used is left out and said, but for the one
that is being decided on, which is refused.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from holdfast import canonical, hashing
from holdfast.artefact import Kind
from holdfast.daemon import admissible, models
from holdfast.errors import Conflict, HoldfastError, NotFound, UntrustedBundle
from holdfast.parts import records
from holdfast.serving.spec import MAX_ADAPTERS, MAX_ALIASES, MAX_MODELS, SEPARATOR
from holdfast.store import files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from holdfast.artefact import Artefact
    from holdfast.canonical import Json
    from holdfast.daemon.services import Services
    from holdfast.governance.releases import Proposal, Release

MAX_CONTEXT = 8192  # tokens of one sequence; each further one costs memory in every sequence's cache
MAX_CONFIG = 2**20  # bytes of config.json
TEMPLATE = "chat_template.jinja"
INTERNAL = ".release-"  # begins the id of what is not offered by one; no alias begins with a point


@dataclass(frozen=True)
class Asked:
    """What an operator asked to be served.

    Args:
        base: The base, or a whole model that a run made.
        tokenizer: Its tokenizer and chat template.
        gguf: The quantized base.
        quantization: Its type, which is also preferred for what is released.
        pairs: Adapters, each with its GGUF.
    """

    base: Artefact
    tokenizer: Artefact
    gguf: Artefact
    quantization: str
    pairs: list[tuple[Artefact, Artefact]]

    @property
    def opened(self) -> tuple[Artefact, ...]:
        """What the worker opens of it."""
        return (self.tokenizer, self.gguf, *(lora for _, lora in self.pairs))

    def usable(self, services: Services) -> Asked:
        """Leave out adapters that were withdrawn, so that nothing else waits for them.

        Args:
            services: The daemon's parts.

        Returns:
            What of it may still be served.
        """
        kept = [
            pair for pair in self.pairs if not any(admissible.revoked(services, one.digest) for one in pair)
        ]
        return replace(self, pairs=kept)


@dataclass
class Plan:
    """What one worker serves.

    Args:
        inputs: The folders that it sees, by name.
        settings: ``serving.spec.Settings`` as plain data.
        uses: Digests of what each model id is made of.
        released: The release behind each alias, by its request's number.
        left_out: Aliases that can't be served, and why.
    """

    inputs: dict[str, Path] = field(default_factory=dict)
    settings: dict[str, Json] = field(default_factory=dict)
    uses: dict[str, tuple[str, ...]] = field(default_factory=dict)
    released: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def digests(self) -> frozenset[str]:
        """Everything that it is made of."""
        return frozenset(digest for digests in self.uses.values() for digest in digests)

    def listed(self) -> list[dict[str, Json]]:
        """List the model ids that the worker offers.

        Returns:
            For each its ``id``, ``digest``, ``label`` and ``release`` (its number, or None).
        """
        places: dict[str, dict[str, Json]] = {}
        found: list[dict[str, Json]] = []
        for model in records(self.settings["models"]):
            parts = [(str(model["id"]), model)]
            parts += [(f"{model['id']}{SEPARATOR}{one['id']}", one) for one in records(model["adapters"])]
            for name, one in parts:
                places[name] = {"digest": one["digest"], "label": one["label"]}
                if one["offered"] and model["offered"]:
                    found.append({"id": name, **places[name], "release": None})
        aliases = [
            {"id": alias["id"], **places[str(alias["of"])], "release": alias["release"]}
            for alias in records(self.settings["aliases"])
        ]
        return [*aliases, *found]


def admitted(services: Services, name: str) -> tuple[Artefact, Artefact]:
    """Find an adapter and its GGUF.

    Args:
        services: The daemon's parts.
        name: Digest, digits of one, name, or a run's number.

    Returns:
        The adapter and its quantized file.

    Raises:
        Conflict: If its gate did not say go.
    """
    adapter = models.find_adapter(services, name)
    run = str(adapter.meta.get("run"))
    verdict = services.state.gates.get(run)
    if verdict is None or not verdict["go"] or verdict.get("adapter") != adapter.digest:
        why = "was not judged by its gate yet" if verdict is None else "was refused by its gate"
        raise Conflict(
            "serve.gate",
            f"Adapter {adapter.name} ({hashing.short(adapter.digest)}) {why}.",
            remedy=f"See `holdfast eval gate {hashing.short(run)}`.",
            adapter=adapter.digest,
        )
    return adapter, models.find_gguf_adapter(services, adapter)


def require_judged(services: Services, model: Artefact) -> None:
    """Refuse a whole model that was made here and that no gate let through: a merge or full weights are no way around it.

    What two persons released may rest on such a model; then it is served beneath that.

    Args:
        services: The daemon's parts.
        model: A base, or a whole model.

    Raises:
        Conflict: If its gate, or that of the adapter in it, did not say go.
    """
    if model.kind is not Kind.MERGED or model.digest not in services.state.made:
        return  # what came in on a medium was admitted by two persons
    run = str(model.meta.get("run"))
    verdict = services.state.gates.get(run)
    judged = (verdict.get("model"), verdict.get("adapter")) if verdict is not None and verdict["go"] else ()
    released = any(one.release.base == model.digest for one in services.state.releases.aliases.values())
    if not released and model.digest not in judged and model.meta.get("adapter", model.digest) not in judged:
        raise Conflict(
            "serve.gate",
            f"The model {model.name} ({hashing.short(model.digest)}) was not let through by a gate.",
            remedy=f"See `holdfast eval gate {hashing.short(run)}`."
            if "run" in model.meta
            else "Train the adapter that is in it by a recipe with a gate.",
            model=model.digest,
        )


def require_name(base: Artefact, alias: str, release: Release) -> None:
    """Refuse to have two things stand behind one id: the model that is served, and what a release says.

    Args:
        base: The model that is served under its own name.
        alias: An alias.
        release: What it stands for.

    Raises:
        Conflict: If the model has that name and is not what was released.
    """
    if base.name == alias and base.digest != release.product:
        raise Conflict(
            "serve.alias",
            f"{alias} is an alias that stands for a release; the model {hashing.short(base.digest)} of that name is not it.",
            remedy="Serve the base that was released for, and have one of the two renamed.",
            model=base.digest,
        )


async def plan(
    services: Services, asked: Asked, releases: Mapping[str, Proposal], *, needed: str | None = None
) -> Plan:
    """Plan what a worker serves.

    Args:
        services: The daemon's parts.
        asked: What an operator asked for.
        releases: What each alias stands for.
        needed: The alias that must be served.

    Returns:
        The plan.

    Raises:
        HoldfastError: If what was asked for, or the alias that is needed, can't be served now.
    """
    building = _Building(services, asked)
    await building.own()
    for alias, found in releases.items():
        if found.release.base != asked.base.digest:
            continue
        try:
            await building.alias(found)
        except HoldfastError as error:
            if alias == needed:
                raise
            building.made.left_out[alias] = error.message
    return building.finish()


class _Building:
    """A plan that is being made."""

    def __init__(self, services: Services, asked: Asked) -> None:
        self.made = Plan()
        self._services, self._asked = services, asked
        self._checked: set[str] = set()
        self._models: list[dict[str, Json]] = []
        self._aliases: list[Json] = []
        self._places: dict[tuple[str, str, str | None], str] = {}  # weights, tokenizer and adapter: an id

    async def own(self) -> None:
        """Take what the operator asked for."""
        asked = self._asked
        for one in asked.opened:
            await self._check(one)
        for one in (asked.base, *(adapter for adapter, _ in asked.pairs)):
            admissible.usable(self._services, one)
        self._model(asked.base.name, asked.base, asked.tokenizer, asked.gguf, offered=True)
        alone = (asked.gguf.digest, asked.base.digest, asked.tokenizer.digest)
        self.made.uses[asked.base.name] = alone
        for adapter, lora in asked.pairs:
            place = self._adapter(self._models[0], adapter.name, lora, offered=True)
            self._places[asked.gguf.digest, asked.tokenizer.digest, lora.digest] = place
            self.made.uses[place] = (*alone, lora.digest, adapter.digest)

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
                f"A worker serves {MAX_ALIASES} aliases.",
                remedy="Release fewer of one base.",
            )
        place = self._place(found.request, release, weights, lora)
        self._aliases.append({"id": release.alias, "of": place, "release": found.request})
        used = (weights.digest, *(() if lora is None else (lora.digest,)))
        self.made.uses[release.alias] = (*used, release.base, release.tokenizer, release.product)
        self.made.released[release.alias] = found.request

    def _files(self, release: Release) -> tuple[Artefact, Artefact | None]:
        """Find the files that were judged: of the type that the operator serves if it was, else of the first."""
        first = next(iter(release.gguf.values()))
        weights = self._known(release.gguf.get(self._asked.quantization, first))
        return weights, None if release.lora is None else self._known(release.lora)

    def _place(self, request: int, release: Release, weights: Artefact, lora: Artefact | None) -> str:
        """Give the id of what computes a release, which others may share."""
        alone = (weights.digest, release.tokenizer, None)
        if alone not in self._places:
            if len(self._models) == MAX_MODELS:
                raise Conflict(
                    "serve.models",
                    f"A worker serves {MAX_MODELS} models.",
                    remedy="Release fewer of one base.",
                )
            base, tokenizer = self._known(release.base), self._known(release.tokenizer)
            self._model(f"{INTERNAL}{request}", base, tokenizer, weights, offered=False)
        if lora is None:
            return self._places[alone]
        whole = (weights.digest, release.tokenizer, lora.digest)
        if whole not in self._places:
            model = next(one for one in self._models if one["id"] == self._places[alone])
            self._places[whole] = self._adapter(model, f"{INTERNAL}{request}", lora, offered=False)
        return self._places[whole]

    def _model(
        self, name: str, base: Artefact, tokenizer: Artefact, weights: Artefact, *, offered: bool
    ) -> None:
        at = len(self._models)
        self.made.inputs[f"model{at}"] = self._services.store.folder(weights.digest)
        self.made.inputs[f"tokenizer{at}"] = self._services.store.folder(tokenizer.digest)
        templated = any(file.path == TEMPLATE for file in tokenizer.files)
        self._models.append(
            {
                "id": name,
                "path": f"/in/model{at}/{weights.files[0].path}",
                "template": f"/in/tokenizer{at}/{TEMPLATE}" if templated else None,
                "context": min(_positions(self._services, base), MAX_CONTEXT),
                "digest": weights.digest,
                "label": weights.label.join(tokenizer.label).to_json(),
                "offered": offered,
                "adapters": [],
            }
        )
        self._places[weights.digest, tokenizer.digest, None] = name

    def _adapter(self, model: dict[str, Json], name: str, lora: Artefact, *, offered: bool) -> str:
        adapters = model["adapters"]
        if not isinstance(adapters, list) or len(adapters) == MAX_ADAPTERS:
            raise Conflict(
                "serve.adapters", f"A model serves {MAX_ADAPTERS} adapters.", remedy="Serve fewer at once."
            )
        folder = f"adapter{sum(name.startswith('adapter') for name in self.made.inputs)}"
        self.made.inputs[folder] = self._services.store.folder(lora.digest)
        adapters.append(
            {
                "id": name,
                "path": f"/in/{folder}/{lora.files[0].path}",
                "digest": lora.digest,
                "label": lora.label.to_json(),
                "scale": 1.0,
                "offered": offered,
            }
        )
        return f"{model['id']}{SEPARATOR}{name}"

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
        self.made.settings = {"models": [*self._models], "aliases": self._aliases}
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


def bind(host: str, port: int) -> socket.socket:
    """Open the listening socket.

    Args:
        host: Where to listen.
        port: On which port; 0 for any free one.

    Returns:
        The socket, listening.

    Raises:
        Conflict: If the port is taken.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(512)
    except OSError as error:
        sock.close()
        raise Conflict(
            "serve.port",
            f"{host}:{port} can't be used: {error.strerror}.",
            remedy="Name another port with --port, or stop what listens there.",
            host=host,
            port=port,
        ) from error
    return sock
