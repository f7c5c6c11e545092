"""Imports on a file system that is really too small: FOLDER and ``mounted``, or ``limited`` where the process may write no large file.

Says what happened, a word a line. Whoever starts it mounts the file system: 3 MB and 400 files.
"""

from __future__ import annotations

import resource
import secrets
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest
from tests.integration.faults.house import House
from tests.integration.media import crafted

from holdfast.errors import NoSpace, OperationFailed
from holdfast.formats import chunking
from holdfast.store import disk

usage = namedtuple("usage", "total used free")  # noqa: PYI024 - the shape of shutil's own


def refused(house: House, made: crafted.Crafted, kind: type[OperationFailed] = NoSpace) -> None:
    with pytest.raises(kind) as caught:
        house.take_in(made)
    assert caught.value.exit_code == kind.exit_code
    assert caught.value.remedy
    house.whole()


def main() -> None:
    small, how = Path(sys.argv[1]), sys.argv[2]
    disk.shutil.disk_usage = lambda _: usage(2**40, 0, 2**40)  # the file system itself shall say it
    chunking.PIECE = 64 * 1024
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        first = crafted.medium_of(place / "first", {"one": {"a": secrets.token_bytes(600_000)}})
        more = {"root": first.root, "version": 2}
        second = crafted.medium_of(place / "second", {"one": {"b": secrets.token_bytes(1_500_000)}}, **more)
        tiny = {"many": {f"{at}.txt": str(at).encode() for at in range(500)}}
        many = crafted.medium_of(place / "many", tiny, **more)
        house = House.found(small / "home", first, disk.HOST).start()
        house.admit(house.take_in(first)[0])
        house.whole()
        if how == "mounted":
            (small / "ballast").write_bytes(bytes(1_500_000))
            refused(house, second)
            print("full")  # noqa: T201 - the answer
            (small / "ballast").unlink()
            refused(house, many)
            print("inodes")  # noqa: T201 - the answer
            for entry in house.home.quarantine.iterdir():
                if any(entry.glob("stage/*/0.txt")):  # given up
                    disk.remove_tree(entry)
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
            refused(house, second, OperationFailed)
            print("limited")  # noqa: T201 - the answer
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        house.admit(house.take_in(second)[0])
        house.whole()
        print("well")  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
