"""Is it all there? Names the silences of a Holdfast audit log, and compares rows with the filter that gave them.

    python -I complete.py FOLDER [--key log.pub] [--witness witness.pub] [--strict] [--json]

Runs ``verify.py``, which lies beside this file, and then says what the log's signatures can't. With ``--witness``, somebody
who holds those keys must have cosigned a checkpoint that covers what is here. A gap is a silence that the log itself shows
(counts of a producer that are missing, a restart without a stop, a clock that was moved, heartbeats that did not come); with
``--strict``, gaps and unsigned events end with 3 too. Where the folder holds ``filter.json``, the filter is applied again
to every signed event, and ``rows.jsonl`` and ``rows.csv`` must hold exactly the rows that it gives, in order; the verdict names
the filter, for whoever wrote the folder chose it. What of rows can't be compared is a problem. Exits as ``verify.py``.

Standard library only, beside ``verify.py``. Source: RFC 4180 (CSV).
"""

from __future__ import annotations

import argparse
import json
import stat
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO

if __package__:
    from holdfast.audit import verify
else:  # run by itself: with the text of the file beside it, whatever is installed and whatever else lies in the folder
    _beside = Path(__file__).resolve().with_name("verify.py")
    verify = sys.modules["verify"] = ModuleType("verify")
    exec(compile(_beside.read_bytes(), _beside, "exec"), verify.__dict__)  # noqa: S102 - no compiled file, as an import would

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Mapping, Sequence

MAX_HEARTBEAT = 86_400  # seconds between two heartbeats that a log may announce
MAX_TIME = 2**36  # seconds since 1970 that are told as a time; a cosignature's may be any
GRACE = 5  # seconds that a heartbeat may be late beside twice its period
FILTER = frozenset(("action", "person", "role", "kind", "digest", "since", "until"))  # since <= time < until
TIMES = frozenset(("since", "until"))
LISTED = ("rows.jsonl", "rows.csv")
FILTER_FILE = "filter.json"
COLUMNS = (
    "seq",
    "time",
    "clock",
    "action",
    "person",
    "role",
    "uid",
    "session",
    "kind",
    "digest",
    "cause",
    "name",  # of the source
    "run",
    "count",
    "label",
    "params",
)


class Silences:
    """What a log does not say; fed every event in order.

    Args:
        whole: Whether the first event fed is the log's first: then no producer's run can have begun before.
    """

    def __init__(self, *, whole: bool) -> None:
        self.found: list[tuple[int, str]] = []
        self._last: datetime | None = None  # time of the last event
        self._counts: dict[bytes, int] = {}  # the next number of each producer's run
        self._run, self._known, self._stopped = b"", whole, False  # the daemon's; its begin was seen; its end
        self._pause = timedelta.max  # the longest time without an event that its heartbeats allow

    def take(self, seq: int, found: re.Match[bytes]) -> None:
        """Take the next event.

        Args:
            seq: Its number.
            found: Its parts, as ``verify.LAYOUT`` gives them.
        """
        time = datetime.fromisoformat(found["time"].decode())
        last, self._last = self._last or time, time
        if found["source"] == b"daemon" and found["run"] != self._run:
            if self._run and not self._stopped:
                self._say(
                    seq, f"unexplained restart: the daemon had not stopped; silent from {last} to {time}"
                )
            self._known, self._stopped = self._known or bool(self._run), False
            self._run, self._counts = found["run"], {}
        elif time - last > self._pause:
            self._say(seq, f"heartbeats are missing: silent from {last} to {time}")
        if time < last:
            self._say(seq, f"the clock went back from {last} to {time}")
        self._count(seq, found)
        if found["action"] in (b"daemon.started", b"daemon.stopped", b"home.restored", b"clock.stepped"):
            self._told(seq, found)

    def _count(self, seq: int, found: re.Match[bytes]) -> None:
        run, count = found["run"], int(found["count"])
        due = self._counts.get(run, 0 if self._known else count)
        self._counts[run] = max(due, count + 1)
        who = f"the {found['source'].decode()}'s run {run.decode()}"
        if count > due:
            self._say(seq, f"counts {due} to {count - 1} of {who} are missing before it")
        elif count < due:
            self._say(seq, f"count {count} of {who} comes again or late, where {due} is due")

    def _told(self, seq: int, found: re.Match[bytes]) -> None:
        try:
            params = dict(json.loads(found["params"]))
        except (ValueError, TypeError, RecursionError):
            self._say(seq, "its params can't be read")
            return
        if found["action"] == b"clock.stepped":
            self._say(seq, f"the clock was moved by {params.get('seconds')} s")
        beat = params.get("heartbeat")
        if isinstance(beat, int) and 0 < beat <= MAX_HEARTBEAT:
            self._pause = timedelta(seconds=2 * beat + GRACE)
        if found["action"] != b"clock.stepped":
            self._stopped = found["action"] != b"daemon.started"

    def _say(self, seq: int, text: str) -> None:
        if len(self.found) < verify.MAX_FINDINGS:
            self.found.append((seq, text))


def parse_filter(data: bytes) -> dict[str, str]:
    """Read ``filter.json``.

    Args:
        data: The file's bytes.

    Returns:
        What fields of an event must be: names of ``FILTER`` and their texts.

    Raises:
        Refused: If it is something else.
    """
    with verify.reading("filter.json"):
        wanted = dict(**json.loads(data))
        if not FILTER.issuperset(wanted) or not all(isinstance(value, str) for value in wanted.values()):
            raise verify.Refused(f"filter.json is not an object of texts named {', '.join(sorted(FILTER))}")
    return wanted


def flat(body: bytes) -> dict[str, object]:
    """Lay an event's fields side by side: those of its actor, subject and source beside the others.

    Args:
        body: The event's bytes.

    Returns:
        The fields by name.

    Raises:
        Refused: If it is no event.
    """
    with verify.reading("an event"):
        event = json.loads(body)
        return dict(event | event["actor"] | event["source"] | (event["subject"] or {}))


def fits(wanted: Mapping[str, str], event: Mapping[str, object]) -> bool:
    """Tell whether an event fits a filter: each field exactly, but an act's name fits its outcomes, too.

    Args:
        wanted: What ``parse_filter`` gave.
        event: What ``flat`` gave.

    Returns:
        True if it does.
    """
    action, time = str(event["action"]), str(event["time"])
    outcome = verify.ACT.fullmatch(action)
    if "action" in wanted and wanted["action"] not in (action, outcome and outcome[1]):
        return False
    if not wanted.get("since", "") <= time < wanted.get("until", "~"):
        return False
    return all(event.get(name) == text for name, text in wanted.items() if name not in TIMES | {"action"})


def csv_row(cells: Iterable[object]) -> bytes:
    """Write a line of CSV: every cell quoted; what a spreadsheet would compute is marked as text.

    Args:
        cells: The cells; what is neither text nor None is written as JSON.

    Returns:
        The line.
    """
    texts = [
        "" if one is None else one if isinstance(one, str) else json.dumps(one, sort_keys=True)
        for one in cells
    ]
    safe = ["'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text for text in texts]
    return (",".join('"' + text.replace('"', '""') + '"' for text in safe) + "\n").encode(errors="replace")


def row(name: str, body: bytes, event: Mapping[str, object]) -> bytes:
    """Write an event as a row.

    Args:
        name: One of ``LISTED``.
        body: The event's bytes.
        event: What ``flat`` gave.

    Returns:
        Its line.
    """
    return csv_row(event.get(one) for one in COLUMNS) if name == "rows.csv" else body + b"\n"


def head(name: str) -> bytes:
    """Give what stands above all rows.

    Args:
        name: One of ``LISTED``.

    Returns:
        The names of the columns, or nothing.
    """
    return csv_row(COLUMNS) if name == "rows.csv" else b""


def verify_log(
    folder: Path, keys: Sequence[verify.Key], witness: Sequence[verify.Key] = ()
) -> verify.Verdict:
    """Verify a log folder, and say whether it is all there.

    Args:
        folder: A log folder: live, copied or exported.
        keys: The log's verifier keys, received from somewhere else.
        witness: Keys of a witness that must have cosigned it.

    Returns:
        The verdict, with its gaps.
    """
    whole = not (folder / "archived").exists()
    silences = Silences(whole=whole)
    verdict = verify.verify_log(folder, keys, silences.take)
    for seq, text in silences.found:
        verdict.add(verdict.gaps, text, seq)
    if witness:
        _verify_cosigned(folder, witness, verdict)
    if verdict.first:
        text = f"the {verdict.first} events before this one are not here; hashes stand for them"
        verdict.add(verdict.notes, text, verdict.first)
    rows = (
        [path.name for path in folder.iterdir() if path.name.startswith("rows.")] if folder.is_dir() else []
    )
    if (folder / FILTER_FILE).exists() or rows:
        with verdict.expecting():
            wanted = parse_filter(verify.read(folder / FILTER_FILE, verify.MAX_NOTE))
            _verify_all(folder, wanted, rows, verdict)
    return verdict


def _verify_cosigned(folder: Path, witness: Sequence[verify.Key], verdict: verify.Verdict) -> None:
    """Require a cosignature, by every key of a witness, that covers an event that is here."""
    name, covered = witness[0].name, False
    for path in sorted(folder.glob(verify.WITNESSED)):
        with verdict.expecting(f"witness/{path.name}: "):
            data = verify.read(path, verify.MAX_NOTE)
            note = verify.parse_note(data)
            times = [int.from_bytes(raw[:8], "big") for who, _, raw in note.signatures if who == name]
            if times and note.size > verdict.first:
                verify.verify_note(data, witness, name)
                time, covered = datetime.fromtimestamp(min(*times, MAX_TIME), UTC), True
                verdict.add(verdict.notes, f"{name} cosigned {note.size} events at {time}")
    if not covered:
        verdict.add(verdict.problems, f"there is no valid cosignature by {name} that covers what is here")


def _verify_all(folder: Path, wanted: dict[str, str], rows: list[str], verdict: verify.Verdict) -> None:
    """Compare every file of rows that can be compared, and name those that can't."""
    told = (
        f"of the events {verdict.first} to {verdict.signed - 1} that fit {json.dumps(wanted, sort_keys=True)}"
    )
    for name in sorted(rows):
        if name in LISTED:
            count = _verify_rows(folder, name, wanted, verdict)
            if count is not None:
                verdict.add(verdict.notes, f"{name} holds the {count} rows {told}, and no other")
        else:
            verdict.add(verdict.notes, f"{name} is not compared: only {' and '.join(LISTED)} are")
    if not set(LISTED).intersection(rows):
        verdict.add(verdict.problems, f"there is no file of rows that can be compared: the rows {told}")


def _verify_rows(folder: Path, name: str, wanted: dict[str, str], verdict: verify.Verdict) -> int | None:
    """Compare one file of rows; gives how many are due, or None after a problem."""
    seq, count = verdict.first, 0
    with verify.reading(name), _open_plain(folder / name) as file:
        if file.read(len(head(name))) != head(name):
            raise verify.Refused(f"the columns of {name} are not {', '.join(COLUMNS)}")
        for path in verify.segments(folder):
            for record in verify.records(*verify.read_segment(path)[2:]):
                event = flat(record.body) if record.body and seq < verdict.signed else None
                if event and fits(wanted, event):
                    due = row(name, record.body, event)
                    if file.read(len(due)) != due:
                        verdict.add(verdict.problems, f"{name} has something else where its row is due", seq)
                        return None
                    count += 1
                seq += 1
        if file.read(1):
            verdict.add(verdict.problems, f"{name} has rows where no more are due", seq)
            return None
    return count


def _open_plain(path: Path) -> BinaryIO:
    if not stat.S_ISREG(path.lstat().st_mode):
        raise verify.Refused(f"{path.name} is no plain file")
    return path.open("rb")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; see the module's description.

    Args:
        arguments: Those of the command line unless given.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        description="Verify a Holdfast audit log, and say whether it is all there."
    )
    parser.add_argument("path", type=Path, help="a log folder")
    parser.add_argument("--key", type=Path, help="verifier keys (log.pub) that you received from the site")
    parser.add_argument(
        "--witness", type=Path, help="verifier keys of a witness that must have cosigned the log"
    )
    parser.add_argument("--strict", action="store_true", help="gaps and unsigned events count as problems")
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")
    chosen, verdict = parser.parse_args(arguments), verify.Verdict()
    with verdict.expecting():
        keys = verify.parse_keys(verify.read(chosen.key or chosen.path / "log.pub", verify.MAX_NOTE))
        witness = verify.parse_keys(verify.read(chosen.witness, verify.MAX_NOTE)) if chosen.witness else []
        verdict = verify_log(chosen.path, keys, witness)
    if chosen.key is None:
        verdict.add(verdict.notes, "the keys came from the log itself; use --key with keys you received")
    verdict.strict = chosen.strict
    told = json.dumps({"ok": verdict.ok, **asdict(verdict)}) if chosen.json else str(verdict)
    sys.stdout.write(told + "\n")
    return 0 if verdict.ok else 3


if __name__ == "__main__":
    sys.exit(main())
