"""Models, adapters and the GGUF files made of them: found and described. Making them is ``quantizing``'s.

Invariant: what a medium claims of its GGUF files is not believed; what was made here is known.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.artefact import Kind
from holdfast.daemon import admissible, revocations, runs
from holdfast.dataset.files import ITEMS_FILE
from holdfast.dataset.messages import question_of
from holdfast.errors import NotFound

if TYPE_CHECKING:
    from holdfast.artefact import Artefact
    from holdfast.canonical import Json
    from holdfast.daemon.services import Services

PROBES = 96  # prompts of the installed suites on which a file is compared with its original


def probes(services: Services) -> list[str]:
    """Take prompts of the active suites: real text of the model's own world.

    Args:
        services: The daemon's parts.

    Returns:
        At most ``PROBES`` texts.
    """
    texts: list[str] = []
    for found in services.state.artefacts.values():
        if (
            found.kind is Kind.SUITE
            and services.state.is_active(found.digest)
            and admissible.revoked(services, found.digest) is None
        ):
            services.store.verify(found)
            lines = (services.store.folder(found.digest) / ITEMS_FILE).read_bytes().splitlines()
            texts += [
                question_of(json.loads(line)) or "" for line in lines[:: max(1, len(lines) * 2 // PROBES)]
            ]
    return texts[:PROBES]


def find_adapter(services: Services, name: str) -> Artefact:
    """Find an adapter by its own name or by its run's.

    Args:
        services: The daemon's parts.
        name: Digest, digits of one, name, or a run's number.

    Returns:
        The adapter, which is active.

    Raises:
        NotFound: If the run made a whole model.
    """
    if runs.is_number(name):
        _, _, result = runs.find_run(services, name)
        found = runs.product(services, result)
        if found.kind is not Kind.ADAPTER:
            raise NotFound(
                "model.no-adapter",
                f"Run {name} made a whole model, and no adapter.",
                remedy="Name the run in the place of the base.",
            )
    else:
        found = services.state.resolve(name, Kind.ADAPTER)
    admissible.usable(services, found)
    return found


def find_gguf(services: Services, base: Artefact, quantization: str | None) -> Artefact:
    """Find the GGUF of a base.

    Args:
        services: The daemon's parts.
        base: The base.
        quantization: Its type; None for the smallest that kept the floor when it was made.

    Returns:
        The artefact; of several of one type, calibrated or not, the newest.

    Raises:
        NotFound: If it was not made yet.
    """
    found = _made(services, {"base": base.digest, "part": "model"})
    if quantization is None:
        kept = [one for one in found if one.meta.get("within_floor") is True]
        if kept:
            return _usable(services, min(kept, key=lambda one: one.size))
    else:
        named = [one for one in found if one.meta.get("quantization") == quantization]
        if named:
            return _usable(services, named[-1])
    there = ", ".join(sorted({str(one.meta.get("quantization")) for one in found}))
    raise NotFound(
        "model.no-gguf",
        f"There is no {quantization or 'quantized'} file of {base.name}{' that keeps the floor' if quantization is None else ''} yet"
        f"{f'; there is {there}' if there else ''}.",
        remedy=f"Make it with `holdfast model quantize {base.name}{f' --type {quantization}' if quantization else ''}`"
        f"{', or serve another with --type' if found else ''}.",
    )


def find_f16(services: Services, base: Artefact, tokenizer: Artefact) -> Artefact | None:
    """Find the file that a base was converted to.

    Args:
        services: The daemon's parts.
        base: The base.
        tokenizer: Its tokenizer, which is part of the file.

    Returns:
        The artefact; None if it was not made yet, or may not be used.
    """
    for found in _made(services, {"base": base.digest, "part": "model", "quantization": "f16"}):
        gone = found.digest in services.state.damaged or admissible.revoked(services, found.digest)
        if tokenizer.digest in found.parents and not gone:
            return found
    return None


def find_gguf_adapter(services: Services, adapter: Artefact) -> Artefact:
    """Find the GGUF of an adapter.

    Args:
        services: The daemon's parts.
        adapter: The adapter.

    Returns:
        The artefact.

    Raises:
        NotFound: If it was not made yet.
    """
    found = _made(services, {"adapter": adapter.digest, "part": "adapter"})
    if found:
        return _usable(services, found[-1])
    raise NotFound(
        "model.no-gguf",
        f"There is no GGUF file of {adapter.name} yet.",
        remedy="Make it with `holdfast model quantize MODEL --adapter RUN`.",
    )


def _made(services: Services, meta: dict[str, Json]) -> list[Artefact]:
    """List the GGUF files that were made here of something, in the order in which they were made."""
    return [
        found
        for found in services.state.artefacts.values()
        if found.kind is Kind.GGUF
        and found.digest in services.state.made
        and meta.items() <= found.meta.items()
    ]


def _usable(services: Services, found: Artefact) -> Artefact:
    admissible.usable(services, found)
    return found


def shown(services: Services, found: Artefact) -> dict[str, Json]:
    """Describe an artefact for a list.

    Args:
        services: The daemon's parts.
        found: The artefact.

    Returns:
        Its record, with ``size``, ``short``, ``active`` and ``revoked`` (why it may not be used, or None).
    """
    return {
        **found.to_json(),
        "size": found.size,
        "short": hashing.short(found.digest),
        "active": services.state.is_active(found.digest),
        "revoked": revocations.shown(services, found.digest),
    }
