"""Evaluations that were made: listed, shown, and compared with one another.

Order of operations of a comparison: both are found and their files hashed again; the suites that they share, by digest, are
compared section by section from the stored results; the examples that changed are put together from the stored answers and
the suite's own items. Invariants: nothing is evaluated and nothing recorded here; two versions of a suite are never compared;
texts are shown to who may evaluate or audit, figures to everybody with a session.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast import canonical, hashing, parts
from holdfast.artefact import Kind
from holdfast.daemon import answers, runs
from holdfast.daemon.answers import RESULTS_FILE
from holdfast.daemon.evaluation import AFTER, TRANSFORMERS
from holdfast.dataset.files import ITEMS_FILE
from holdfast.errors import Conflict, NotFound, VerificationFailed
from holdfast.evaluation import compare as comparing
from holdfast.governance.people import Role

if TYPE_CHECKING:
    from holdfast.artefact import Artefact
    from holdfast.canonical import Json
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session
    from holdfast.governance.records import Act

EVALUATION = "eval.run"
MAX_RESULTS = 256 * 2**20  # bytes of one evaluation's results: 64 suites of 20,000 items under four models
READERS = frozenset({Role.OPERATOR, Role.AUDITOR})
CUSTOMISED = f"{AFTER}-{TRANSFORMERS}"  # the column of a gate's evaluation that stands for all


@dataclass(frozen=True)
class Side:
    """One column of one evaluation.

    Args:
        evaluation: The artefact.
        column: The column's name.
        suites: Digest of each suite, by name.
        results: What ``score.result`` gave for each suite, by name.
    """

    evaluation: Artefact
    column: str
    suites: dict[str, str]
    results: dict[str, Json]

    def to_json(self) -> dict[str, Json]:
        """Name it.

        Returns:
            ``evaluation``, ``name`` and ``column``.
        """
        return {
            "evaluation": self.evaluation.digest,
            "name": f"{self.evaluation.name}@{self.evaluation.version}",
            "column": self.column,
        }


def summaries(services: Services) -> list[dict[str, Json]]:
    """List all evaluations that ended well.

    Args:
        services: The daemon's parts.

    Returns:
        One object per evaluation, newest first: number, person, time, evaluation, run, suites, scores.
    """
    done = [act for act in services.state.acts.values() if (act.action, act.state) == (EVALUATION, "done")]
    return [
        {
            "number": act.seq,
            "person": act.person,
            "time": act.time,
            "evaluation": act.result.get("evaluation"),
            "run": act.params.get("run"),
            "suites": act.params.get("suites"),
            "scores": act.result.get("scores"),
        }
        for act in sorted(done, key=lambda act: -act.seq)
    ]


async def shown(services: Services, name: str) -> dict[str, Json]:
    """Show one evaluation.

    Args:
        services: The daemon's parts.
        name: As for ``compare``, without a column.

    Returns:
        ``evaluation``, ``suites``, ``columns``, ``scores`` and ``verdicts`` (of each engine, without the items).
    """
    found = _find(services, name)
    document = await asyncio.to_thread(_document, services, found)
    verdicts = document["verdicts"]
    return {
        "evaluation": found.digest,
        "name": f"{found.name}@{found.version}",
        "suites": document["suites"],
        "columns": document["columns"],
        "scores": answers.told(parts.named(document["results"])),
        "verdicts": {
            column: {key: one[key] for key in ("go", "reasons")}
            for column, one in parts.named(verdicts).items()
        },
    }


async def compare(
    services: Services, session: Session, first: str, second: str, examples: int
) -> dict[str, Json]:
    """Compare two evaluations, side by side.

    Args:
        services: The daemon's parts.
        session: Who asks.
        first: An evaluation: the number of its act, its digest or digits of that; or a run, which stands for its gate's
            evaluation. With ``/COLUMN`` one model of several; left out, what was customised, on its own weights.
        second: The other.
        examples: Examples shown of those that became worse, and as many of those that became better.

    Returns:
        ``first`` and ``second`` (see ``Side.to_json``), ``suites`` (each with name, digest, ``sections``, ``examples`` and
        ``left_out``) and ``withheld``: whether examples were kept from who asks.

    Raises:
        Conflict: If they share no suite, or only other versions of one.
    """
    return await asyncio.to_thread(_compare, services, session, first, second, examples)


def _compare(services: Services, session: Session, first: str, second: str, examples: int) -> dict[str, Json]:
    sides = (_side(services, first), _side(services, second))
    shared = [name for name, digest in sides[0].suites.items() if sides[1].suites.get(name) == digest]
    if not shared:
        names = set(sides[0].suites) & set(sides[1].suites)
        raise Conflict(
            "eval.suites-differ",
            f"The two are of different versions of {', '.join(sorted(names))}."
            if names
            else f"{first} is of {', '.join(sides[0].suites)}, {second} of {', '.join(sides[1].suites)}.",
            remedy="Evaluate both models on one version of one suite with `holdfast eval run`.",
        )
    reads = bool(READERS & set(session.person.roles))
    return {
        "first": sides[0].to_json(),
        "second": sides[1].to_json(),
        "suites": [_suite(services, sides, name, examples if reads else 0) for name in shared],
        "withheld": not reads,
    }


def _suite(services: Services, sides: tuple[Side, Side], name: str, examples: int) -> dict[str, Json]:
    sections = comparing.sections(sides[0].results[name], sides[1].results[name])
    fixed, broken = comparing.changed(sections)
    wanted = {**dict.fromkeys(broken[:examples], "broken"), **dict.fromkeys(fixed[:examples], "fixed")}
    return {
        "name": name,
        "digest": sides[0].suites[name],
        "sections": [*sections],
        "examples": _examples(services, sides, name, wanted) if wanted else [],
        "left_out": len(fixed) + len(broken) - len(wanted),
    }


def _examples(services: Services, sides: tuple[Side, Side], name: str, wanted: dict[str, str]) -> list[Json]:
    """Put the examples together, the broken ones first; what the suite's files no longer tell is left out."""
    digest = sides[0].suites[name]
    suite = services.state.artefacts.get(digest)
    if suite is None or digest in services.state.collected:
        raise NotFound(
            "eval.suite-gone",
            f"Suite {name} ({hashing.short(digest)}) is not here any more, so no example can be shown.",
            remedy="Import the bundle that brought it, or ask for the figures alone with --examples 0.",
        )
    services.store.verify(suite)
    items = comparing.rows((services.store.folder(digest) / ITEMS_FILE).read_bytes(), wanted, what=name)
    said = [_answers(services, side, name, wanted) for side in sides]
    return [
        {"change": change, **comparing.example(items[one], said[0][one], said[1][one])}
        for one, change in wanted.items()
        if one in items and all(one in found for found in said)
    ]


def _answers(
    services: Services, side: Side, suite: str, wanted: dict[str, str]
) -> dict[str, dict[str, Json]]:
    """Read what a model said to some items; nothing if the evaluation has no such file."""
    file = f"{side.column}-{suite}.jsonl"
    if file not in {one.path for one in side.evaluation.files}:
        return {}
    data = (services.store.folder(side.evaluation.digest) / file).read_bytes()
    return comparing.rows(data, wanted, what=f"the answers of {side.column}")


def _side(services: Services, name: str) -> Side:
    called, _, column = name.partition("/")
    found = _find(services, called)
    document = _document(services, found)
    results = parts.named(document["results"])
    chosen = column or (next(iter(results)) if len(results) == 1 else CUSTOMISED)
    if chosen not in results:
        raise NotFound(
            "eval.column",
            f"Evaluation {hashing.short(found.digest)} has no model {chosen!r}; it has {', '.join(results)}.",
            remedy=f"Name one of them: {called}/{next(iter(results), '')}.",
        )
    suites = {suite: str(one["digest"]) for suite, one in parts.named(document["suites"]).items()}
    return Side(
        found, chosen, {one: suites[one] for one in results[chosen] if one in suites}, results[chosen]
    )


def _find(services: Services, name: str) -> Artefact:
    """Find an evaluation by its act's number, its digest, or the run that a gate had evaluated."""
    state = services.state
    act: Act | None = state.acts.get(int(name)) if runs.is_number(name) else None
    if act is not None and act.action == EVALUATION:
        digest = act.result.get("evaluation")
    elif act is not None:
        digest = _of_run(services, name)
    else:
        try:
            return state.resolve(name, Kind.EVALUATION)
        except NotFound:
            digest = _of_run(services, name)
    found = state.artefacts.get(str(digest))
    if found is None:
        raise NotFound("eval.unknown", f"{name[:80]} left no evaluation.", remedy="See `holdfast eval list`.")
    return found


def _of_run(services: Services, name: str) -> Json:
    run, _, _ = runs.find_run(services, name)
    decided = services.state.gates.get(run.digest)
    if decided is None:
        raise NotFound(
            "eval.no-gate",
            f"Run {name[:80]} was not judged by its gate yet.",
            remedy=f"Have it judged with `holdfast eval gate {name[:80]}`.",
        )
    return decided.get("evaluation")


def _document(services: Services, found: Artefact) -> dict[str, Json]:
    """Read an evaluation's results, hashed again."""
    services.store.verify(found)
    data = (services.store.folder(found.digest) / RESULTS_FILE).read_bytes()
    document = canonical.decode(data, limit=MAX_RESULTS, what="The evaluation", error=VerificationFailed)
    due = {"suites", "columns", "results", "verdicts"}
    if not isinstance(document, dict) or document.get("schema") != answers.SCHEMA or due - set(document):
        raise VerificationFailed(
            "eval.form",
            f"Evaluation {hashing.short(found.digest)} is not written as {answers.SCHEMA}.",
            remedy="Evaluate again.",
        )
    return document
