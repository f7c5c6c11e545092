"""The ladder of roots, from the first to the newest, as people read it.

A site follows it rung by rung (``Workflow.update_root``); here every rung is told: its fingerprint, what it changed, who signed it
and who is still needed. Invariant: a rung is complete only if the root before it and it itself vouch for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.trust import fingerprint, metadata, roots, standing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.trust.standing import Standing


@dataclass(frozen=True)
class Rung:
    """One root of the ladder.

    Args:
        data: Its bytes.
        fingerprint: Its fingerprint.
        standing: Who signed it.
        changes: What it changed, in sentences.
    """

    data: bytes
    fingerprint: str
    standing: Standing
    changes: tuple[str, ...]


def climb(files: Mapping[int, bytes]) -> tuple[Rung, ...]:
    """Judge the signatures of a ladder of roots.

    Args:
        files: Bytes of the roots by version, as their names tell it; consecutive, from any version on.

    Returns:
        The rungs, lowest first. The lowest is judged by itself alone if it is not version 1.

    Raises:
        UntrustedBundle: If there is none, one is missing or malformed, or a signature is wrong.
    """
    versions = sorted(files)
    if not versions:
        raise metadata.refuse("root-missing", "There is no root.")
    rungs: list[Rung] = []
    for expected, version in enumerate(versions, start=versions[0]):
        if version != expected:
            raise metadata.refuse(
                "root-missing",
                f"Root version {expected} is missing; {version} does not follow {expected - 1}.",
                expected=expected,
            )
        rungs.append(rung(files[version], files.get(version - 1)))
        if rungs[-1].standing.version != version:
            raise metadata.refuse(
                "root-version",
                f"The root named {version} has version {rungs[-1].standing.version}.",
                found=rungs[-1].standing.version,
                expected=version,
            )
    return tuple(rungs)


def rung(data: bytes, previous: bytes | None) -> Rung:
    """Judge the signatures of one root.

    Args:
        data: Its bytes.
        previous: Bytes of the root before it, or None.

    Returns:
        The rung.

    Raises:
        UntrustedBundle: If either is malformed, the versions don't follow, or a signature is wrong.
    """
    return Rung(
        data,
        fingerprint.of_root(data),
        standing.of_root(data, previous),
        roots.changes(data, previous),
    )
