"""Actions on the audit log itself: who read it, what left it, who witnessed it, what was kept, and when it ran short. Pure."""

from __future__ import annotations

from holdfast.audit.params import (
    COUNT,
    DIGEST,
    FLAG,
    NUMBER,
    SEQ,
    Choice,
    Document,
    Fields,
    ListOf,
    MapOf,
    Nullable,
    Text,
)
from holdfast.audit.registry.declare import Action, act, fact
from holdfast.audit.registry.shared import FILES, KEY, KEY_LINE, MESSAGE, ORIGIN, ROOT

_SQL = Text(16_384)  # as much as a request takes
_QUERY = Text(256)  # a saved query's name
_WITNESS = Text(255)
_NOTE = Text(16_000)  # a checkpoint with one witness's lines
_HEAD: Fields = {"size": COUNT, "root": ROOT}

ACTIONS: tuple[tuple[Action, ...], ...] = (
    fact(
        "audit.read",
        "A person read or queried the audit log.",
        "{who} read the audit log ({what})",
        {
            "what": Choice(("events", "sql", "proof", "verify", "schema", "queries")),
            "request": Document("request to the log's index", 60_000),
        },
        serves="AC-6(9) AU-6 AU-7",
    ),
    act(
        "audit.result",
        "Writing the result of a query into files",
        "{who} has the result of[ the query {saved}:] {sql} written[ as {formats}]",
        {
            "sql": _SQL,
            "saved": Nullable(_QUERY),
            "parameters": MapOf(Text(1_000), 32),
            "formats": ListOf(Text(16), 8),
            "limit": COUNT,
        },
        done={**_HEAD, "rows": COUNT, "truncated": FLAG, "document": DIGEST, "files": FILES},
        done_says="{who} had {rows} rows of the log's first {size} events written",
        serves="AC-6(9) AU-6 AU-7",
    ),
    act(
        "audit.rebuild",
        "Rebuilding the index of the audit log",
        "{who} has the index of the audit log built anew",
        done={
            "size": COUNT,
            "events": COUNT,
            "seconds": NUMBER,
            "reason": Nullable(MESSAGE),
            "differed": Nullable(MESSAGE),
        },
        done_says="{who} had the index built anew from {size} events[; before, {differed}]",
        serves="AU-7 AU-9 SI-7",
    ),
    fact(
        "audit.index.rebuilt",
        "The index of the audit log was not what the log says, and was built anew.",
        "{who} built the index anew from {events} events in {seconds} seconds: {reason}",
        {"reason": MESSAGE, "events": COUNT, "seconds": NUMBER},
        serves="AU-7 AU-9 IR-5 SI-7",
    ),
    fact(
        "audit.query.saved",
        "A query of the audit log was saved.",
        "{who} saved the query {name}: {about}",
        {"name": _QUERY, "sql": _SQL, "about": Text(1_000)},
        serves="AU-6 AU-7",
    ),
    fact(
        "audit.query.removed",
        "A saved query of the audit log was removed.",
        "{who} removed the query {name}",
        {"name": _QUERY},
        serves="AU-6 AU-7",
    ),
    fact(
        "audit.checkpoint",
        "A checkpoint of the audit log was handed out.",
        "{who} was handed a checkpoint[ for the witness {witness}]",
        {"witness": Nullable(_WITNESS), "old": Nullable(COUNT)},
        serves="AU-9(3) AU-10",
    ),
    fact(
        "audit.verified",
        "The audit log was verified.",
        "{who} had {size} events verified: {problems} problems, {gaps} gaps",
        {**_HEAD, "problems": COUNT, "gaps": COUNT},
        serves="AU-6 AU-9 SI-7",
    ),
    act(
        "audit.export",
        "Exporting evidence",
        "{who} exports the events from {first}[ up to {until}][ as {formats}]",
        {
            "first": SEQ,
            "until": Nullable(SEQ),
            "filter": Nullable(MapOf(Text(300), 8)),
            "formats": ListOf(Text(16), 8),
        },
        done={**_HEAD, "first": SEQ, "rows": Nullable(COUNT), "files": FILES},
        done_says="{who} exported evidence up to event {size}",
        serves="AC-6(9) AC-21 AU-6 AU-7 AU-10",
    ),
    act(
        "audit.archive",
        "Archiving the first events of the audit log",
        "{who} archives the events from {first} up to {until}",
        {"first": SEQ, "until": SEQ},
        done={"until": SEQ, "manifest": DIGEST, "files": COUNT, "bytes": COUNT},
        done_says="{who} archived the events before {until}: {files} files, manifest {manifest}",
        serves="AC-6(9) AU-4 AU-9(2) AU-11 SI-12",
    ),
    act(
        "audit.forget",
        "Removing events from this disk that an archive holds",
        "{who} removes the events before {until} from this disk, which the archive of event {archive} holds",
        {"archive": SEQ, "until": SEQ},
        done={"until": SEQ},
        done_says="{who} removed the events before {until} from this disk",
        serves="AC-6(9) AU-4 AU-11 SI-12",
    ),
    act(
        "audit.backup",
        "Backing the home up",
        "{who} backs the home up",
        {"trust": Nullable(DIGEST)},
        done={**_HEAD, "artefacts": COUNT, "sealed": COUNT, "files": COUNT, "bytes": COUNT},
        done_says="{who} backed the home up to event {size}: {artefacts} artefacts, {sealed} sealed payloads, {bytes} bytes",
        serves="AC-6(9) AU-9(2) CP-9",
    ),
    fact(
        "audit.refused",
        "A producer submitted an event that could not be recorded.",
        "{who} refused to record {action}: {reason}",
        {"action": Text(64), "reason": KEY},
        serves="AU-5 AU-9 IR-5",
        essential=True,
    ),
    fact(
        "audit.witness.added",
        "A witness was added, by the keys received from it.",
        "{who} added the witness {name} with {keys#} keys",
        {"name": _WITNESS, "keys": ListOf(KEY_LINE, 8)},
        serves="AC-6(9) AU-9(3) IA-5",
    ),
    fact(
        "audit.witness.removed",
        "A witness was removed.",
        "{who} removed the witness {name}: {reason}",
        {"name": _WITNESS, "reason": Text(1_000)},
        serves="AC-6(9) AU-9(3) IA-5",
    ),
    fact(
        "audit.cosigned",
        "A witness cosigned a checkpoint of the audit log.",
        "{witness} cosigned the log {origin} at {size} events",
        {"witness": _WITNESS, "origin": ORIGIN, **_HEAD, "time": COUNT, "note": _NOTE},
        serves="AU-9(2) AU-9(3) AU-10",
    ),
    fact(
        "audit.space.low",
        "Space for the audit log is low.",
        "{who} warns: {free} bytes are free for the audit log, fewer than {low}",
        {"free": COUNT, "low": COUNT},
        serves="AU-4 AU-5",
        essential=True,
    ),
    fact(
        "audit.space.stopped",
        "Only the audit log's reserve is left: no acts begin.",
        "{who} stopped all acts: {free} bytes are free for the audit log, fewer than its reserve of {reserve}",
        {"free": COUNT, "reserve": COUNT},
        serves="AU-4 AU-5 IR-4",
        essential=True,
    ),
    fact(
        "audit.space.recovered",
        "There is space for the audit log again.",
        "{who} goes on: {free} bytes are free for the audit log",
        {"free": COUNT},
        serves="AU-4 AU-5",
        essential=True,
    ),
    act(
        "report.residency",
        "Writing a residency report",
        "{who} has a residency report written",
        done={"files": FILES},
        done_says="{who} had a residency report written[: {files}]",
        serves="AC-4 AU-6 AU-7 CA-7 CM-8",
    ),
    act(
        "report.receipt",
        "Writing the receipt of an import",
        "{who} has the receipt of request {request} written",
        {"request": SEQ},
        done={"request": SEQ, "files": FILES},
        done_says="{who} had the receipt of request {request} written[: {files}]",
        serves="AU-7 AU-10 SR-4",
    ),
)
