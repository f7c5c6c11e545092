"""Media with a million names and manifests that claim a billion things, judged in a process of their own: FOLDER.

Writes one JSON object a line: the case, the key of the error that refused it, seconds of processor time, and the peak of memory
so far in MB.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from tests.integration.media import crafted

from holdfast import canonical, hashing
from holdfast.errors import HoldfastError
from holdfast.media import filelist, layout, manifest
from holdfast.media.read import Medium
from holdfast.media.verify import verify_medium

if TYPE_CHECKING:
    from collections.abc import Callable

MILLION, BILLION = 10**6, 10**9


def tell(case: str, work: Callable[[], object]) -> None:
    """Do what must be refused, and tell how."""
    began = time.process_time()
    try:
        work()
    except HoldfastError as error:
        key = error.key
    else:
        key = ""
    gc.collect()  # an error and its frames refer to each other
    peak = _peak()
    told = {"case": case, "key": key, "seconds": time.process_time() - began, "peak": peak}
    print(json.dumps(told), flush=True)  # noqa: T201 - the answer


def _peak() -> int:
    """Give this program's peak in MB; what getrusage tells begins with the peak of whoever started it."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) // 1024


def judge(folder: Path, root: bytes) -> None:
    verify_medium(folder, crafted.TrustState(root), crafted.NOW, crafted.quiet).medium.close()


def fill(folder: Path, count: int) -> None:
    folder.mkdir()
    handle = os.open(folder, os.O_RDONLY)
    for number in range(count):
        os.mknod(f"{number}.json", dir_fd=handle)
    os.close(handle)


def listings(place: Path) -> None:
    """A folder of a million files, put into each place of a medium in turn."""
    made = crafted.medium_of(place / "medium", {"one": {"a.bin": b"x"}})
    medium, crowd = made.folders[0], place / "crowd"
    fill(crowd, MILLION)
    known = next((medium / "chunks").iterdir())
    for name in ("metadata", "targets", "targets/datasets", f"chunks/{known.name}", "chunks/zz", "more"):
        goal = medium / name
        here = [*goal.iterdir()] if goal.is_dir() else []
        for path in here:
            path.rename(crowd / path.name)
        if goal.is_dir():
            goal.rmdir()
        crowd.rename(goal)
        tell(f"a million files in {name.replace(known.name, 'aa')}", lambda: judge(medium, made.root))
        goal.rename(crowd)
        if here:
            goal.mkdir()
        for path in here:
            (crowd / path.name).rename(path)
    judge(medium, made.root)
    with Medium(place) as all_of_it:
        tell("a million files gone through", lambda: sum(1 for _ in all_of_it.walk()))


def many(item: bytes, count: int) -> bytes:
    return b"[" + (item + b",") * (count - 1) + item + b"]"


def changed(**facts: object) -> bytes:
    whole = json.loads(crafted.manifest_of({"one": {"a.bin": b"x"}}).encode())
    whole["artefacts"][0]["files"][0].update(facts)
    return json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()


MOST = manifest.MAX_MANIFEST
CHUNK = {"digest": hashing.sha512(b"x"), "size": 1}
CLAIMS: dict[str, Callable[[], bytes]] = {  # each within the bytes that are read
    "numbers": lambda: many(b"0", MOST // 2 - 1),
    "lists": lambda: many(b"[]", MOST // 3 - 1),
    "objects": lambda: many(b'{"a":1}', MOST // 8 - 1),
    "nesting": lambda: b"[" * (MOST // 2) + b"]" * (MOST // 2),
    "one text": lambda: b'["' + b"x" * (MOST - 4) + b'"]',
    "as many objects as are read": lambda: many(b'{"a":"%050d"}' % BILLION, filelist.MAX_CONTAINERS - 2),
    "as many texts as are read": lambda: many(b'"%029d"' % BILLION, filelist.MAX_VALUES),
    "as many chunks as are read": lambda: changed(chunks=[CHUNK] * (MOST // 170)),
    "a size of a billion billion": lambda: changed(size=BILLION * BILLION),
    "a size of a million gigabytes": lambda: changed(size=MILLION * 2**30),
    "a chunk of a billion bytes": lambda: changed(chunks=[{**CHUNK, "size": BILLION}], size=BILLION),
}


def forged(place: Path) -> None:
    root = crafted.medium_of(place / "real", {"one": {"a.bin": b"x"}}).root
    for case, make in CLAIMS.items():
        found = SimpleNamespace(encode=make, carried={})
        medium = crafted.craft(place / "forged", found, {}, root=root).folders[0]
        tell(f"a manifest of {case}", lambda medium=medium: judge(medium, root))
        shutil.rmtree(medium)
    files = {"one": {"a.bin": b"x"}}
    split = crafted.medium_of(place / "split", files, root=root, size=2**20)
    told = json.loads((split.folders[0] / layout.VOLUME).read_bytes())
    for field in ("number", "count"):
        (split.folders[0] / layout.VOLUME).write_bytes(canonical.encode({**told, field: BILLION}))
        tell(f"a billion as the {field} of volumes", lambda: judge(split.folders[0], root))
    (split.folders[0] / layout.VOLUME).unlink()
    medium = split.folders[0]
    for path in (*sorted((medium / "metadata").iterdir()), medium / "targets" / "manifest.json"):
        whole = path.read_bytes()
        os.truncate(path, BILLION)
        tell(f"a billion bytes of {path.name}", lambda: judge(split.folders[0], root))
        path.write_bytes(whole)
    judge(split.folders[0], root)


def main() -> None:
    place = Path(sys.argv[2])
    {"listings": listings, "forged": forged}[sys.argv[1]](place)


if __name__ == "__main__":
    main()
