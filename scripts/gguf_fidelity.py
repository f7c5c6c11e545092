"""Measure what converting and quantizing a base costs; the bounds in `holdfast.gguf.spec` come from here.

    python scripts/gguf_fidelity.py bundles/starter/base bundles/starter/suites/general/items.jsonl

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

from holdfast.gguf.spec import BOUNDS, ENVIRONMENT
from holdfast.workers import convert
from holdfast.workers.channel import Channel


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
        texts.append(tokenizer.apply_chat_template(messages, tokenize=False))
    return texts


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("texts", type=Path)
    arguments = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    ours, other = socket.socketpair()
    with tempfile.TemporaryDirectory() as out, ours, other:
        order = {
            "task": "base",
            "model": str(arguments.model.resolve()),
            "probe": conversations(arguments.model, arguments.texts),
            "quantizations": list(BOUNDS),
            "out": out,
        }
        json.dump(convert.main(Channel(ours), order), sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
