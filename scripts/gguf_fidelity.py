"""Measure what converting and quantizing a base costs; the default floor in `holdfast.gguf.choice` comes from here.

    python scripts/gguf_fidelity.py bundles/starter/base bundles/starter/suites/general/items.jsonl
    python scripts/gguf_fidelity.py bundles/starter/base bundles/starter/data/authority.jsonl --calibrate --type q2_k

TEXTS is a file of JSON lines with `messages` and, where the reply is apart, `answers`; they are written out by the base's
chat template. Prints the worker's result as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.dataset import prepared, profile
from holdfast.gguf import calibration, choice
from holdfast.gguf.spec import ENVIRONMENT
from holdfast.workers import convert, quantize
from holdfast.workers.channel import Channel

if TYPE_CHECKING:
    from holdfast.canonical import Json


def conversations(model: Path, lines: Path) -> list[str]:
    """Write conversations out as the model reads them.

    Args:
        model: Folder of the base, for its chat template.
        lines: The file of JSON lines.

    Returns:
        One text per line.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    texts = []
    for line in lines.read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        messages = [
            *item["messages"],
            *({"role": "assistant", "content": text} for text in item.get("answers", [])[:1]),
        ]
        texts.append(str(tokenizer.apply_chat_template(messages, tokenize=False)))
    return texts


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument(
        "--type", action="append", dest="types", help="one more type; q8_0 and q4_k_m if none is given"
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="measure on every fifth text, plain and calibrated on the rest",
    )
    arguments = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    ours, other = socket.socketpair()
    with tempfile.TemporaryDirectory() as out, ours, other:
        channel, texts = Channel(ours), conversations(arguments.model, arguments.texts)
        model = str(arguments.model.resolve())
        order: dict[str, Json] = {"task": "base", "model": model, "probe": [*texts], "out": out}
        found = convert.main(channel, order)
        asked = {
            "f16": f"{out}/f16.gguf",
            "out": out,
            "types": arguments.types or ["q8_0", "q4_k_m"],
            "floor": choice.Floor().to_json(),
            "keep": "none",
        }
        if arguments.calibrate:
            data = Path(out) / "data"
            write_texts(data, texts)
            held_out = list(calibration.read(data).held_out)
            calibrated = asked | {"calibration": str(data), "source": arguments.texts.name}
            found["calibrated"] = quantize.main(channel, calibrated)["table"]
            texts = held_out
        found["table"] = quantize.main(channel, asked | {"probe": texts})["table"]
        json.dump(found, sys.stdout, indent=2)
    sys.stdout.write("\n")


def write_texts(folder: Path, texts: list[str]) -> None:
    """Write texts as a data set's preparation leaves them.

    Args:
        folder: Where to.
        texts: The texts.
    """
    folder.mkdir()
    rows: list[Json] = [{"at": f"texts:{at}", "text": text} for at, text in enumerate(texts, start=1)]
    (folder / prepared.ROWS).write_bytes(b"".join(canonical.encode(row) + b"\n" for row in rows))
    described: dict[str, Json] = {"schema": profile.SCHEMA, "form": "text"}
    (folder / prepared.PROFILE).write_bytes(canonical.encode(described))


if __name__ == "__main__":
    main()
