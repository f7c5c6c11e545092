"""What a serve worker is given: its files, its settings, its socket, and what each model id is made of.

Invariants: a port in use is refused before anything is loaded; the context is never longer than the base was made for.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.errors import Conflict, UntrustedBundle
from holdfast.store import files

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.artefact import Artefact
    from holdfast.canonical import Json
    from holdfast.daemon.services import Services

MAX_CONTEXT = 8192  # tokens of one sequence; each further one costs memory in every sequence's cache
MAX_CONFIG = 2**20  # bytes of config.json


def settings(
    services: Services,
    base: Artefact,
    tokenizer: Artefact,
    gguf: Artefact,
    pairs: list[tuple[Artefact, Artefact]],
) -> tuple[dict[str, Path], dict[str, Json]]:
    """Write what a serve worker is told.

    Args:
        services: The daemon's parts.
        base: The base.
        tokenizer: Its tokenizer and chat template.
        gguf: The quantized base.
        pairs: Adapters, each with its GGUF.

    Returns:
        The folders that it sees, by name, and ``serving.spec.Settings`` as plain data.
    """
    inputs = {
        "model0": services.store.folder(gguf.digest),
        "tokenizer0": services.store.folder(tokenizer.digest),
    }
    adapters: list[Json] = []
    for at, (adapter, lora) in enumerate(pairs):
        inputs[f"adapter{at}"] = services.store.folder(lora.digest)
        adapters.append(
            {
                "id": adapter.name,
                "path": f"/in/adapter{at}/adapter.gguf",
                "digest": lora.digest,
                "label": lora.label.to_json(),
                "scale": 1.0,
            }
        )
    templated = any(file.path == "chat_template.jinja" for file in tokenizer.files)
    told: dict[str, Json] = {
        "models": [
            {
                "id": base.name,
                "path": f"/in/model0/{gguf.files[0].path}",
                "template": "/in/tokenizer0/chat_template.jinja" if templated else None,
                "context": min(_positions(services, base), MAX_CONTEXT),
                "digest": gguf.digest,
                "label": gguf.label.join(tokenizer.label).to_json(),
                "adapters": adapters,
            }
        ]
    }
    return inputs, told


def uses(
    base: Artefact, tokenizer: Artefact, gguf: Artefact, pairs: list[tuple[Artefact, Artefact]]
) -> dict[str, tuple[str, ...]]:
    """Tell what each model id is made of.

    Args:
        base: The base.
        tokenizer: Its tokenizer.
        gguf: The quantized base.
        pairs: Adapters, each with its GGUF.

    Returns:
        Digests, by the model id.
    """
    alone = (gguf.digest, base.digest, tokenizer.digest)
    adapted = {
        f"{base.name}:{adapter.name}": (*alone, lora.digest, adapter.digest) for adapter, lora in pairs
    }
    return {base.name: alone, **adapted}


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


def listed(told: dict[str, Json]) -> list[dict[str, Json]]:
    """List the model ids that a worker offers.

    Args:
        told: Its settings.

    Returns:
        For each its ``id``, ``digest`` and ``label``.
    """
    found: list[dict[str, Json]] = []
    models = told["models"]
    for model in models if isinstance(models, list) else []:
        if isinstance(model, dict):
            found.append({"id": model["id"], "digest": model["digest"], "label": model["label"]})
            adapters = model["adapters"]
            found += [
                {"id": f"{model['id']}:{one['id']}", "digest": one["digest"], "label": one["label"]}
                for one in (adapters if isinstance(adapters, list) else [])
                if isinstance(one, dict)
            ]
    return found


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
