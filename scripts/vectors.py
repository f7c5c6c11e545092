"""Write the test vectors into ``bundles/vectors``: files that are accepted, files that are refused, and what each is.

    python scripts/vectors.py [FOLDER]

The same files every time; a test compares the committed ones with what this writes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(
    0, str(Path(__file__).resolve().parents[1])
)  # scripts are run, and their parts live beside them

from scripts.crafted import disguises, documents, ggufs, tensors

if TYPE_CHECKING:
    from scripts.crafted.vector import Vector

FOLDER = Path(__file__).resolve().parents[1] / "bundles" / "vectors"
HEAD = """# Vectors

Small files for whoever reads what comes in, written by `scripts/vectors.py`. Each file in `valid/` is accepted by
`holdfast media check`, each file in `hostile/` is refused (exit code 3) with the key named here. Attacks that need a folder
(links, colliding names, files nobody listed) and attacks on signatures are in the tests. Nothing here does harm: where a
file would run something, it prints a line or names what does not exist.
"""


def vectors() -> tuple[list[Vector], list[Vector]]:
    """Give all vectors.

    Returns:
        Those that are accepted, and those that are refused, each sorted by name.
    """
    valid = [*tensors.right(), *ggufs.right(), *documents.right()]
    hostile = [*tensors.wrong(), *ggufs.wrong(), *documents.wrong(), *disguises.wrong()]
    return sorted(valid, key=lambda one: one.name), sorted(hostile, key=lambda one: one.name)


def readme(valid: list[Vector], hostile: list[Vector]) -> str:
    """Write the table of all vectors.

    Args:
        valid: Those that are accepted.
        hostile: Those that are refused.

    Returns:
        The text.
    """
    lines = [HEAD, f"## Valid ({len(valid)})\n", "| file | what it is |", "|---|---|"]
    lines += [f"| `{one.name}` | {one.why} |" for one in valid]
    lines += [f"\n## Hostile ({len(hostile)})\n", "| file | key | what it is |", "|---|---|---|"]
    lines += [f"| `{one.name}` | `{one.key}` | {one.why} |" for one in hostile]
    return "\n".join(lines) + "\n"


def write(folder: Path) -> None:
    """Write everything, and remove what is no longer made.

    Args:
        folder: Where to.
    """
    valid, hostile = vectors()
    for name, group in (("valid", valid), ("hostile", hostile)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for old in {path.name for path in (folder / name).iterdir()} - {one.name for one in group}:
            (folder / name / old).unlink()
        for one in group:
            (folder / name / one.name).write_bytes(one.data)
    (folder / "README.md").write_text(readme(valid, hostile), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
