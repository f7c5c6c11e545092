"""Feed changed files to our readers and to the readers they stand in front of, for as long as wanted.

    python scripts/fuzz_formats.py [SECONDS] [FIRST_SEED]

Ends with 1 at the first file that ours accept and the safetensors library or llama.cpp refuses, or at which ours fail with
anything but their own refusal; the file is kept beside the message. The last line is JSON: how many files were made and how
many of them were accepted by both.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(
    0, str(Path(__file__).resolve().parents[1])
)  # scripts are run, and their parts live beside them

import safetensors
from scripts.crafted import mutations
from scripts.crafted.llama_loader import Loader

from holdfast.formats import inspection

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 600  # without another wish


def accepted(name: str, data: bytes) -> bool:
    """Tell whether our readers accept a file.

    Args:
        name: Its name.
        data: Its bytes.

    Returns:
        Whether nothing speaks against it.
    """
    found = inspection.inspect_loose({name: len(data)}, lambda _, at, count: data[at : at + count])
    return not found.refusals


def library_takes(path: Path) -> bool:
    """Tell whether the safetensors library reads a file.

    Args:
        path: The file.

    Returns:
        Whether it does.
    """
    try:
        safetensors.deserialize(path.read_bytes())  # type: ignore[no-untyped-call]  # it has no type hints
    except safetensors.SafetensorError:
        return False
    return True


def main() -> int:
    """Run.

    Returns:
        The exit code.
    """
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    seed = first = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns()  # noqa: PLR2004 - the second argument
    both = 0
    folder = Path(tempfile.mkdtemp(prefix="fuzz-formats-"))
    end = time.monotonic() + seconds
    with Loader() as loader:
        rounds: list[tuple[str, Callable[[int], bytes], Callable[[Path], bool]]] = [
            ("x.gguf", mutations.changed_gguf, loader.takes),
            ("x.safetensors", mutations.changed_safetensors, library_takes),
        ]
        while time.monotonic() < end:
            for name, change, takes in rounds:
                path = folder / name
                path.write_bytes(change(seed))
                if accepted(name, path.read_bytes()):
                    both += 1
                    if not takes(path):
                        print(f"seed {seed}: {path} is accepted by us alone", file=sys.stderr)
                        return 1
            seed += 1
    print(json.dumps({"files": len(rounds) * (seed - first), "accepted_by_both": both, "first_seed": first}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
