"""Coverage-guided fuzzing of the readers, where atheris is installed (``pip install atheris``; nothing else needs it).

    python scripts/fuzz_coverage.py [ARGUMENTS OF LIBFUZZER, for example -max_total_time=600] [CORPUS]

A file's first byte chooses the name under which the rest is judged. Anything but a verdict (an exception, more than 2 GiB, more
than 10 seconds) ends the run and leaves the file behind. Without a corpus it begins with the vectors.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(
    0, str(Path(__file__).resolve().parents[1])
)  # scripts are run, and their parts live beside them

import atheris  # type: ignore[import-untyped]  # it has no type hints
from scripts import vectors

with atheris.instrument_imports(include=["holdfast.formats", "holdfast.canonical"]):
    from holdfast.formats import inspection

NAMES = (
    "x.safetensors", "x.gguf", "x.json", "config.json", "adapter_config.json", "tokenizer.json", "tokenizer_config.json",
    "generation_config.json", "x.jinja", "x.jsonl", "x.md", "x.toml",
)  # fmt: skip
LIMITS = ("-timeout=10", "-rss_limit_mb=2048", "-max_len=65536")


def judge(data: bytes) -> None:
    """Judge one file.

    Args:
        data: The choice of a name, then the file's bytes.
    """
    if data:
        name, rest = NAMES[data[0] % len(NAMES)], data[1:]
        inspection.inspect_loose({name: len(rest)}, lambda _, at, count: rest[at : at + count])


def corpus() -> str:
    """Write the vectors as a corpus to begin with.

    Returns:
        The folder.
    """
    folder = Path(tempfile.mkdtemp(prefix="fuzz-coverage-"))
    for one in (found for group in vectors.vectors() for found in group):
        for number, name in enumerate(NAMES):
            if Path(name).suffix == Path(one.name).suffix:
                (folder / f"{number}-{one.name}").write_bytes(bytes([number]) + one.data)
    return str(folder)


def main() -> None:
    """Run until told to stop."""
    arguments = sys.argv[1:]
    places = [] if any(not argument.startswith("-") for argument in arguments) else [corpus()]
    atheris.Setup([sys.argv[0], *LIMITS, *arguments, *places], judge)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
