"""The founding document of a site: ``site.toml``.

It is read once, when a home is founded, and recorded in full as ``site.founded``; afterwards the log is what counts.
Invariants: unknown keys are refused; every key file named is read beneath the document's own folder. Pure: bytes in,
record out.
"""

from __future__ import annotations

import tomllib
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from holdfast.artefact import is_safe_path
from holdfast.errors import UntrustedInput
from holdfast.serving import spec as serving
from holdfast.serving.spec import KeyValues, Origin

MAX_SITE = 256 * 1024  # bytes; a site with a thousand people fits
MIN_RESERVE = 2**20  # bytes; room to say that the log stopped, and for the outcomes of acts under way
MAX_SPACE = 2**50  # bytes of a threshold; a figure that no disk can meet is a slip of the pen
MAX_WATTS = 1000.0  # of one core; no processor draws as much
MAX_PRICE = 1e6  # of a kilowatt-hour, in any currency

MAX_PEM = 2**20  # bytes of one file; a chain, or a site's authorities, have some kilobytes each
MAX_MEMORY = 1e5  # GB that serving may take; a figure that no machine has is a slip of the pen


def _beneath(value: str) -> str:
    if not is_safe_path(value):
        raise ValueError("is not a plain path relative to this document's folder")
    return value


Beneath = Annotated[str, AfterValidator(_beneath)]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PersonEntry(_Strict):
    """One ``[[person]]``."""

    name: Name
    roles: list[Literal["administrator", "operator", "auditor"]] = Field(min_length=1)
    key: str = Field(min_length=1, max_length=240)
    uids: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field(min_length=1)


class TlsEntry(_Strict):
    """The ``[serving.tls]`` table: PEM files beneath the document's own folder.

    ``certificate`` holds the server's certificate and its chain, ``key`` its private key without a passphrase, ``clients`` the
    authorities whose certificates an application must show; without it none is asked for.
    """

    certificate: Beneath
    key: Beneath
    clients: Beneath | None = None


class ServingEntry(_Strict):
    """The ``[serving]`` table: where applications are served, by which rules, and what it may take."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, lt=65536)] = 8600
    tls: TlsEntry | None = None
    cors_origins: Annotated[list[Origin], Field(max_length=serving.MAX_ORIGINS)] = Field(default_factory=list)
    open_health: bool = False
    memory_gb: Annotated[float, Field(gt=0, le=MAX_MEMORY)] | None = None
    context: Annotated[int, Field(ge=16, le=serving.MAX_CONTEXT)] = 8192
    parallel: Annotated[int, Field(ge=1, le=serving.MAX_PARALLEL)] = 8
    queue: Annotated[int, Field(ge=0, le=serving.MAX_QUEUE)] = 64
    kv: KeyValues = "f16"
    mmap: bool = True
    mlock: bool = False
    keep_seconds: Annotated[float, Field(ge=0, le=serving.MAX_KEEP)] = 600.0
    answer_seconds: Annotated[float, Field(gt=0, le=serving.MAX_ANSWER)] = 1800.0


class AuditEntry(_Strict):
    """The ``[audit]`` table: how often the daemon says that it lives, and what space the log is left."""

    heartbeat_seconds: Annotated[int, Field(ge=1, le=3600)] = 60
    low_space_bytes: Annotated[int, Field(ge=0, le=MAX_SPACE)] = 512 * 2**20
    reserve_bytes: Annotated[int, Field(ge=MIN_RESERVE, le=MAX_SPACE)] = 64 * 2**20

    @model_validator(mode="after")
    def _ordered(self) -> AuditEntry:
        if self.low_space_bytes < self.reserve_bytes:
            raise ValueError(
                "low_space_bytes is less than reserve_bytes: nobody would be warned before acts stop"
            )
        return self


class EnergyEntry(_Strict):
    """The ``[energy]`` table: what stands in for a meter where there is none, and what a kilowatt-hour costs here."""

    watts_per_core: Annotated[float, Field(gt=0, le=MAX_WATTS)] = 15.0
    price_per_kwh: Annotated[float, Field(ge=0, le=MAX_PRICE)] | None = None
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "EUR"  # ISO 4217


class Site(_Strict):
    """The document."""

    schema_: Literal["holdfast.site/1"] = Field(alias="schema")
    name: Name
    zones: list[Name] = Field(min_length=1)
    media_roots: list[str] = Field(min_length=1)
    gaps: list[str] = Field(default_factory=list)
    threads: Annotated[int, Field(ge=1, le=1024)] = 2
    serving: ServingEntry = ServingEntry()
    audit: AuditEntry = AuditEntry()
    energy: EnergyEntry = EnergyEntry()
    person: list[PersonEntry] = Field(min_length=1)

    @field_validator("media_roots")
    @classmethod
    def _absolute(cls, value: list[str]) -> list[str]:
        if not value or not all(root.startswith("/") and "\0" not in root for root in value):
            raise ValueError("expected absolute paths, at least one")
        return value

    @field_validator("person")
    @classmethod
    def _distinct(cls, value: list[PersonEntry]) -> list[PersonEntry]:
        if len({one.name for one in value}) != len(value):
            raise ValueError("two people have the same name")
        return value


def parse(data: bytes, *, file: str) -> Site:
    """Read a founding document.

    Args:
        data: The bytes of the file, at most ``MAX_SITE``.
        file: Its name, for the message.

    Returns:
        The document.

    Raises:
        UntrustedInput: With every mistake found, one per line.
    """
    if len(data) > MAX_SITE:
        raise _bad(file, f"it has {len(data)} bytes; {MAX_SITE} are allowed")
    try:
        return Site.model_validate(tomllib.loads(data.decode("utf-8")))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _bad(file, str(error)) from error
    except ValidationError as error:
        mistakes = "; ".join(
            f"{'.'.join(str(part) for part in mistake['loc'])}: {mistake['msg']}"
            for mistake in error.errors()
        )
        raise _bad(file, mistakes) from error


def _bad(file: str, why: str) -> UntrustedInput:
    return UntrustedInput(
        "site.form",
        f"{file} is refused: {why}.",
        remedy="See docs/site.md for the fields of a site document.",
    )
