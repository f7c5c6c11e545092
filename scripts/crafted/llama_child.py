"""A child process that loads GGUF files with llama.cpp itself and says which it takes; run, never imported.

Reads one path per line; answers each with one line: ``yes``, or ``no`` and llama.cpp's reason. A process that dies while it
loads a file has answered as well: llama.cpp aborts on some files.
"""

from __future__ import annotations

import sys

from holdfast.gguf.llama import load_backends, recent_errors


def main() -> None:
    """Answer until there are no more questions."""
    llama = load_backends()
    print("ready", flush=True)
    for line in sys.stdin:
        recent_errors()
        options = llama.llama_model_default_params()
        options.n_gpu_layers = 0
        model = llama.llama_model_load_from_file(line.rstrip("\n").encode(), options)
        if model:
            llama.llama_model_free(model)
        print("yes" if model else f"no {recent_errors()!r}", flush=True)


if __name__ == "__main__":
    main()
