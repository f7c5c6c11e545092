"""Requests that clients send, strictly typed: an unknown or missing field is refused by name."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_BODY = 4 * 2**20  # bytes of one JSON request; uploads have their own route and bound
MAX_UPLOAD = 64 * 2**30  # bytes of one uploaded file; a training set of a whole administration fits
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


class InventoryRequest(Message):
    """Make an inventory for a publisher: of the artefacts named, or of all that a publisher may build upon."""

    artefacts: list[Short] = Field(default_factory=list, max_length=1000)


class TrainRequest(Message):
    """Start a run. ``recipe`` and the values of ``data`` name uploads of this session."""

    recipe: Short
    file: Short
    data: Paths
    model: Short


class ConvertRequest(Message):
    """Make GGUF files of a base, and of an adapter if one is named."""

    model: Short
    adapter: Short | None = None
    quantizations: list[Literal["q8_0", "q4_k_m"]] = Field(min_length=1, max_length=8)


class GateRequest(Message):
    """Evaluate a run before and after, on both engines, and decide its gates."""

    quantization: Literal["f16", "q8_0", "q4_k_m"] = "q8_0"


class EvaluateRequest(Message):
    """Run one suite on one model."""

    suite: Short
    model: Short
    adapter: Short | None = None
    engine: Literal["transformers", "gguf"] = "transformers"
    quantization: Literal["f16", "q8_0", "q4_k_m"] = "q8_0"


class ServeRequest(Message):
    """Serve a base and the adapters named, quantized."""

    model: Short
    adapters: list[Short] = Field(default_factory=list, max_length=64)
    quantization: Literal["f16", "q8_0", "q4_k_m"] = "q8_0"
    host: Short | None = None
    port: Annotated[int, Field(ge=0, lt=65536)] | None = None


class KeyRequest(Message):
    """Create an application's key."""

    tenant: Short
    models: list[Short] = Field(default_factory=list, max_length=64)
    level: Literal["public", "internal", "restricted", "secret"] = "public"
    compartments: list[Short] = Field(default_factory=list, max_length=64)


class SqlRequest(Message):
    """One SELECT over the index of the audit log."""

    sql: Annotated[str, Field(min_length=1, max_length=100_000)]
    limit: Annotated[int, Field(ge=1, le=100_000)] = 1000
