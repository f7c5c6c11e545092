"""Which file is read how, and how much of it: formats, a suite's items, and the bounds of what comes in. No I/O."""

from __future__ import annotations

from typing import Literal

from holdfast.errors import UntrustedRecipe

Format = Literal["jsonl", "parquet", "csv", "text"]

MAX_FILES = 10_000  # files of one data set; one request names them all
MAX_BYTES = 2 * 2**30  # bytes of all files of one data set, which is held in memory
MAX_DOCUMENT = 2**26  # bytes of one text file
MAX_DEPTH = 16  # folders within folders
MAX_PATH = 240  # characters of a file's path beneath the recipe

ITEMS_FILE = "items.jsonl"  # of a suite; its schema admits no other name
MAX_ITEMS_FILE = 64 * 2**20  # bytes of it, which are held in memory
MAX_ITEMS = 20_000  # items of one suite; their outcomes travel in one message

SUFFIXES: dict[Format, tuple[str, ...]] = {
    "jsonl": (".jsonl", ".ndjson"),
    "parquet": (".parquet",),
    "csv": (".csv", ".tsv"),
    "text": (".txt", ".md", ".markdown"),
}


def format_of(path: str, declared: Format | None, *, folder: bool) -> Format:
    """Say how a file is read.

    Args:
        path: The file's path, for its suffix and for the message.
        declared: What the recipe says; None if the suffix decides.
        folder: Whether it lies in a folder that the recipe names: then it is text unless the recipe says otherwise, and its
            suffix must fit.

    Returns:
        The format.

    Raises:
        UntrustedRecipe: If the suffix says nothing, or something else.
    """
    by_suffix = next(
        (form for form, suffixes in SUFFIXES.items() if path.lower().endswith(suffixes)),
        None,
    )
    wanted: Format | None = declared or ("text" if folder else by_suffix)
    if wanted is None or (folder and by_suffix != wanted):
        expected = SUFFIXES[wanted] if wanted else tuple(one for each in SUFFIXES.values() for one in each)
        raise UntrustedRecipe(
            "dataset.format",
            f"{path} is no data file of the format that is expected here ({', '.join(expected)}).",
            remedy=f"{'Move it out of the folder' if folder else 'Convert it'}, or say its 'format' in the recipe.",
            file=path,
        )
    return wanted
