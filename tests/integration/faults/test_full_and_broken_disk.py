"""The disk is full, or fails, at each single operation of an import and an admission; and a file system that really is full."""

from __future__ import annotations

import errno
import json
import os
import secrets
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.integration.faults.house import PIECE, House
from tests.integration.faults.platter import QuickDisk, Recorder, lay_down, snapshot
from tests.integration.media import crafted

from holdfast.errors import NoSpace, OperationFailed
from holdfast.media import layout, trusthome
from holdfast.store import disk

FAILING = {  # what the system can say of each operation
    "make_folder": (errno.ENOSPC, errno.EIO, errno.EDQUOT),
    "create": (errno.ENOSPC, errno.EIO),
    "open": (errno.EIO,),
    "allocate": (errno.ENOSPC, errno.EIO),
    "write": (errno.ENOSPC, errno.EIO),
    "protect": (errno.EIO, errno.EROFS),
    "sync": (errno.ENOSPC, errno.EIO),
    "close": (errno.ENOSPC, errno.EIO),
    "link": (errno.ENOSPC, errno.EIO),
    "rename": (errno.ENOSPC, errno.EIO),
    "sync_folder": (errno.ENOSPC, errno.EIO),
}


class FailingDisk(QuickDisk):
    """Counts operations of one kind, and fails at one of them and, like a full or broken disk, at all that follow.

    ``lasting`` False fails once: what follows succeeds, as after somebody removed a file.
    """

    def __init__(self) -> None:
        self.step, self.after, self.number, self.lasting = "", -1, 0, True
        self.counts: dict[str, int] = {}
        self._lock = threading.Lock()  # of several threads that copy none is miscounted

    def fail(self, step: str, after: int, number: int, *, lasting: bool) -> None:
        self.counts.clear()
        self.step, self.after, self.number, self.lasting = step, after, number, lasting

    def heal(self) -> None:
        self.after = -1

    def meet(self, step: str) -> None:
        with self._lock:
            count = self.counts[step] = self.counts.get(step, 0) + 1
        if (
            step == self.step
            and self.after >= 0
            and (count > self.after if self.lasting else count == self.after + 1)
        ):
            raise OSError(self.number, os.strerror(self.number))


def _failing(step: str):
    real = getattr(QuickDisk, step)

    def operation(self, *arguments):
        if step == "close":
            real(self, *arguments)  # the descriptor is gone, whatever close says
            self.meet(step)
            return None
        self.meet(step)
        return real(self, *arguments)

    return operation


for _step in FAILING:
    setattr(FailingDisk, _step, _failing(_step))


@pytest.fixture(scope="module")
def media(place):
    old = {"one": {"a": secrets.token_bytes(3 * PIECE), "deep/b": b"b", "empty": b""}}
    new = {"one": {"a": old["one"]["a"], "deep/c": secrets.token_bytes(5 * PIECE)}, "two": {"d": b"d"}}
    first = crafted.medium_of(place / "first", old)
    return [first, crafted.medium_of(place / "second", new, root=first.root, version=2)]


@pytest.fixture(scope="module")
def stocked(place, media):
    """The image and the log of a home in which the first medium is admitted."""
    house = House.found(place / "home", media[0]).start()
    house.admit(house.take_in(media[0])[0])
    return snapshot(place / "home", Recorder()), house.events


def go_through(house, made):
    """Import and admit; gives what failed, and whether it was before the admission was recorded."""
    try:
        house.admit(house.take_in(made)[0])
    except OperationFailed as error:
        return error
    return None


def whole_after(house, made, seen):
    """The old generation is active and whole, or the new one is; gives which."""
    admitted = len(house.state.generations)
    house.whole()
    seen.add(admitted)
    assert (house.state.generations[-1].artefacts == tuple(sorted(one.digest for one in made.records))) is (
        admitted == 2
    )


@pytest.mark.parametrize("lasting", [True, False], ids=["lasting", "once"])
@pytest.mark.parametrize("step", FAILING)
def test_each_operation_in_turn_fails(stocked, media, place, step, lasting):
    image, events = stocked
    seen: set[int] = set()
    failed = 0
    for number in FAILING[step]:
        for after in range(1000):
            root = place / f"{step}-{lasting}-{number}-{after}"
            lay_down(image, root)
            house = House(root, FailingDisk(), events).start()
            house.disk.fail(step, after, number, lasting=lasting)
            error = go_through(house, media[1])
            reached = house.disk.counts.get(step, 0) > after
            house.disk.heal()
            if error is not None:
                assert isinstance(error, NoSpace) is (number in disk.FULL), error
                assert error.exit_code == (7 if number in disk.FULL else 1)
                assert error.remedy
                failed += 1
            whole_after(house, media[1], seen)
            # The disk is well again, and the same daemon goes on; and so does the next one.
            if len(house.state.generations) == 1:
                waiting = house.waiting()
                house.admit(waiting[0] if waiting else house.take_in(media[1])[0])
            else:  # what its medium showed is believed before anything else is judged
                house.take_in(media[1])
                house.reject(house.waiting()[0])
            shown = json.loads((media[1].folders[0] / layout.TIMESTAMP).read_bytes())
            assert json.loads(trusthome.load(house.home.trust).timestamp) == shown
            House(root, events=house.events).start().whole()
            house.at_rest()
            if not reached:
                assert error is None
                break
    assert failed > 0
    assert 1 in seen


def test_a_file_system_that_is_really_full_is_told_and_gone_on_with(tmp_path):
    """On a file system of a few megabytes, mounted in a mount namespace of our own; or, where none can be, within a limit."""
    unshare = ["unshare", "--mount", *(() if os.getuid() == 0 else ("--map-root-user",)), "sh", "-c"]
    mount = 'mount -t tmpfs -o size=3m,nr_inodes=400 tmpfs "$1"'
    names = ["sh", str(tmp_path), sys.executable]
    can_mount = subprocess.run([*unshare, mount, *names], capture_output=True, check=False).returncode == 0
    begin = [*unshare, f'{mount} && exec "$2"'] if can_mount else ["sh", "-c", 'exec "$2"']
    begin[-1] += ' -m tests.integration.faults.full "$1" "$3"'
    done = subprocess.run(
        [*begin, *names, "mounted" if can_mount else "limited"],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == (["full", "inodes", "well"] if can_mount else ["limited", "well"])
