"""Quantize and measure: the confined worker that makes a model's quality table, and the files that are kept of it.

Order of operations: the f16 file is read with our own reader, and overrides are resolved to tensors; its importance matrix is
computed, if it is to be calibrated; its logits on the held-out texts are laid down on disk; then one type after the other is
made, read with our own reader, compared, timed, and put to a suite; what is not to be kept is deleted before the next one is
made, so that the disk holds two candidates at the most. Invariants: what is kept was measured; nothing is kept where none keeps
the floor.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from holdfast.errors import UntrustedRequest, VerificationFailed
from holdfast.gguf import choice, quantizations, spec
from holdfast.workers.channel import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.canonical import Json
    from holdfast.evaluation.generate import Words
    from holdfast.evaluation.spec import Suite
    from holdfast.gguf.calibration import Texts
    from holdfast.gguf.choice import Closeness, Floor, Row
    from holdfast.gguf.contents import Contents
    from holdfast.gguf.importance import Collector, Importance
    from holdfast.gguf.model import GgufModel
    from holdfast.training.reporting import Reporter

IMPORTANCE = "importance.gguf"


class FloorOrder(BaseModel):
    """A floor, as plain data."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kl: float = Field(ge=0)
    top1: float = Field(ge=0, le=1)
    cosine: float = Field(ge=-1, le=1)


class QuantizeOrder(BaseModel):
    """What the daemon asks for.

    ``f16`` is the file to quantize; ``calibration`` the folder of a data set or a suite, and ``source`` its digest; ``suite`` the
    folder of one whose score is wanted, answered with the tokenizer and chat template in ``model``. Of what is made, ``keep``
    says whether all is kept, what is chosen by the floor, or nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    f16: Path
    out: Path
    types: tuple[str, ...] = Field(min_length=1, max_length=len(quantizations.NAMES))
    overrides: tuple[str, ...] = ()
    probe: tuple[str, ...] = Field(default=(), max_length=spec.MAX_PROBE_TEXTS)
    calibration: Path | None = None
    source: str = ""
    suite: Path | None = None
    model: Path | None = None
    embeds: bool = False
    floor: FloorOrder
    memory: int | None = None
    keep: Literal["all", "chosen", "none"]
    threads: int = Field(default=1, ge=1)


@dataclass
class _Work:
    """One order, being carried out."""

    channel: Reporter
    asked: QuantizeOrder
    floor: Floor
    texts: Texts | None
    suite: Suite | None
    words: Words | None
    contents: Contents
    types: dict[str, str]
    importance: Importance | None = None


def main(channel: Reporter, order: dict[str, Json]) -> dict[str, Json]:
    """Carry out one order.

    Args:
        channel: Where progress goes.
        order: A ``QuantizeOrder`` as plain data.

    Returns:
        ``table`` (figures by type, f16 among them), ``kept`` (the types whose files are in ``out``), ``chosen`` (the type that
        the floor chooses, or None), ``importance`` (tokens that the importance matrix was taken from, 0 without one) and
        ``finished``; after a cancellation ``finished`` alone, which is False.

    Raises:
        UntrustedRequest: If the order is malformed, or something that it names can't be done.
    """
    os.environ.update(spec.ENVIRONMENT)
    try:
        asked = QuantizeOrder.model_validate(order)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UntrustedRequest(
            "quantize.order", f"The order is malformed: {where}: {first['msg']}.", remedy="Correct the order."
        ) from error
    try:
        return _work(channel, asked)
    except Stopped:
        return {"finished": False}


def _work(channel: Reporter, asked: QuantizeOrder) -> dict[str, Json]:
    names = [quantizations.find(name).name for name in dict.fromkeys(asked.types)]
    if asked.f16.stat().st_size < spec.ONE_THREAD_BYTES:
        asked = asked.model_copy(update={"threads": 1})
    work = _open(channel, asked)
    steps = len(names) + 2
    if work.texts is not None:
        channel.progress("calibrate", 0, steps)
        work.importance = _calibrate(work)
    channel.progress("measure f16", 1, steps)
    compare, probe, whole = _baseline(work)
    rows: list[Row] = []
    for done, name in enumerate(names, start=2):
        channel.progress(f"quantize to {name}", done, steps)
        _stop_if_asked(channel)
        rows.append(_candidate(work, name, compare, probe))
        _drop(work, rows)
    (asked.out / "baseline").unlink(missing_ok=True)
    kept: list[Json] = [row.name for row in rows if (asked.out / f"{row.name}.gguf").is_file()]
    chosen = choice.choose(rows, work.floor, asked.memory)
    channel.progress("quantized", steps, steps)
    return {
        "table": {row.name: row.to_json(work.floor) for row in [whole, *rows]},
        "kept": kept,
        "chosen": None if chosen is None else chosen.name,
        "finished": True,
        "importance": 0 if work.importance is None else work.importance.tokens,
    }


def _open(channel: Reporter, asked: QuantizeOrder) -> _Work:
    from holdfast.evaluation import suitefolder
    from holdfast.evaluation.items import Tests
    from holdfast.gguf import calibration, contents

    suite = None if asked.suite is None else suitefolder.read(asked.suite)
    if suite is not None and (asked.embeds or any(isinstance(one.wanted, Tests) for one in suite.items)):
        raise UntrustedRequest(
            "quantize.suite",
            f"The suite {suite.spec.name} can't be put to each type: the model embeds, or answers are programs to be run.",
            remedy="Name another suite; evaluate the type that is kept with `holdfast eval run --engine gguf`.",
        )
    words = None
    if suite is not None and asked.model is not None:
        from holdfast.evaluation.words import open_words

        words = open_words(asked.model)
    found = contents.read(asked.f16)
    return _Work(
        channel,
        asked,
        choice.Floor(**asked.floor.model_dump()),
        None if asked.calibration is None else calibration.read(asked.calibration),
        suite,
        words,
        found,
        contents.resolve(found.tensors, quantizations.parse_overrides(asked.overrides)),
    )


def _calibrate(work: _Work) -> Importance:
    from holdfast.gguf import fidelity, importance
    from holdfast.gguf.model import GgufModel

    asked = work.asked
    texts = work.texts.calibrating if work.texts is not None else ()
    with GgufModel(asked.f16, asked.threads, embeds=asked.embeds) as model:
        lay = fidelity.whole_texts if asked.embeds else fidelity.chunks
        chunks = lay(model.token_ids, model.context, texts, importance.MAX_TOKENS)

    def opened(collector: Collector) -> GgufModel:
        return GgufModel(asked.f16, asked.threads, embeds=asked.embeds, collector=collector)

    def progress(done: int) -> None:
        work.channel.progress(f"calibrate: {done} of {sum(map(len, chunks))} tokens", 0, len(asked.types) + 2)
        _stop_if_asked(work.channel)

    found = importance.collect(opened, work.contents.matrices, chunks, progress)
    importance.write(found, asked.source, asked.out / IMPORTANCE)
    return found


def _baseline(work: _Work) -> tuple[Callable[[GgufModel], Closeness], list[int], Row]:
    """Measure the f16 model: what compares others with it, the tokens that speed is measured on, and its own line."""
    from holdfast.gguf import fidelity
    from holdfast.gguf.model import GgufModel

    asked = work.asked
    texts = asked.probe if work.texts is None else work.texts.held_out
    with GgufModel(asked.f16, asked.threads, embeds=asked.embeds) as f16:
        lay = fidelity.whole_texts if asked.embeds else fidelity.chunks
        probes = lay(f16.token_ids, f16.context, texts)
        longest = max(probes, key=len)
        compare: Callable[[GgufModel], Closeness]
        if asked.embeds:
            embeddings = fidelity.EmbeddingBaseline(f16.embedding, probes)
            compare = lambda model: embeddings.compare(model.embedding)  # noqa: E731 - one of two ways, side by side
        else:
            logits = fidelity.Baseline(f16.logits, probes, f16.vocabulary_size, asked.out / "baseline")
            compare = lambda model: logits.compare(model.logits)  # noqa: E731 - as above
        prefill, decode = f16.speed(longest)
    contents = work.contents
    row = choice.Row(
        spec.F16,
        contents.size,
        contents.bits_per_weight,
        None,
        prefill,
        None if asked.embeds else decode,
        _score(work, asked.f16),
    )
    return compare, longest, row


def _candidate(work: _Work, name: str, compare: Callable[[GgufModel], Closeness], probe: list[int]) -> Row:
    from holdfast.gguf import contents
    from holdfast.gguf.model import GgufModel
    from holdfast.gguf.quantize import quantize

    asked, path = work.asked, work.asked.out / f"{name}.gguf"
    quantize(asked.f16, path, name, asked.threads, importance=work.importance, types=work.types)
    found = contents.checked(path, work.types)
    with GgufModel(path, asked.threads, embeds=asked.embeds) as model:
        closeness = compare(model)
        if not closeness.is_number():
            raise VerificationFailed(
                "gguf.logits",
                f"What {name} computes are no numbers.",
                remedy="Do not serve it; quantize to another type.",
            )
        prefill, decode = model.speed(probe)
    return choice.Row(
        name,
        found.size,
        found.bits_per_weight,
        closeness,
        prefill,
        None if asked.embeds else decode,
        _score(work, path),
    )


def _score(work: _Work, path: Path) -> float | None:
    """Put the suite to one file, through the engine of evaluations."""
    if work.suite is None or work.words is None:
        return None
    from holdfast.evaluation import responses, score
    from holdfast.evaluation.generate_gguf import GgufEngine

    def progress(_done: int) -> None:
        _stop_if_asked(work.channel)

    engine = GgufEngine(path, None, work.words, work.asked.threads)
    try:
        judged = score.outcomes(work.suite, responses.respond(engine, work.suite, progress))
    finally:
        engine.close()
    found = score.result(work.suite, judged)["score"]
    return float(found) if isinstance(found, int | float) and math.isfinite(found) else None


def _drop(work: _Work, rows: list[Row]) -> None:
    """Delete the files that will not be kept."""
    asked = work.asked
    if asked.keep == "all":
        return
    best = choice.choose(rows, work.floor, asked.memory) if asked.keep == "chosen" else None
    for row in rows:
        if row is not best:
            (asked.out / f"{row.name}.gguf").unlink(missing_ok=True)


def _stop_if_asked(channel: Reporter) -> None:
    if channel.cancelled:
        raise Stopped
