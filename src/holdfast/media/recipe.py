"""The recipe of a medium: which artefacts a publisher puts on it, written by hand in TOML.

Invariants: every artefact states its label and its licence; every mistake is reported with its line and what was expected
there; data files are looked for only beneath the recipe's folder.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from holdfast.artefact import is_name, is_safe_path
from holdfast.errors import UntrustedInput
from holdfast.formats import written
from holdfast.governance import labels
from holdfast.media.manifest import MAX_ARTEFACTS, MAX_TEXT

if TYPE_CHECKING:
    from pathlib import Path

KEY = "media.recipe"
_PARENT = re.compile(r"sha512:[0-9a-f]{128}|[a-z]+/[^/]+")


def _name(value: str) -> str:
    if not is_name(value):
        raise ValueError("a short printable name without / : @ \\ is expected")
    return value


def _path(value: str) -> str:
    if value != "." and not is_safe_path(value):
        raise ValueError("a plain path beneath the recipe's folder is expected")
    return value


def _parent(value: str) -> str:
    if not _PARENT.fullmatch(value):
        raise ValueError('"kind/name" of an artefact above or a sha512: digest is expected')
    return value


Name = Annotated[str, AfterValidator(_name)]
Path_ = Annotated[str, AfterValidator(_path)]
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
Line = Annotated[str, Field(min_length=1, max_length=MAX_TEXT, pattern=r"^[^\n]*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class LabelSpec(_Strict):
    """The label of one artefact, as written.

    Args:
        level: One of the levels.
        compartments: Need-to-know groups.
        zones: Places where it may live.
    """

    level: Literal["public", "internal", "restricted", "secret"]
    compartments: list[str] = Field(max_length=labels.MAX_NAMES)
    zones: list[str] = Field(min_length=1, max_length=labels.MAX_NAMES)


class ArtefactSpec(_Strict):
    """One artefact, as written.

    Args:
        kind: What it is.
        name: Its name.
        version: Its version.
        path: Its folder, beneath the recipe's.
        files: Its files in that folder; all of them if not given.
        licence: The terms it comes under.
        label: What it may be used for.
        parents: What it was derived from: ``kind/name`` of an artefact above, or a digest.
    """

    kind: Literal["base", "tokenizer", "adapter", "dataset", "suite", "recipe", "merged", "gguf"]
    name: Name
    version: Name
    path: Path_
    files: list[Path_] | None = Field(default=None, min_length=1)
    licence: Line
    label: LabelSpec
    parents: list[Annotated[str, AfterValidator(_parent)]] = Field(default_factory=list)


class MediumRecipe(_Strict):
    """The whole document.

    Args:
        schema_: Its format.
        name: Name of the bundle.
        version: Version of the bundle.
        description: A sentence for people.
        publisher: Who makes it, for people.
        expires_days: How long the medium may be imported.
        artefact: Its artefacts; none for a medium that only brings revocations.
    """

    schema_: Literal["holdfast.medium/1"] = Field(alias="schema")
    name: Name
    version: Name
    description: Text
    publisher: Line
    expires_days: int = Field(default=365, ge=1, le=1825)
    artefact: list[ArtefactSpec] = Field(default_factory=list, max_length=MAX_ARTEFACTS)


class Recipe:
    """A recipe with the files it found.

    Args:
        path: The recipe's file.

    Raises:
        UntrustedRecipe: If it has a mistake, or a data file is missing.
        OSError: If the recipe itself can't be read.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            data = file.read(written.MAX_DOCUMENT + 1)
        self.document = written.read(data, MediumRecipe, file=path.name, key=KEY)
        lines = written.key_lines(data.decode("utf-8"))
        mistakes: list[tuple[int, str]] = []
        self.files: list[dict[str, Path]] = []
        names: dict[str, int] = {}
        for number, spec in enumerate(self.document.artefact):
            self.files.append(_files(path.parent, spec, lines, number, mistakes))
            mistakes += _check(spec, lines, number, names)
            names[f"{spec.kind}/{spec.name}"] = lines.get(("artefact", number), 1)
        if mistakes:
            raise written.refusal(path.name, KEY, sorted(mistakes))


def _check(
    spec: ArtefactSpec, lines: dict[written.Loc, int], number: int, names: dict[str, int]
) -> list[tuple[int, str]]:
    found = []
    line = lines.get(("artefact", number), 1)
    if f"{spec.kind}/{spec.name}" in names:
        first = names[f"{spec.kind}/{spec.name}"]
        found.append((line, f"{spec.kind}/{spec.name} stands already in line {first}"))
    found.extend(
        (lines.get(("artefact", number, "parents"), line), f"the parent {parent} is no artefact above")
        for parent in spec.parents
        if not parent.startswith("sha512:") and parent not in names
    )
    try:
        labels.parse(spec.label.model_dump())
    except UntrustedInput as problem:
        found.append((lines.get(("artefact", number, "label"), line), problem.message))
    return found


def _files(
    base: Path,
    spec: ArtefactSpec,
    lines: dict[written.Loc, int],
    number: int,
    mistakes: list[tuple[int, str]],
) -> dict[str, Path]:
    """Find an artefact's files; note what is missing or no plain file."""
    folder = base / spec.path
    place: written.Loc = ("artefact", number)
    if not folder.is_dir():
        mistakes.append(
            (lines.get((*place, "path"), 1), f"the folder {spec.path} is missing beside the recipe")
        )
        return {}
    line = lines.get((*place, "files"), lines.get((*place, "path"), 1))
    if spec.files is None:
        found = {
            str(p.relative_to(folder)): p
            for p in sorted(folder.rglob("*"))
            if p.is_symlink() or not p.is_dir()
        }
        if not found:
            mistakes.append((line, f"the folder {spec.path} holds no file"))
    else:
        found = {name: folder / name for name in spec.files}
    for name, path in found.items():
        if path.is_symlink() or not path.is_file():
            what = "is missing" if not path.exists() else "is not a plain file"
            mistakes.append((line, f"the file {spec.path}/{name} {what}; a data file is expected there"))
        elif not is_safe_path(name):
            mistakes.append((line, f"the name {name[:80]} can't stand on a medium"))
    return found
