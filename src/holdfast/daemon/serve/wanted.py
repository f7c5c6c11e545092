"""What an operator asked to be served, and what may be.

Invariants: an adapter, or a whole model that was made here, is served once its gate said go, or as part of what two persons
released; no id stands for two things; what was asked for holds until it is asked for otherwise, whatever is released or revoked
meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.artefact import Kind
from holdfast.daemon import admissible, models, runs
from holdfast.errors import Conflict, NotFound
from holdfast.serving.spec import AT, SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.api.messages import LoadRequest, ServeRequest
    from holdfast.artefact import Artefact
    from holdfast.canonical import Json
    from holdfast.daemon.services import Services
    from holdfast.governance.releases import Proposal, Release

Pair = tuple["Artefact", "Artefact"]  # an adapter and its GGUF


@dataclass(frozen=True)
class Loaded:
    """A base that is served, and the adapters with it.

    Args:
        base: The base, or a whole model that a run made.
        tokenizer: Its tokenizer and chat template.
        gguf: The quantized base.
        pairs: Adapters, each with its GGUF.
    """

    base: Artefact
    tokenizer: Artefact
    gguf: Artefact
    pairs: tuple[Pair, ...] = ()

    @property
    def quantization(self) -> str:
        """The base's type, which is also preferred for what is released for it."""
        return str(self.gguf.meta.get("quantization"))

    @property
    def opened(self) -> tuple[Artefact, ...]:
        """What an engine opens of it."""
        return (self.tokenizer, self.gguf, *(lora for _, lora in self.pairs))


@dataclass(frozen=True)
class Terms:
    """By which rules all of it is served.

    Args:
        context: Tokens of one sequence, at most.
        kv: How caches hold keys and values.
        memory: Bytes that all engines together may take; None for a share of what is free.
        limits: ``serving.spec.Limits`` as plain data.
    """

    context: int
    kv: str
    memory: int | None
    limits: dict[str, Json]


@dataclass(frozen=True)
class Desired:
    """What an operator asked to be served.

    Args:
        terms: By which rules.
        loaded: The bases.
    """

    terms: Terms
    loaded: tuple[Loaded, ...]

    def usable(self, services: Services) -> Desired:
        """Leave out what was revoked, so that nothing else waits for it.

        Args:
            services: The daemon's parts.

        Returns:
            What of it may still be served.
        """

        def may(*parts: Artefact) -> bool:
            return not any(admissible.revoked(services, one.digest) for one in parts)

        return replace(
            self,
            loaded=tuple(
                replace(one, pairs=tuple(pair for pair in one.pairs if may(*pair)))
                for one in self.loaded
                if may(one.base, one.tokenizer, one.gguf)
            ),
        )

    def of(self, base: str) -> Loaded | None:
        """Find a base that is served.

        Args:
            base: Its digest.

        Returns:
            It with its adapters, or None.
        """
        return next((one for one in self.loaded if one.base.digest == base), None)

    def released(self, aliases: Mapping[str, Proposal]) -> dict[str, Proposal]:
        """Pick the releases that rest on what is served.

        Args:
            aliases: What each alias stands for.

        Returns:
            Those of them.
        """
        return {alias: found for alias, found in aliases.items() if self.of(found.release.base) is not None}

    def without(self, model: str) -> Desired:
        """Leave out what an application knows by a model id.

        Args:
            model: ``base``, ``base:adapter`` or ``base:adapter@version``.

        Returns:
            What remains.

        Raises:
            NotFound: If nothing was asked for by that id.
        """
        name, _, adapter = model.partition(SEPARATOR)
        called, _, version = adapter.partition(AT)

        def meant(pair: Pair) -> bool:
            return pair[0].name == called and version in {"", pair[0].version}

        found = next((one for one in self.loaded if one.base.name == name), None)
        if found is None or (adapter and not any(map(meant, found.pairs))):
            raise NotFound(
                "serve.not-loaded",
                f"Nothing is loaded as {model[:400]!r}.",
                remedy="See `holdfast serve status`; what a release put there goes with that release.",
            )
        rest = (
            (replace(found, pairs=tuple(pair for pair in found.pairs if not meant(pair))),) if adapter else ()
        )
        return replace(
            self, loaded=tuple(part for one in self.loaded for part in (rest if one is found else (one,)))
        )


def terms(services: Services, request: ServeRequest) -> Terms:
    """Put together by which rules something is served: what was asked for, else what the site says.

    Args:
        services: The daemon's parts.
        request: What was asked for.

    Returns:
        The rules.
    """
    site = services.site.serving
    memory = request.memory_gb or site.memory_gb
    return Terms(
        context=request.context or site.context,
        kv=request.kv or site.kv,
        memory=None if memory is None else int(memory * 1e9),
        limits={
            "parallel": request.parallel or site.parallel,
            "queue": site.queue,
            "keep_seconds": site.keep_seconds,
            "answer_seconds": site.answer_seconds,
        },
    )


def load(services: Services, request: ServeRequest | LoadRequest, before: Desired | None = None) -> Loaded:
    """Find what was asked for, and refuse what may not be served.

    Args:
        services: The daemon's parts.
        request: Which base and adapters.
        before: What is served already; adapters are added to a base that is, and another type takes the place of its own.

    Returns:
        The base with its adapters.

    Raises:
        NotFound: If it is not there, or not quantized.
        Conflict: If a gate did not say go, or an id is taken.
    """
    base, tokenizer = runs.model_parts(services, request.model)
    admissible.usable(services, base)
    require_judged(services, base)
    for alias, standing in services.state.releases.aliases.items():
        require_name(base, alias, standing.release)
    known = None if before is None else before.of(base.digest)
    if known is None or request.quantization is not None:
        gguf = models.find_gguf(services, base, request.quantization)
    else:
        gguf = known.gguf
    if before is not None and known is None:
        taken = next((one for one in before.loaded if one.base.name == base.name), None)
        if taken is not None:
            raise Conflict(
                "serve.loaded",
                f"{base.name} is served already, as {hashing.short(taken.gguf.digest)} ({taken.quantization}).",
                remedy=f"Unload it first with `holdfast serve unload {base.name}`.",
            )
    own = () if known is None else known.pairs
    pairs = {lora.digest: (adapter, lora) for adapter, lora in own}
    for adapter, lora in (admitted(services, name) for name in request.adapters):
        if adapter.meta.get("base", base.digest) != base.digest:
            raise Conflict(
                "serve.adapter-base",
                f"Adapter {adapter.name} ({hashing.short(adapter.digest)}) was not made for {base.name}.",
                remedy="See `holdfast model lineage` for the base that it was made for.",
                adapter=adapter.digest,
            )
        called = f"{base.name}{SEPARATOR}{adapter.name}{AT}{adapter.version}"
        if any(
            (one.name, one.version) == (adapter.name, adapter.version) and other.digest != lora.digest
            for one, other in pairs.values()
        ):
            raise Conflict(
                "serve.loaded",
                f"{called} is served already, from another run.",
                remedy=f"Unload it first with `holdfast serve unload {called}`, or release the new one under an alias.",
                adapter=adapter.digest,
            )
        pairs.pop(lora.digest, None)  # what is loaded last is what its name means
        pairs[lora.digest] = (adapter, lora)
    return Loaded(base, tokenizer, gguf, tuple(pairs.values()))


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
