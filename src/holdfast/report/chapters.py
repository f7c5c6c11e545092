"""The eight chapters of the report's pages, each a heading, a sentence and tables.

Invariants: a table says in one sentence what it would show where it is empty, and by how much it was cut; every cell is a
text. No I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.report import gaps, reading, wording
from holdfast.report.blocks import rows_of, section, table
from holdfast.report.releasepages import releases
from holdfast.report.safeguardpages import safeguards

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.report.blocks import Row


def chapters(facts: Row) -> list[Json]:
    """Lay out the chapters.

    Args:
        facts: What ``facts.gather`` gives.

    Returns:
        Objects with ``title``, ``lead`` and ``blocks``; a block has ``title``, ``columns``, ``widths``, ``rows``, ``note``.
    """
    return [
        _came_in(facts),
        _stores(facts),
        _training(facts),
        _evaluation(facts),
        _service(facts),
        _people(facts),
        safeguards(facts),
        _refused(facts),
    ]


def _came_in(facts: Row) -> dict[str, Json]:
    return section(
        "What came in, and from whom",
        "Everything from outside enters as a signed bundle whose signatures lead to a trusted root, is inspected in "
        "confinement, and is admitted by a person before it can be used.",
        table(
            "Trusted roots",
            (("Version", 1), ("Fingerprint", 4), ("Made on this site", 2), ("Pinned", 2), ("By", 2)),
            rows_of(facts, "trust"),
            lambda row: [
                wording.said(row.get("version")),
                wording.said(row.get("fingerprint")),
                wording.yes(row.get("self_made")),
                wording.when(row),
                wording.said(row.get("by")),
            ],
            "No root has been pinned.",
        ),
        table(
            "Bundles",
            (
                ("Bundle", 3),
                ("Publisher", 2),
                ("Signed by", 3),
                ("Root", 1),
                ("Size", 2),
                ("Asked for by", 2),
                ("Admitted by", 3),
            ),
            rows_of(facts, "imports"),
            lambda row: [
                f"{wording.said(row.get('name'))} {wording.said(row.get('version'))}; {wording.short(row.get('manifest'))}",
                wording.said(row.get("publisher")),
                wording.joined(row.get("holders")),
                wording.said(row.get("root_version")),
                wording.size(row.get("bytes")),
                f"{wording.said(row.get('requester'))}, {wording.when(row)}",
                _decision(row),
            ],
            "No bundle has come in.",
        ),
        table(
            "Imports that ended otherwise",
            (("When", 2), ("Asked for by", 2), ("End", 1), ("Why", 5)),
            rows_of(facts, "imports_refused"),
            lambda row: [
                wording.when(row),
                wording.said(row.get("requester")),
                wording.said(row.get("outcome")),
                wording.said(row.get("reason")),
            ],
            "None.",
        ),
        table(
            "Generations",
            (("Generation", 1), ("Act", 2), ("By", 2), ("When", 2)),
            rows_of(facts, "generations"),
            lambda row: [
                wording.said(row.get("generation")),
                wording.said(row.get("act")),
                wording.said(row.get("by")),
                wording.when(row),
            ],
            "None.",
        ),
    )


def _stores(facts: Row) -> dict[str, Json]:
    return section(
        "Where each store is",
        "All data of the site lies in the folders of one home on this machine. A label joins level, compartments and the zones "
        "in which the labelled thing may live; labels only ever tighten.",
        table(
            "Folders of the home",
            (("Folder", 1), ("Kind", 2), ("What lies there", 4), ("Zones", 2), ("Label", 3)),
            rows_of(facts, "stores"),
            lambda row: [
                wording.said(row.get("folder")),
                wording.said(row.get("kind")),
                wording.said(row.get("contents")),
                wording.joined(row.get("zones")),
                wording.label(row),
            ],
            "None.",
        ),
        table(
            "Artefacts",
            (
                ("Kind", 2),
                ("Name and version", 3),
                ("Digest", 3),
                ("Size", 2),
                ("Label", 4),
                ("State", 2),
                ("In its zones", 1),
            ),
            rows_of(facts, "artefacts"),
            lambda row: [
                wording.said(row.get("kind")),
                f"{wording.said(row.get('name'))} {reading.text(row.get('version')) or ''}".strip(),
                wording.short(row.get("digest")),
                wording.size(row.get("bytes")),
                wording.label(row),
                wording.said(row.get("state")),
                wording.yes(row.get("within_zones")),
            ],
            "No artefact is on the record.",
        ),
    )


def _training(facts: Row) -> dict[str, Json]:
    titles = {
        str(row.get("digest")): f"{wording.said(row.get('name'))}, {wording.short(row.get('digest'))}"
        for row in rows_of(facts, "artefacts")
    }

    def named(digest: object) -> str:
        return titles.get(str(digest), wording.short(digest))

    return section(
        "What was trained on what",
        "A run is a recipe and the digests of its base and data. Replaying a run must give the same adapter bit for bit.",
        table(
            "Data and recipes taken in",
            (("What", 1), ("Name", 3), ("Digest", 2), ("By", 2), ("When", 2)),
            rows_of(facts, "added"),
            lambda row: [
                wording.said(row.get("what")),
                wording.said(row.get("name")),
                wording.short(row.get("artefact")),
                wording.said(row.get("by")),
                wording.when(row),
            ],
            "None.",
        ),
        table(
            "Runs",
            (
                ("Run", 2),
                ("Base", 3),
                ("Data sets", 3),
                ("Recipe", 3),
                ("Adapter", 3),
                ("Steps", 1),
                ("By", 2),
            ),
            rows_of(facts, "training"),
            lambda row: [
                f"{wording.short(row.get('run'))} {wording.said(row.get('outcome'))}",
                named(row.get("base")),
                "; ".join(named(digest) for digest in wording.entries(row.get("datasets")))
                or wording.SAID_NOTHING,
                named(row.get("recipe")),
                named(row.get("adapter")),
                wording.count(row.get("steps")),
                f"{wording.said(row.get('by'))}, {wording.when(row)}",
            ],
            "Nothing was trained.",
        ),
        table(
            "Replays",
            (("Run", 2), ("Adapter", 2), ("Replayed", 2), ("Same bits", 1), ("By", 2), ("When", 2)),
            rows_of(facts, "replays"),
            lambda row: [
                wording.short(row.get("run")),
                wording.short(row.get("adapter")),
                wording.short(row.get("replayed")),
                wording.yes(row.get("equal")),
                wording.said(row.get("by")),
                wording.when(row),
            ],
            "No run was replayed.",
        ),
    )


def _evaluation(facts: Row) -> dict[str, Json]:
    return section(
        "How it was judged",
        "Suites are run before and after; a gate decides whether what was trained may be used, and says why.",
        table(
            "Evaluations",
            (("When", 2), ("What", 2), ("On", 2), ("Scores", 5), ("By", 1)),
            [scored for row in rows_of(facts, "evaluations") for scored in _scored(row)],
            lambda row: [
                wording.when(row),
                _judged(row),
                wording.said(row.get("column")),
                wording.figures(row.get("scores"))
                if row.get("outcome") == "done"
                else wording.said(row.get("outcome")),
                wording.said(row.get("by")),
            ],
            "Nothing was evaluated.",
        ),
        table(
            "Gates",
            (("When", 2), ("Run", 2), ("Verdict", 1), ("Rules", 4), ("Reasons", 6)),
            rows_of(facts, "gates"),
            lambda row: [
                wording.when(row),
                wording.short(row.get("run")),
                wording.yes(row.get("go"), "go", "no go"),
                wording.joined(row.get("verdicts")),
                wording.joined(row.get("reasons")),
            ],
            "No gate has decided.",
        ),
        table(
            "Conversions",
            (("When", 2), ("Made", 3), ("Fidelity", 5), ("By", 2)),
            rows_of(facts, "conversions"),
            lambda row: [
                wording.when(row),
                ", ".join(wording.short(digest) for digest in wording.entries(row.get("artefacts")))
                or wording.said(row.get("outcome")),
                wording.figures({"": row.get("fidelity"), "adapter": row.get("adapter_fidelity")}),
                wording.said(row.get("by")),
            ],
            "Nothing was converted.",
        ),
    )


def _service(facts: Row) -> dict[str, Json]:
    return section(
        "What served what",
        "An alias stands for what two persons released under it. Every request and every answer has a receipt in the log. The "
        "text of prompts and answers is sealed outside the log and is in no report.",
        table(
            "Servers started",
            (("When", 2), ("By", 2), ("Address", 2), ("Models", 5), ("End", 1)),
            rows_of(facts, "serving"),
            lambda row: [
                wording.when(row),
                wording.said(row.get("by")),
                wording.said(row.get("address")),
                _models(row),
                wording.said(row.get("outcome")),
            ],
            "No server was started.",
        ),
        releases(facts),
        table(
            "Answers",
            (
                ("Model", 3),
                ("Adapter", 3),
                ("Tenant", 2),
                ("Count", 1),
                ("First receipt", 3),
                ("Last receipt", 3),
            ),
            rows_of(facts, "answers"),
            lambda row: [
                f"{wording.said(row.get('model'))}, {wording.short(row.get('model_digest'))}",
                f"{wording.said(row.get('adapter'))}, {wording.short(row.get('adapter_digest'))}"
                if row.get("adapter_digest")
                else "none",
                wording.said(row.get("tenant")),
                wording.count(row.get("count")),
                wording.receipt(row.get("first")),
                wording.receipt(row.get("last")),
            ],
            "No answer was served.",
        ),
    )


def _people(facts: Row) -> dict[str, Json]:
    system = reading.mapping(facts.get("system"))
    return section(
        "Who acted in which role",
        "A person proves who they are by signing with their own key; the host account they come from is noted beside it.",
        table(
            "People",
            (("Person", 2), ("Roles", 3), ("Key", 3), ("Host uid", 1), ("Sessions", 2), ("Acts", 5)),
            rows_of(facts, "people"),
            lambda row: [
                wording.said(row.get("name")),
                wording.joined(row.get("roles")),
                wording.said(row.get("fingerprint")),
                wording.joined(row.get("acted_with_uids") or row.get("uids")),
                wording.count(row.get("sessions")),
                _acts(row),
            ],
            "Nobody is on the record.",
        ),
        table(
            "Acts of the appliance and of applications",
            (("Act", 3), ("Times", 1)),
            [{"act": act, "times": times} for act, times in system.items()],
            lambda row: [wording.said(row.get("act")), wording.count(row.get("times"))],
            "None.",
        ),
    )


def _refused(facts: Row) -> dict[str, Json]:
    egress = reading.mapping(facts.get("egress"))
    sink = "with" if egress.get("sink") is True else "without"
    walls = reading.mapping(facts.get("walls"))
    return section(
        "What was refused",
        f"Egress state: {wording.said(egress.get('state'))}, watched {sink} an egress sink. Workers run in confinement: each has its "
        "inputs, its output and nothing else.",
        table(
            "Walls around workers on this host",
            (("Wall", 2), ("State", 5)),
            [{"wall": name, "state": state} for name, state in sorted(walls.items())],
            lambda row: [wording.said(row.get("wall")).replace("_", " "), _wall(row.get("state"))],
            "The log does not state them.",
        ),
        table(
            "Attempts of workers that the walls denied",
            (("Worker", 2), ("Call", 2), ("Destination", 4), ("Times", 1), ("Last", 3)),
            rows_of(facts, "worker_denied"),
            lambda row: [
                wording.said(row.get("worker")),
                wording.said(row.get("syscall")),
                wording.said(row.get("destination")),
                wording.count(row.get("count")),
                wording.when(row.get("last")),
            ],
            "None.",
        ),
        table(
            "Accesses denied to people and applications",
            (("Who", 2), ("Route", 3), ("Reason", 4), ("Times", 1), ("Last", 3)),
            rows_of(facts, "access_denied"),
            lambda row: [
                wording.said(row.get("person")),
                wording.said(row.get("route")),
                wording.said(row.get("reason")),
                wording.count(row.get("count")),
                wording.when(row.get("last")),
            ],
            "None.",
        ),
        table(
            "Acts that did not end well, or have not ended",
            (("Act", 3), ("End", 2), ("Times", 1), ("Last", 3)),
            [
                *rows_of(facts, "endings"),
                *({**row, "outcome": "under way", "count": 1, "last": row} for row in rows_of(facts, "open")),
            ],
            lambda row: [
                wording.said(row.get("action")),
                wording.said(row.get("outcome")),
                wording.count(row.get("count")),
                wording.when(row.get("last")),
            ],
            "None.",
        ),
    )


def _decision(row: Row) -> str:
    admitted, rejected = reading.mapping(row.get("admitted")), reading.mapping(row.get("rejected"))
    if rejected:
        return f"rejected by {wording.said(rejected.get('by'))}, {wording.when(rejected)}"
    if not admitted:
        return "not admitted"
    return f"{wording.said(admitted.get('by'))}, generation {wording.said(admitted.get('generation'))}, {wording.when(admitted)}"


def _scored(row: Row) -> list[Row]:
    """Give one row per model that an evaluation compared: before and after, each engine."""
    scores = reading.mapping(row.get("scores"))
    if not scores:
        return [row]
    return [{**row, "column": name, "scores": found} for name, found in scores.items()]


def _judged(row: Row) -> str:
    if row.get("run"):
        return f"run {wording.short(row.get('run'))}"
    adapter = f" with {wording.short(row.get('adapter'))}" if row.get("adapter") else ""
    return f"{wording.short(row.get('base'))}{adapter}"


def _models(row: Row) -> str:
    listed = [reading.mapping(model) for model in wording.entries(row.get("models"))]
    named = [f"{wording.said(model.get('id'))}, {wording.short(model.get('digest'))}" for model in listed]
    return "; ".join(named) or wording.SAID_NOTHING


def _acts(row: Row) -> str:
    done = [f"{name} {times}" for name, times in reading.mapping(row.get("by_action")).items()]
    return f"{wording.count(row.get('acts'))}: {', '.join(done)}" if done else "none"


def _wall(state: object) -> str:
    if isinstance(state, bool):
        return "up" if state else "missing"
    if isinstance(state, dict):
        return ("missing; " if gaps.is_off(state) else "") + wording.figures(state)
    return wording.said(state)
