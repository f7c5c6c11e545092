"""Build, cache and try the wheels of the pinned llama.cpp source.

`build` prints the paths of two wheels on stdout, building them first if the cache has none for this version, these
flags and this compiler; lines for people go to stderr. `smoke` tries the installed wheels on quantized models.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

# Run as a file, only the script's own folder is on the path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.llama import build, cache, compiler, native, smoke, source

KNOWN_FAILURES = (compiler.NoCompilerError, source.SourceError, native.BuildError, smoke.SmokeError)
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def say(line: str) -> None:
    """Write one line for people.

    Args:
        line: The line, without its end.
    """
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main() -> int:
    """Run the command line.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cache", type=Path, default=cache.default_cache(os.environ, Path.home()))
    parser.add_argument("command", choices=("build", "smoke"))
    arguments = parser.parse_args()
    try:
        if arguments.command == "build":
            for wheel in build.wheels(arguments.cache, say):
                sys.stdout.write(f"{wheel}\n")
        else:
            smoke.run(say)
    except KNOWN_FAILURES as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted; the next run goes on from here")
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
