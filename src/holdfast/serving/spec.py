"""What is served, and within which bounds. Pure: read by the daemon, the clients and the serve worker alike.

Model ids are ``base`` for a model alone and ``base:adapter`` for a model with an adapter; names therefore hold no colon. An
alias is one more id for one of them: that of a release. What only aliases lead to is computed, but not offered by an id of its
own. Invariants: ids are unique, aliases among them; every alias leads to something; an answer's label is the join of its
model's and its adapter's, so a pair that no zone may hold is refused here, before anything is loaded; every limit lies within
the bounds below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from holdfast import hashing
from holdfast.artefact import is_name
from holdfast.errors import UntrustedInput, UntrustedRequest
from holdfast.governance import labels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.governance.labels import Label

MAX_MODELS = 16  # models of one worker; each holds its weights in memory
MAX_ADAPTERS = 64  # adapters of one model; each has a context of its own, hence a cache of its own
MAX_ALIASES = 32  # of one worker; with every other id they must fit into the event that lists them
MAX_CONTEXT = 2**20  # tokens; the longest that any known model was trained on
MAX_PARALLEL = 64  # sequences of one context; beyond it a step takes longer than people wait for a token
MAX_QUEUE = 4096  # requests waiting per model id; their texts are held in memory
MIN_BODY = 4 * 2**10  # bytes; a question of a page must fit
MAX_BODY = 960 * 2**10  # bytes of one request; with its settings it must fit into a sealed payload of 1 MiB
MAX_SCALE = 16.0  # of an adapter; larger ones drown the model

SEPARATOR = ":"


def _named(value: str) -> str:
    if not is_name(value):
        raise ValueError("is not a short printable name without / : @")
    return value


def _digest(value: str) -> str:
    return hashing.parse(value)


def _label(value: dict[str, object]) -> dict[str, object]:
    return dict(labels.parse(value).to_json())


Name = Annotated[str, AfterValidator(_named)]
DigestText = Annotated[str, AfterValidator(_digest)]
LabelData = Annotated[dict[str, object], AfterValidator(_label)]
Path = Annotated[str, Field(min_length=1, max_length=4096)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class AdapterSpec(_Part):
    """A LoRA adapter in GGUF form, applied on top of one model."""

    id: Name
    path: Path
    digest: DigestText
    label: LabelData
    scale: Annotated[float, Field(gt=0, le=MAX_SCALE)] = 1.0
    offered: bool = True


class ModelSpec(_Part):
    """A model in GGUF form and the adapters that may be chosen with it.

    ``context`` is in tokens, prompt and answer together. ``template`` is a chat template's file; without one, the
    template in the GGUF metadata is used. What is not ``offered`` is reached by an alias alone.
    """

    id: Name
    path: Path
    digest: DigestText
    label: LabelData
    context: Annotated[int, Field(ge=16, le=MAX_CONTEXT)]
    template: Path | None = None
    offered: bool = True
    adapters: Annotated[tuple[AdapterSpec, ...], Field(max_length=MAX_ADAPTERS, strict=False)] = ()


class AliasSpec(_Part):
    """A released name: which model id it stands for, and by which release (the number of its request)."""

    id: Name
    of: Annotated[str, Field(min_length=1, max_length=260)]
    release: Annotated[int, Field(ge=0, lt=2**53)]


class Limits(_Part):
    """How much one request, and all of them together, may take."""

    prompt_tokens: Annotated[int, Field(ge=1, le=MAX_CONTEXT)] = 32_768
    new_tokens: Annotated[int, Field(ge=1, le=MAX_CONTEXT)] = 4096
    parallel: Annotated[int, Field(ge=1, le=MAX_PARALLEL)] = 8
    queue: Annotated[int, Field(ge=0, le=MAX_QUEUE)] = 64
    body_bytes: Annotated[int, Field(ge=MIN_BODY, le=MAX_BODY)] = 512 * 2**10


class Settings(_Part):
    """All that a serve worker is told about what it serves."""

    models: Annotated[tuple[ModelSpec, ...], Field(min_length=1, max_length=MAX_MODELS, strict=False)]
    aliases: Annotated[tuple[AliasSpec, ...], Field(max_length=MAX_ALIASES, strict=False)] = ()
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        places = [choice.id for choice in choices(self)]
        lost = sorted({alias.of for alias in self.aliases} - set(places))
        if lost:
            raise ValueError(f"an alias stands for {', '.join(lost)}, which is not there")
        ids = places + [alias.id for alias in self.aliases]
        doubles = sorted({name for name in ids if ids.count(name) > 1})
        if doubles:
            raise ValueError(f"two models, adapters or aliases are called {', '.join(doubles)}")
        return self


class Choice:
    """One model id that a client may name.

    ``place`` is the id of what computes: the same, but for an alias.

    Args:
        model: The model.
        adapter: The adapter on top; None for the model alone.
        alias: The released name by which it is called, if it is.

    Raises:
        UntrustedInput: If the labels of the two share no zone.
    """

    def __init__(self, model: ModelSpec, adapter: AdapterSpec | None, alias: AliasSpec | None = None) -> None:
        self.model = model
        self.adapter = adapter
        self.place = model.id if adapter is None else f"{model.id}{SEPARATOR}{adapter.id}"
        self.id = self.place if alias is None else alias.id
        self.release = None if alias is None else alias.release
        own = labels.parse(model.label)
        self.label: Label = own if adapter is None else own.join(labels.parse(adapter.label))


def choices(settings: Settings) -> Iterator[Choice]:
    """List everything that computes answers.

    Args:
        settings: What is served.

    Yields:
        Each model alone, then with each of its adapters.
    """
    for model in settings.models:
        yield Choice(model, None)
        for adapter in model.adapters:
            yield Choice(model, adapter)


def offered(settings: Settings) -> Iterator[Choice]:
    """List every model id that a client may name.

    Args:
        settings: What is served.

    Yields:
        The aliases, then each model alone and with each of its adapters, but for what only an alias leads to.
    """
    places = {choice.place: choice for choice in choices(settings)}
    for alias in settings.aliases:
        found = places[alias.of]
        yield Choice(found.model, found.adapter, alias)
    for choice in places.values():
        if choice.model.offered and (choice.adapter is None or choice.adapter.offered):
            yield choice


def parse(value: object) -> Settings:
    """Read settings from plain data.

    Args:
        value: What ``Settings.model_dump(mode="json")`` gives.

    Returns:
        The settings.

    Raises:
        UntrustedRequest: If a field is missing, unknown, of the wrong type or out of bounds; the message names it.
    """
    try:
        return Settings.model_validate(value)
    except UntrustedInput as error:  # from labels and digests: says what is wrong, but not who is at fault
        raise UntrustedRequest(error.key, error.message, remedy=error.remedy) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "settings"
        raise UntrustedRequest(
            "serve.settings",
            f"What is to be served is refused: {where}: {first['msg']}.",
            remedy="See holdfast.serving.spec for the fields and their bounds.",
            field=where,
        ) from error
