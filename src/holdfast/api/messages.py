"""Requests that clients send, strictly typed: an unknown or missing field is refused by name."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_BODY = 4 * 2**20  # bytes of one JSON request; uploads have their own route and bound
MAX_UPLOAD = 64 * 2**30  # bytes of one uploaded file; a training set of a whole administration fits
MAX_EXAMPLES = 100  # of one suite and direction in a comparison; each has some texts of 1000 characters
MAX_SQL = 16_384  # characters of one query; the event that records it has 65,535 bytes
AUTH_SCHEME = "Holdfast"

Text = Annotated[str, Field(min_length=1, max_length=4096)]
Short = Annotated[str, Field(min_length=1, max_length=256)]
Reason = Annotated[str, Field(min_length=1, max_length=1000)]
Paths = Annotated[dict[Short, Short], Field(max_length=1000)]


class Message(BaseModel):
    """Base of all requests."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ChallengeRequest(Message):
    """Ask for a challenge to sign."""

    person: Short


class SessionRequest(Message):
    """Answer a challenge."""

    person: Short
    challenge: Short
    signatures: list[dict[str, str]] = Field(max_length=8)


class ImportRequest(Message):
    """Import a medium that lies beneath a configured media root."""

    path: Text


class ApprovalRequest(Message):
    """A second person's decision, signed."""

    statement: dict[str, str | int]
    signatures: list[dict[str, str]] = Field(max_length=8)


class AdmitRequest(ApprovalRequest):
    """A second person's admission, signed."""

    reason: Reason | None = None


class RejectRequest(ApprovalRequest):
    """A second person's refusal, signed."""

    reason: Reason


class DiscardRequest(Message):
    """Give up an import: its number, or its manifest's digest."""

    named: Short


class CollectRequest(Message):
    """Remove old generations, and artefacts that nothing needs."""

    keep: Annotated[int, Field(ge=1, le=1000)] = 3
    dry_run: bool = False


class RollbackRequest(Message):
    """Go back to an earlier generation; the one before if none is named."""

    generation: Annotated[int, Field(ge=1)] | None = None


class RefuseRequest(Message):
    """A refusal of an exception or an inventory."""

    reason: Reason


class ExceptionRequest(Message):
    """Ask for an exception: until a time, or for some days."""

    kind: Literal["expired", "revoked", "floor"]
    subject: Short
    until: Short | None = None
    days: Annotated[int, Field(ge=1, le=30)] | None = None
    reason: Reason

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if (self.until is None) == (self.days is None):
            raise ValueError("give either until or days")
        return self


class UnsealRequest(Message):
    """Ask for the texts of an answer to be opened; ``answer`` is its sequence number in the audit log."""

    answer: Annotated[int, Field(ge=0, lt=2**53)]
    reason: Reason


class EraseRequest(Message):
    """Ask for a tenant's subject to be erased; an empty subject is what the tenant asked for nobody by name."""

    tenant: Short
    subject: Annotated[str, Field(max_length=256)]
    reason: Reason


class RetentionRequest(Message):
    """Ask for a class of payloads to be kept for some days, or for good."""

    payload_class: Literal["prompt", "answer"] = Field(alias="class")
    days: Annotated[int, Field(ge=1, le=36_500)] | None
    reason: Reason


class InventoryRequest(Message):
    """Make an inventory for a publisher: of the artefacts named, or of all that a publisher may build upon."""

    artefacts: list[Short] = Field(default_factory=list, max_length=1000)


class DatasetRequest(Message):
    """Prepare a data set. ``files`` are paths beneath the recipe, and the uploads of this session that hold them."""

    name: Short
    version: Short
    method: Literal["sft", "cpt", "dpo"]
    format: Literal["jsonl", "parquet", "csv", "text"] | None = None
    folder: bool = False
    columns: Annotated[dict[Short, Short], Field(max_length=8)] = Field(default_factory=dict)
    heldout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    role: Literal["domain", "rehearsal"]
    licence: Text
    label: dict[Short, Short | list[Short]]
    files: Annotated[dict[Short, Short], Field(min_length=1, max_length=10_000)]
    quarantine: bool = False
    suites: Annotated[list[Short], Field(max_length=64)] = Field(default_factory=list)
    over: Annotated[int, Field(ge=1, lt=2**53)] | None = None


class TrainRequest(Message):
    """Start a run, or estimate one. ``recipe`` names an upload of this session, the values of ``data`` prepared data sets."""

    recipe: Short
    file: Short
    data: Paths
    model: Short
    quarantine: bool = False


class ReplayRequest(Message):
    """Run a recorded run again; ``anyway`` also where the environment differs."""

    anyway: bool = False


class QuantizeRequest(Message):
    """Make GGUF files of a model, and of an adapter if one is named.

    ``types`` are all kept; without any, or with a floor or a ceiling, the smallest that keeps them is. ``memory`` is in bytes.
    ``table`` measures and keeps nothing but the table.
    """

    model: Short
    adapter: Short | None = None
    types: list[Short] = Field(default_factory=list, max_length=64)
    calibration: Short | None = None
    overrides: list[Short] = Field(default_factory=list, max_length=64)
    floor_kl: Annotated[float, Field(ge=0.0, le=100.0)] | None = None
    floor_top1: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    floor_cosine: Annotated[float, Field(ge=-1.0, le=1.0)] | None = None
    memory: Annotated[int, Field(ge=1, lt=2**53)] | None = None
    table: bool = False
    suite: Short | None = None


class MergeRequest(Message):
    """Merge an adapter into its base; the adapter by name, digest or its run's number."""

    model: Short
    adapter: Short


class GateRequest(Message):
    """Evaluate a run before and after, on both engines, and decide its gates."""

    quantization: Short | None = None  # the smallest that keeps the stated floor


class EvaluateRequest(Message):
    """Run one suite on one model."""

    suite: Short
    model: Short
    adapter: Short | None = None
    engine: Literal["transformers", "gguf"] = "transformers"
    quantization: Short | None = None  # the smallest that keeps the stated floor


class ProposeRequest(Message):
    """Propose a run for release, under an alias; under its recipe's name if none is given."""

    run: Short
    alias: Short | None = None


class ReleaseRollbackRequest(Message):
    """Let an alias stand for an earlier release again; for the one before if none is named."""

    alias: Short
    to: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    reason: Reason


class LoadRequest(Message):
    """Serve one more base, or more adapters of one that is served; or bring back what was taken out."""

    model: Short
    adapters: list[Short] = Field(default_factory=list, max_length=64)
    quantization: Short | None = None  # the smallest that keeps the stated floor


class UnloadRequest(Message):
    """Serve a base, or an adapter of one, no more: ``base``, ``base:adapter`` or ``base:adapter@version``."""

    model: Annotated[str, Field(min_length=1, max_length=400)]


class ServeRequest(LoadRequest):
    """Begin to serve a base and the adapters named, quantized; what is left out is as the site says."""

    host: Short | None = None
    port: Annotated[int, Field(ge=0, lt=65536)] | None = None
    context: Annotated[int, Field(ge=16, le=2**20)] | None = None  # tokens of one sequence
    parallel: Annotated[int, Field(ge=1, le=64)] | None = None  # sequences side by side
    kv: Literal["f16", "q8_0"] | None = None
    memory_gb: Annotated[float, Field(gt=0, le=1e5)] | None = None


class KeyRequest(Message):
    """Create an application's key."""

    tenant: Short
    models: list[Annotated[str, Field(min_length=1, max_length=400)]] = Field(
        default_factory=list, max_length=64
    )
    level: Literal["public", "internal", "restricted", "secret"] = "public"
    compartments: list[Short] = Field(default_factory=list, max_length=64)
    scopes: list[Literal["inference", "metrics"]] = Field(default_factory=list, max_length=2)
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    tokens_per_day: Annotated[int, Field(ge=1)] | None = None
    parallel: Annotated[int, Field(ge=1)] | None = None


class _Question(Message):
    """One SELECT over the index of the audit log: its text, or the name of a saved one."""

    sql: Annotated[str, Field(min_length=1, max_length=MAX_SQL)] | None = None
    saved: Short | None = None
    parameters: Annotated[dict[Short, Annotated[str, Field(max_length=1000)]], Field(max_length=32)] = Field(
        default_factory=dict
    )

    @model_validator(mode="after")
    def _one_text(self) -> Self:
        if (self.sql is None) == (self.saved is None):
            raise ValueError("give either sql or saved")
        return self


class SqlRequest(_Question):
    """Answer a SELECT with as many rows as a message takes."""

    limit: Annotated[int, Field(ge=1, le=100_000)] = 1000


class ResultRequest(_Question):
    """Answer a SELECT into files."""

    formats: list[Literal["csv", "jsonl", "parquet"]] = Field(min_length=1, max_length=3)
    limit: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000_000


class QueryRequest(Message):
    """Save a SELECT under a name."""

    name: Short
    sql: Annotated[str, Field(min_length=1, max_length=MAX_SQL)]
    about: Annotated[str, Field(min_length=1, max_length=500)] | None = None


class ExportRequest(Message):
    """Export a range of the log, and the rows of it that fit a filter."""

    first: Annotated[int, Field(ge=0)] | None = None
    until: Annotated[int, Field(ge=1)] | None = None
    filter: dict[Literal["action", "person", "role", "kind", "digest", "since", "until"], Short] | None = None
    formats: list[Literal["jsonl", "csv", "parquet"]] = Field(default_factory=list, max_length=3)


class ArchiveRequest(Message):
    """Copy the whole segments of the log that end before an event."""

    until: Annotated[int, Field(ge=1)]


class ForgetRequest(Message):
    """Remove what an archive holds: shown by the digest of the files of a copy of it."""

    manifest: Annotated[str, Field(pattern=r"^sha512:[0-9a-f]{128}$")]


class CheckpointRequest(Message):
    """Hand out a checkpoint; for a witness, with the proof from a size, the one that it cosigned last if none is given."""

    witness: Short | None = None
    old: Annotated[int, Field(ge=0, lt=2**53)] | None = None


class WitnessRequest(Message):
    """Add a witness by its verifier keys."""

    name: Short
    keys: Text


class CosignedRequest(Message):
    """A checkpoint that a witness cosigned."""

    note: Annotated[str, Field(min_length=1, max_length=65_536)]
