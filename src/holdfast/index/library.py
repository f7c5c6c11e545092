"""The queries that come with the software: one file each in ``queries``, named as the query is."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from holdfast.errors import NotFound
from holdfast.governance import queries

if TYPE_CHECKING:
    from holdfast.governance.queries import Query


@cache
def known() -> tuple[Query, ...]:
    """List them.

    Returns:
        All, by name.
    """
    folder = resources.files("holdfast.index").joinpath("queries")
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name
    )
    return tuple(
        queries.parse(file.name.removesuffix(".sql"), file.read_text(encoding="utf-8")) for file in files
    )


def find(name: str) -> Query:
    """Find one.

    Args:
        name: Its name.

    Returns:
        It.

    Raises:
        NotFound: If there is none.
    """
    for one in known():
        if one.name == name:
            return one
    raise NotFound(
        "query.unknown", f"There is no query {name[:60]!r}.", remedy="See `holdfast audit queries list`."
    )
