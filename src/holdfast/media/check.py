"""Loose files, judged as they would be on a medium, without a daemon.

Order of operations: every file is opened here, without following links; those of one folder are read together in a child
process, which receives descriptors and nothing else, works within limits of memory and processor time, and may write no
file. Invariants: whatever a file holds, this process neither hangs nor grows with it; a child that dies of a file is a
finding about that file (``check.limits``), for each is then read again by a child of its own.
"""

from __future__ import annotations

import json
import os
import resource
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast import boundedchild
from holdfast.errors import NotFound, WorkerFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from holdfast.canonical import Json

MEMORY = 2 * 2**30  # bytes of address space: the largest tokenizer takes about 700 MB
SECONDS = 300  # of processor time for the files of one folder; the largest base takes about 20
MAX_REPORT = 64 * 2**20  # bytes of a child's answer: a finding for each of many thousand files
MAX_FILES = 10_000  # in one call: the most that an artefact may have
SPARE = 64  # descriptors beside the files
_CHILD = "holdfast.media.checkchild"
_LIMITS = {
    "key": "check.limits",
    "message": "It could not be read within the limits of memory and time.",
    "remedy": "Do not use this file: it is made to exhaust its reader, or far larger than any that may come in.",
}


@dataclass
class Checked:
    """What was found in one file.

    Args:
        path: As it was named.
        form: How it was read; None if it was not.
        facts: What it is.
        findings: What speaks against it, each with ``key``, ``message`` and ``remedy``; empty if it is accepted.
    """

    path: str
    form: str | None = None
    facts: dict[str, Json] = field(default_factory=dict)
    findings: list[dict[str, Json]] = field(default_factory=list)

    def to_json(self) -> dict[str, Json]:
        """Give the finding as plain data.

        Returns:
            All fields, and whether the file is accepted.
        """
        return {
            "path": self.path,
            "accepted": not self.findings,
            "form": self.form,
            "facts": self.facts,
            "findings": [*self.findings],
        }


def check(paths: Iterable[Path], *, memory: int = MEMORY, seconds: int = SECONDS) -> list[Checked]:
    """Judge loose files.

    Args:
        paths: The files.
        memory: Bytes of address space that a child may take.
        seconds: Processor time that a child may take.

    Returns:
        What was found in each, in the order given.

    Raises:
        NotFound: If one does not exist or can't be opened, or too many are named.
        WorkerFailed: If a child fails by a fault of ours.
    """
    wanted = list(dict.fromkeys(paths))
    if len(wanted) > MAX_FILES:
        raise NotFound(
            "check.too-many",
            f"{len(wanted)} files are named and {MAX_FILES} are allowed.",
            remedy="Name fewer at once.",
        )
    found = {path: Checked(_shown(path)) for path in wanted}
    folders: dict[Path, list[Path]] = {}
    for path in wanted:
        if why := _unusable(path):
            found[path].findings.append(
                {
                    "key": "check.not-a-file",
                    "message": f"{found[path].path} is {why}.",
                    "remedy": "Name plain files.",
                }
            )
        else:
            folders.setdefault(path.parent, []).append(path)
    for group in folders.values():
        answer = _judged(group, memory, seconds)
        for path in group:
            _take(found[path], path.name, answer if answer is not None else _judged([path], memory, seconds))
    return list(found.values())


def _unusable(path: Path) -> str:
    """Say what a path names if it is no plain file; empty if it is one."""
    try:
        mode = path.lstat().st_mode
    except OSError as problem:
        raise _missing(path, problem) from problem
    if stat.S_ISREG(mode):
        return ""
    return "a link" if stat.S_ISLNK(mode) else "a folder" if stat.S_ISDIR(mode) else "a special file"


def _judged(group: Sequence[Path], memory: int, seconds: int) -> dict[str, Json] | None:
    """Have a child judge files of one folder; None if it died of it."""
    handles: dict[str, int] = {}
    _make_room(len(group))
    try:
        for path in group:
            try:
                handles[path.name] = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as problem:
                raise _missing(path, problem) from problem
        return _ask(handles, memory, seconds)
    finally:
        for handle in handles.values():
            os.close(handle)


def _make_room(count: int) -> None:
    """Allow this process to have as many files open, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + SPARE
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise NotFound(
                "check.too-many",
                f"{count} files of one folder are named, and this system lets a process have {hard} open.",
                remedy="Name fewer at once.",
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _ask(handles: dict[str, int], memory: int, seconds: int) -> dict[str, Json] | None:
    ended = boundedchild.ask(
        _CHILD,
        {"files": {**handles}},
        memory=memory,
        seconds=seconds,
        most=MAX_REPORT,
        handles=tuple(handles.values()),
    )
    if ended.answer is None:
        return None
    if ended.code != 0:
        raise WorkerFailed(
            "check.child",
            f"The child process that reads the files failed with exit code {ended.code}: {ended.said}",
            remedy="Report this with the files; nothing was judged.",
        )
    said = json.loads(ended.answer)
    return said if isinstance(said, dict) else None


def _take(checked: Checked, name: str, answer: dict[str, Json] | None) -> None:
    said = answer.get(name) if answer is not None else None
    if not isinstance(said, dict):
        checked.findings.append({**_LIMITS, "message": f"{checked.path}: {_LIMITS['message']}"})
        return
    form, facts, findings = said.get("form"), said.get("facts"), said.get("findings")
    checked.form = form if isinstance(form, str) else None
    checked.facts = facts if isinstance(facts, dict) else {}
    for one in findings if isinstance(findings, list) else []:
        if isinstance(one, dict):
            told: dict[str, Json] = {
                key: _printable(text) if isinstance(text, str) else text for key, text in one.items()
            }
            checked.findings.append(told)


def _shown(path: Path) -> str:
    """Give a path as text that can be printed, whatever bytes its name has."""
    return _printable(str(path))


def _printable(text: str) -> str:
    """Escape what terminals obey and what is no text: a file's name is in many findings, and may hold both."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def _missing(path: Path, problem: OSError) -> NotFound:
    return NotFound(
        "check.missing",
        f"{_shown(path)} can't be opened: {problem.strerror}.",
        remedy="Name files that exist and that you may read.",
    )
