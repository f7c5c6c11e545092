"""What is served, and within which bounds. Pure: read by the daemon, the clients, the front and the engines alike.

Model ids are ``base`` for a model alone, ``base:adapter`` for a model with an adapter, and ``base:adapter@version`` for a
certain version of it; names and versions therefore hold neither colon nor at sign. Of two versions of one adapter the last one
listed is meant where no version is named. An alias is one more id for one of them: that of a release. What only aliases lead to
is computed, but not offered by an id of its own. Invariants: ids are unique, aliases among them; every alias leads to something;
an answer's label is the join of its model's and its adapter's, so a pair that no zone may hold is refused here, before anything
is loaded; a model's weights and chat template belong to one engine, and one engine to one model; every limit lies within the
bounds below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from holdfast import hashing
from holdfast.artefact import is_name
from holdfast.errors import UntrustedInput, UntrustedRequest
from holdfast.governance import labels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.governance.labels import Label

MAX_MODELS = 16  # models served at once; each has an engine, which holds its weights in memory
MAX_ADAPTERS = 64  # adapters of one model; each has a context of its own, hence a cache of its own
MAX_ALIASES = 32  # served at once; with every other id they must fit into the event that lists them
MAX_CONTEXT = 2**20  # tokens; the longest that any known model was trained on
MAX_PARALLEL = 64  # sequences of one context; beyond it a step takes longer than people wait for a token
MAX_QUEUE = 4096  # requests waiting per model; their texts are held in memory
MIN_BODY = 4 * 2**10  # bytes; a question of a page must fit
MAX_BODY = 960 * 2**10  # bytes of one request; with its settings it must fit into a sealed payload of 1 MiB
MAX_SCALE = 16.0  # of an adapter; larger ones drown the model
MAX_KEEP = 86_400.0  # seconds that a cached prefix may lie unused: a day, after which nobody comes back to it
MAX_ANSWER = 86_400.0  # seconds of one answer: a day; longer ones are a mistake of the client's
MAX_ORIGINS = 32  # web origins that may call from a browser; they are compared one by one at every request
MAX_ORIGIN = 256  # characters of one

SEPARATOR = ":"
AT = "@"

KeyValues = Literal["f16", "q8_0"]  # how the cache holds keys and values; q8_0 takes about half the memory


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
Origin = Annotated[str, Field(max_length=MAX_ORIGIN, pattern=r"^https?://[A-Za-z0-9.\-\[\]:]+$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


P = TypeVar("P", bound=_Part)


class AdapterSpec(_Part):
    """A LoRA adapter in GGUF form, applied on top of one model.

    Its file reaches the engine by a descriptor, under the name of its ``lane``.
    """

    id: Name
    version: Name
    digest: DigestText
    label: LabelData
    scale: Annotated[float, Field(gt=0, le=MAX_SCALE)] = 1.0
    offered: bool = True

    @property
    def lane(self) -> str:
        """What an engine calls this file at this scale."""
        return f"{self.digest}@{self.scale!r}"


class ModelSpec(_Part):
    """A model in GGUF form and the adapters that may be chosen with it.

    ``engine`` names the worker that computes with it. ``context`` is in tokens, prompt and answer together. ``path`` and
    ``template``, a chat template's file, are places in that worker's view; without a template, the one in the GGUF metadata is
    used. ``kv`` is how its caches hold keys and values. With ``mmap`` the weights are mapped instead of read, with ``mlock`` they
    are kept from being swapped out. What is not ``offered`` is reached by an alias alone.
    """

    id: Name
    engine: Name
    path: Path
    digest: DigestText
    label: LabelData
    context: Annotated[int, Field(ge=16, le=MAX_CONTEXT)]
    template: Path | None = None
    kv: KeyValues = "f16"
    mmap: bool = True
    mlock: bool = False
    offered: bool = True
    adapters: Annotated[tuple[AdapterSpec, ...], Field(max_length=MAX_ADAPTERS, strict=False)] = ()


class AliasSpec(_Part):
    """A released name: which model id it stands for, and by which release (the number of its request)."""

    id: Name
    of: Annotated[str, Field(min_length=1, max_length=390)]
    release: Annotated[int, Field(ge=0, lt=2**53)]


class Limits(_Part):
    """How much one request, and all of them together, may take.

    ``parallel`` counts the sequences that a model computes side by side, ``queue`` the requests that wait for one of them.
    A cached prefix that lay unused for ``keep_seconds`` is wiped. An answer ends ``answer_seconds`` after its request was
    accepted, whether it is whole or not.
    """

    prompt_tokens: Annotated[int, Field(ge=1, le=MAX_CONTEXT)] = 32_768
    new_tokens: Annotated[int, Field(ge=1, le=MAX_CONTEXT)] = 4096
    parallel: Annotated[int, Field(ge=1, le=MAX_PARALLEL)] = 8
    queue: Annotated[int, Field(ge=0, le=MAX_QUEUE)] = 64
    body_bytes: Annotated[int, Field(ge=MIN_BODY, le=MAX_BODY)] = 512 * 2**10
    keep_seconds: Annotated[float, Field(ge=0, le=MAX_KEEP)] = 600.0
    answer_seconds: Annotated[float, Field(gt=0, le=MAX_ANSWER)] = 1800.0


class Access(_Part):
    """How applications reach the front.

    With ``tls`` it speaks TLS alone, by the certificate and key in its view; with ``clients`` an application must also show a
    certificate that the authorities in its view signed. ``origins`` are the web origins that may call from a browser; without
    any, no page may. ``open_health`` lets ``/health`` be asked without a key.
    """

    tls: bool = False
    clients: bool = False
    origins: Annotated[tuple[Origin, ...], Field(max_length=MAX_ORIGINS, strict=False)] = ()
    open_health: bool = False

    @model_validator(mode="after")
    def _over_tls(self) -> Self:
        if self.clients and not self.tls:
            raise ValueError("certificates of clients are asked for over TLS alone")
        return self


class Settings(_Part):
    """All that the front is told about what it serves.

    Without any model it answers nothing but says so.
    """

    models: Annotated[tuple[ModelSpec, ...], Field(max_length=MAX_MODELS, strict=False)]
    aliases: Annotated[tuple[AliasSpec, ...], Field(max_length=MAX_ALIASES, strict=False)] = ()
    limits: Limits = Limits()
    access: Access = Access()

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        places = [choice.place for choice in choices(self)]
        lost = sorted({alias.of for alias in self.aliases} - set(places))
        if lost:
            raise ValueError(f"an alias stands for {', '.join(lost)}, which is not there")
        names = [model.id for model in self.models] + [alias.id for alias in self.aliases]
        doubles = sorted({name for one in (names, places) for name in one if one.count(name) > 1})
        if doubles:
            raise ValueError(f"two models, adapters or aliases are called {', '.join(doubles)}")
        engines = [model.engine for model in self.models]
        if len(set(engines)) < len(engines):
            raise ValueError("two models share one engine")
        return self


class Choice:
    """One model id that a client may name.

    ``place`` is the id of what computes: the model's, or the model's with adapter and version. ``lane`` is what the engine
    calls it; the empty text for the model alone.

    Args:
        model: The model.
        adapter: The adapter on top; None for the model alone.
        called: The id by which it is called, if it is not that of its place.
        release: The release that gave it this id, if one did.

    Raises:
        UntrustedInput: If the labels of the two share no zone.
    """

    def __init__(
        self,
        model: ModelSpec,
        adapter: AdapterSpec | None,
        called: str | None = None,
        release: int | None = None,
    ) -> None:
        self.model = model
        self.adapter = adapter
        self.place = model.id
        self.lane = ""
        own = labels.parse(model.label)
        self.label: Label = own
        if adapter is not None:
            self.place = f"{model.id}{SEPARATOR}{adapter.id}{AT}{adapter.version}"
            self.lane = adapter.lane
            self.label = own.join(labels.parse(adapter.label))
        self.id = called or self.place
        self.release = release


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
        The aliases; then each model alone, with each of its adapters, and with each version of them, but for what only an
        alias leads to.
    """
    places = {choice.place: choice for choice in choices(settings)}
    for alias in settings.aliases:
        found = places[alias.of]
        yield Choice(found.model, found.adapter, alias.id, alias.release)
    for model in settings.models:
        if not model.offered:
            continue
        yield Choice(model, None)
        named = {
            adapter.id: adapter for adapter in model.adapters if adapter.offered
        }  # of versions, the last
        for name, adapter in named.items():
            yield Choice(model, adapter, f"{model.id}{SEPARATOR}{name}")
        for adapter in model.adapters:
            if adapter.offered:
                yield Choice(model, adapter)


def parse(value: object) -> Settings:
    """Read settings from plain data.

    Args:
        value: What ``Settings.model_dump(mode="json")`` gives.

    Returns:
        The settings.

    Raises:
        UntrustedRequest: If a field is missing, unknown, of the wrong type or out of bounds; the message names it.
    """
    return _read(Settings, value)


def parse_model(value: object) -> ModelSpec:
    """Read one model from plain data.

    Args:
        value: What ``ModelSpec.model_dump(mode="json")`` gives.

    Returns:
        The model.

    Raises:
        UntrustedRequest: As ``parse``.
    """
    return _read(ModelSpec, value)


def parse_limits(value: object) -> Limits:
    """Read limits from plain data.

    Args:
        value: What ``Limits.model_dump(mode="json")`` gives.

    Returns:
        The limits.

    Raises:
        UntrustedRequest: As ``parse``.
    """
    return _read(Limits, value)


def _read(kind: type[P], value: object) -> P:
    try:
        return kind.model_validate(value)
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
