"""Whether a model's folder is one that embeds, and how it pools."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.formats import pooling

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.formats.pooling import Pooling


def of_folder(model: Path) -> Pooling | None:
    """Read how a model pools.

    Args:
        model: Its folder.

    Returns:
        The way of pooling; None for a model that does not embed.

    Raises:
        UntrustedBundle: If the settings are malformed.
    """
    path = model / pooling.CONFIG
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return pooling.read(file.read(pooling.MAX_CONFIG + 1), pooling.CONFIG)
