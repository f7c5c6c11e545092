"""What a path names for ``holdfast trust``: a root, a folder of roots, a medium, or a document of the ceremony."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from holdfast.cli import keyfiles
from holdfast.errors import NotFound, UsageRefused

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.canonical import Json
    from holdfast.media.papers import Papers
    from holdfast.trust.ladder import Rung

_ROOT = re.compile(r"([1-9][0-9]{0,3})\.root\.json")


@dataclass(frozen=True)
class Document:
    """A document that carries no signatures.

    Args:
        data: What it says, as plain data.
        lines: What it says, as lines.
    """

    data: dict[str, Json]
    lines: tuple[str, ...]


def lay_out(path: Path, previous: Path | None, *, alone: bool = False) -> Papers:
    """Read what can be signed.

    Args:
        path: A root, a medium, or a metadata file of a medium.
        previous: The root before it; looked for beside it, as ``<version>.root.json``, if None.
        alone: Whether a root may be judged without the root before it, where that is not at hand.

    Returns:
        The papers; of a metadata file, those of its medium with that one file to sign.

    Raises:
        NotFound: If something is not there.
        UsageRefused: If it is nothing that can be signed.
        UntrustedBundle: If it is malformed, contradicts itself, or a signature is wrong.
    """
    from tuf.api.metadata import Root

    from holdfast.media import layout, papers
    from holdfast.trust import metadata, signing

    if path.is_dir():
        return papers.of_medium(path)
    found = signing.read(
        keyfiles.read(path, max(metadata.MAX_BYTES.values()), "The file"), f"The file {path}"
    )
    if isinstance(found.signed, Root):
        data = signing.write(found)
        return papers.of_root(path, data, _before(path, found.signed.version, previous, alone=alone))
    medium = path.absolute().parent.parent
    if path.absolute().parent.name != layout.METADATA:
        raise UsageRefused(
            "trust.loose",
            f"{path} is the metadata of a medium, and only with its medium can be shown what it stands for.",
            remedy="Name the medium, or the file in the medium's metadata folder.",
            file=str(path),
        )
    whole = papers.of_medium(medium)
    return replace(whole, sheets=tuple(one for one in whole.sheets if one.path.name == path.name))


def ladder_in(folder: Path) -> tuple[Rung, ...]:
    """Read a folder of roots.

    Args:
        folder: It holds ``<version>.root.json``, consecutive from any version on.

    Returns:
        The ladder, lowest first.

    Raises:
        NotFound: If there is no such folder, or no root in it.
        UntrustedBundle: If one is missing or malformed, or a signature is wrong.
    """
    from tuf.api.metadata import Root

    from holdfast.trust import ladder, metadata

    found = {int(name[1]): path for path in folder.iterdir() if (name := _ROOT.fullmatch(path.name))}
    if not found:
        raise NotFound(
            "trust.no-roots",
            f"{folder} is neither a medium nor a folder of roots.",
            remedy="Name a folder that holds 1.root.json and its successors, or a medium.",
            folder=str(folder),
        )
    limit = metadata.MAX_BYTES[Root.type]
    return ladder.climb({version: keyfiles.read(path, limit, "The root") for version, path in found.items()})


def document(path: Path) -> Document | None:
    """Read a delegation or a revocation list.

    Args:
        path: The file.

    Returns:
        What it says, or None if it is neither.

    Raises:
        NotFound: If it can't be read.
        UntrustedInput: If it is malformed.
    """
    from holdfast import canonical
    from holdfast.cli import trustview
    from holdfast.trust import fingerprint, publisher, revocation

    data = keyfiles.read(path, revocation.MAX_DOCUMENT, "The file")
    value = canonical.decode(data, limit=revocation.MAX_DOCUMENT, what=f"The file {path}")
    schema = value.get("schema") if isinstance(value, dict) else None
    if schema not in (publisher.SCHEMA, revocation.SCHEMA) or not isinstance(value, dict):
        return None
    print_ = fingerprint.of_document(data)
    if schema == publisher.SCHEMA:
        lines = list(trustview.delegation_lines(publisher.parse(data)))
    else:
        lines = list(trustview.revocation_lines(revocation.parse(data)))
    return Document({"fingerprint": print_, **value}, (*lines, f"fingerprint  {print_}"))


def _before(path: Path, version: int, previous: Path | None, *, alone: bool) -> bytes | None:
    """Find the root before another."""
    from tuf.api.metadata import Root

    from holdfast.trust import metadata

    if version == 1:
        return None
    place = previous or path.with_name(f"{version - 1}.root.json")
    if not place.is_file():
        if alone and previous is None:
            return None
        raise NotFound(
            "trust.previous-root",
            f"Root version {version} follows version {version - 1}, and there is no {place}.",
            remedy="Put the root before it beside it, or name it with --previous.",
            file=str(place),
        )
    return keyfiles.read(place, metadata.MAX_BYTES[Root.type], "The root before it")
