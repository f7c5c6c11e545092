"""The index of exported evidence, on a machine without a daemon: for `audit sql --evidence`.

Order of operations: the evidence is verified as ``verify.py`` does it; a confined worker builds an index of the signed events in a
scratch folder and answers; what it answered is accepted only if it answered for exactly the signed size and root; the scratch
folder is removed. Invariants: nothing of the evidence is believed before it is verified; this process never opens the database.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import shutil
import tempfile
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import canonical, errors, hashing
from holdfast.audit import verify
from holdfast.client.results import require_new
from holdfast.confine.embedded import EmbeddedLauncher
from holdfast.confine.exits import describe_exit
from holdfast.confine.spec import Limits, WorkerSpec
from holdfast.errors import NotFound, OperationFailed, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from holdfast.canonical import Json
    from holdfast.confine.worker import Worker

STATED, RECEIPT, KEYS = "query.json", "receipt.tlog-proof", "log.pub"
MAX_STATED = 2**20  # bytes of query.json: a query, its columns and its digests
MAX_SMALL = 2**20  # bytes of key files, checkpoints and receipts
LIMITS = Limits(
    memory_bytes=4 * 2**30, file_bytes=64 * 2**30
)  # DuckDB bounds itself far below; a large log's index fits
FILES = frozenset({"rows.csv", "rows.jsonl", "rows.parquet"})
SAME_EVERYWHERE = (".csv", ".jsonl")  # files whose bytes follow from the rows alone


@dataclass(frozen=True)
class _Signed:
    """What the evidence's checkpoint signs."""

    origin: str
    size: int
    root: str


async def ask(folder: Path, keys: Path | None, request: dict[str, Json]) -> dict[str, Json]:
    """Ask exported evidence.

    Args:
        folder: The evidence.
        keys: The log's verifier keys, received by another way; those that came with it if None.
        request: As the index worker takes it.

    Returns:
        Its reply.

    Raises:
        VerificationFailed: If the evidence is not what it should be.
    """
    signed = _verified(folder, keys)
    async with _index(folder) as index:
        reply = await index.ask(signed.size, request)
    _require_signed(reply, signed)
    return reply


async def write(folder: Path, keys: Path | None, request: dict[str, Json], out: Path) -> dict[str, Json]:
    """Write what exported evidence answers into files.

    Args:
        folder: The evidence.
        keys: As for ``ask``.
        request: The worker's operation ``write``, without its folder.
        out: Where the files go; must not exist.

    Returns:
        What ``query.json`` states.

    Raises:
        Conflict: If the folder exists.
    """
    require_new(out)
    signed = _verified(folder, keys)
    async with _index(folder) as index:
        reply = await index.ask(signed.size, request | {"folder": "made"})
        _require_signed(reply, signed)
        stated: dict[str, Json] = {
            "sql": request.get("sql"),
            "saved": request.get("saved"),
            "parameters": request.get("given"),
            **reply,
        }
        (index.out / "made" / STATED).write_bytes(canonical.encode(stated))
        shutil.copytree(index.out / "made", out)
    return stated


async def compare(folder: Path, keys: Path | None, result: Path) -> dict[str, Json]:
    """Find out whether a result is all that the log's events give: ask the evidence the same, and compare.

    Args:
        folder: Evidence of the events that the result answers for, or more.
        keys: As for ``ask``.
        result: The result's folder.

    Returns:
        ``problems`` (sentences; none: the result holds), ``notes`` (what the comparison does not say), ``rows`` and ``size``.

    Raises:
        VerificationFailed: If the evidence or the result's form is not what it should be.
    """
    signed = _verified(folder, keys)
    data = _small(result / STATED, MAX_STATED)
    stated = canonical.decode(data, limit=MAX_STATED, what=STATED, error=VerificationFailed)
    if not isinstance(stated, dict):
        raise _refused(f"{result / STATED} is not an object")
    files, size, sql, given = (stated.get(name) for name in ("files", "size", "sql", "parameters"))
    if (
        not isinstance(files, dict)
        or not set(files) <= FILES
        or not isinstance(size, int)
        or isinstance(size, bool)
        or not isinstance(sql, str)
        or not isinstance(given, dict)
    ):
        raise _refused(f"{result / STATED} does not state a query, its files and the log's size")
    problems = _own_problems(result, data, stated, _keys(folder, keys))
    if not 0 < size <= signed.size:
        raise _refused(f"the result answers for {size} events; the evidence ends at {signed.size}")
    limit = stated.get("limit")
    request: dict[str, Json] = {
        "op": "write",
        "folder": "made",
        "sql": sql,
        "given": given,
        "formats": [name.rpartition(".")[2] for name in files],
        **({"limit": limit} if isinstance(limit, int) else {}),
    }
    notes: list[str] = []
    async with _index(folder) as index:
        reply = await index.ask(size, request)
        for name in files:
            told, note = _rows_differ(result / name, index.out / "made" / name)
            problems += told
            notes += note
    for name in ("origin", "first", "size", "root", "rows", "truncated", "columns"):
        if reply.get(name) != stated.get(name):
            problems.append(
                f"{name}: the result states {_brief(stated.get(name))}, the evidence gives {_brief(reply.get(name))}"
            )
    return {"problems": [*problems], "notes": [*notes], "rows": reply["rows"], "size": size}


def _rows_differ(here: Path, again: Path) -> tuple[list[str], list[str]]:
    """Compare a result's file with what the evidence gives: problems and notes.

    DuckDB gives rows without ORDER BY in any order, so the same rows in another order are the same answer.
    """
    if _digest(here) == _digest(again):
        return [], []
    if not here.name.endswith(SAME_EVERYWHERE):
        return [], [f"the rows in {here.name} were not compared; ask for CSV or JSONL beside it"]
    # Rows in another order take as many bytes: what is read has the size of what we made.
    same_size = here.stat().st_size == again.stat().st_size
    if same_size and (counted := _counted(here)) is not None and counted == _counted(again):
        return [], [f"{here.name} has these rows in another order"]
    return [f"{here.name} does not hold the rows that the evidence gives"], []


def _counted(path: Path) -> tuple[list[str] | None, Counter[bytes]] | None:
    """Count a file's rows, each by its digest, a CSV's head line apart; None if they can't be read."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            if path.suffix == ".csv":
                rows = csv.reader(file, strict=True)
                head = next(rows, None)
                return head, Counter(hashlib.sha256(repr(row).encode()).digest() for row in rows)
            return None, Counter(hashlib.sha256(line.encode()).digest() for line in file)
    except (OSError, UnicodeError, csv.Error):
        return None


def _own_problems(result: Path, data: bytes, stated: dict[str, Json], known: list[verify.Key]) -> list[str]:
    """Check a result's folder by itself: its files, its statement, and the receipt that ties it to the log."""
    problems = []
    files = stated["files"]
    for name, one in files.items() if isinstance(files, dict) else ():
        digest = one.get("digest") if isinstance(one, dict) else None
        if _digest(result / name) != digest:
            problems.append(f"{name} is not the file that {STATED} states")
    receipt = _small(result / RECEIPT, MAX_SMALL)
    verdict = verify.verify_proof(receipt, known)
    problems += [f"{RECEIPT}: {found.text}" for found in verdict.problems]
    lines = receipt.split(b"\n", 2)
    try:
        event = json.loads(base64.b64decode(lines[1].removeprefix(b"extra "), validate=True))
        told = event["params"]
        if (event["action"], told["document"], told["size"], told["root"]) != (
            "audit.result.done",
            hashing.sha512(data),
            stated.get("size"),
            stated.get("root"),
        ):
            problems.append(f"the receipt is not that of {STATED}")
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        problems.append(f"{RECEIPT} holds no event of a result")
    return problems


def _verified(folder: Path, keys: Path | None) -> _Signed:
    known = _keys(folder, keys)
    try:
        verdict = verify.verify_log(folder, known)
        note = verify.verify_note(_small(folder / "checkpoint", MAX_SMALL), known)
    except (ValueError, IndexError) as error:  # Refused is one of them
        raise _refused(str(error)) from error
    if not verdict.ok:
        first = verdict.problems[0]
        place = "" if first.seq is None else f"event {first.seq}: "
        raise VerificationFailed(
            "evidence.problems",
            f"The evidence in {folder} does not match: {place}{first.text}.",
            remedy=f"See all of it with `holdfast audit verify {folder}`; do not rely on it.",
            problems=len(verdict.problems),
        )
    return _Signed(note.origin, note.size, note.root.hex())


def _keys(folder: Path, keys: Path | None) -> list[verify.Key]:
    try:
        return list(verify.parse_keys(_small(keys or folder / KEYS, MAX_SMALL)))
    except (ValueError, IndexError) as error:  # Refused is one of them
        raise _refused(str(error)) from error


def _require_signed(reply: dict[str, Json], signed: _Signed) -> None:
    """Refuse an answer for anything but the signed events."""
    if "root" in reply and (reply["origin"], reply["size"], reply["root"]) != (
        signed.origin,
        signed.size,
        signed.root,
    ):
        raise _refused("what was indexed is not what is signed: the folder was changed meanwhile")


class _Running:
    """A running index worker of this process."""

    def __init__(self, worker: Worker, out: Path) -> None:
        self._worker, self.out, self._next = worker, out, 0

    async def ask(self, size: int, request: dict[str, Json]) -> dict[str, Json]:
        """Put a request, once the index holds so many events."""
        await self._send({"op": "synced", "size": size})
        return await self._send(request)

    async def _send(self, request: dict[str, Json]) -> dict[str, Json]:
        self._next += 1
        await self._worker.send({"id": self._next, "request": request})
        while (message := await self._worker.receive()) is not None:
            failure, reply = message.get("error"), message.get("reply")
            if isinstance(failure, dict):
                raise errors.from_dict(failure)
            if message.get("id") == self._next and isinstance(reply, dict):
                return reply
        raise describe_exit(await self._worker.wait())


@asynccontextmanager
async def _index(folder: Path) -> AsyncIterator[_Running]:
    """Run a confined index worker over a folder; what it writes is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="holdfast-evidence-") as scratch:
        out = Path(scratch) / "index"
        out.mkdir()
        launcher = EmbeddedLauncher(Path(scratch))
        spec = WorkerSpec(kind="index", inputs={"log": folder}, output=out, limits=LIMITS)
        worker = await launcher.launch(spec, {"log": "/in/log", "out": "/out"}, lambda _denied: None)
        try:
            yield _Running(worker, out)
        finally:
            worker.kill()
            await worker.wait()


def _small(path: Path, limit: int) -> bytes:
    if not path.exists():
        raise NotFound("evidence.file", f"There is no {path}.", remedy="Name a folder with evidence.")
    try:
        return verify.read(path, limit)
    except verify.Refused as error:
        raise _refused(f"{path.parent}: {error}") from error


def _digest(path: Path) -> str:
    try:
        if not path.is_file():  # a pipe's content may never come
            raise _refused(f"{path} is no file")
        with path.open("rb") as file:
            return f"sha512:{hashlib.file_digest(file, 'sha512').hexdigest()}"
    except OSError as error:
        raise OperationFailed(
            "result.file", f"{path} can't be read: {error.strerror}.", remedy="Fetch the result again."
        ) from error


def _brief(value: Json) -> str:
    return json.dumps(value)[:80]


def _refused(why: str) -> VerificationFailed:
    return VerificationFailed(
        "evidence.refused",
        f"The evidence is refused: {why}.",
        remedy="Do not rely on it; ask the site again.",
    )
