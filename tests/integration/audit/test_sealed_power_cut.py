"""Sealing, erasing and shredding while the power is cut after every step, and while any one operation of the disk fails."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from tests.integration.faults import platter
from tests.integration.faults.platter import QUICK, Platter, QuickDisk, Recorder

from holdfast.audit.sealed import SealedStore
from holdfast.errors import HoldfastError

OLD, NEW = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 9, tzinfo=UTC)
BEFORE = date(2026, 3, 9)
SITES = 10


class Killed(BaseException):
    """The process dies here: nothing is tidied up."""


def open_store(root, on, now=NEW):
    return SealedStore(root / "keys" / "subjects", root / "sealed", lambda: now, on)


class Story:
    """A home's sealed payloads over three lives of the daemon; every promise is noted where it is made."""

    def __init__(self, root):
        self.root = root
        (root / "keys").mkdir(parents=True)
        self.disk = Recorder()
        self.before = platter.snapshot(root, self.disk)
        first = open_store(root, self.disk, OLD)
        ann, bob, carl = (first.subject_id("tenant", name) for name in ("ann", "bob", "carl"))
        for subject, name in ((ann, "prompt"), (ann, "answer"), (bob, "prompt"), (bob, "answer")):
            self.seal(first, subject, name)
        self.die_making_a_key(first, carl, root / "keys" / "subjects")
        self.die_making_a_key(open_store(root, self.disk), carl, root / "keys" / "subjects" / "days")
        second = open_store(root, self.disk)
        second.settle({}, {})
        for subject, name in ((carl, "prompt"), (ann, "prompt")):
            self.seal(second, subject, name)
        self.key = (root / "keys" / "subjects" / f"{ann}.0").read_bytes()
        self.disk.note("erasing", ann)
        assert second.erase(ann, 1) == (1, 3)
        self.disk.note("erased", ann)
        self.seal(second, ann, "prompt")
        third = open_store(root, self.disk)
        self.disk.note("shredding", "prompt")
        assert third.shred("prompt", BEFORE) == 1
        self.disk.note("shredded", "prompt")

    def seal(self, store, subject, name):
        data = os.urandom(8)
        self.disk.note("sealed", subject, name, store.seal(subject, name, data), data)

    def die_making_a_key(self, store, subject, where):
        """End a life between a key's name and the sync that keeps it."""
        sync_folder = self.disk.sync_folder

        def killed(folder):
            if folder == where:
                raise Killed
            sync_folder(folder)

        self.disk.sync_folder = killed
        with pytest.raises(Killed):
            store.seal(subject, "prompt", b"never acknowledged")
        del self.disk.sync_folder

    def look(self, place, ignored=None):
        """Cut the power everywhere; gives what was violated, or nothing."""
        disk, noted, known = Platter(self.root, self.before), [], set()
        place.mkdir()
        for number, step in enumerate(self.disk.trace):
            disk.apply(step, ignored)
            if step[0] == "note":
                noted.append(step[1:])
            for image in disk.images(number):
                told = (platter.key(image), len(noted))
                if told not in known:
                    known.add(told)
                    found = self.violation(image, noted, place / f"{len(known)}")
                    if found:
                        return f"after step {number}, {step[0]}: {found}"
            if ("erased",) in [one[:1] for one in noted]:
                written = [file for file in disk._files.values() if self.key in file.kept]
                if written:
                    return "an erased key is still on the platter"
        return None

    @staticmethod
    def violation(image, noted, root):
        platter.lay_down(image, root)
        kinds = {
            kind: [one[1] for one in noted if one[0] == kind] for kind in ("erasing", "erased", "shredding")
        }
        names = [Path(name).name for name in image]
        for ann in kinds["erased"]:
            if any(name.startswith(f"{ann}.0") for name in names):
                return "something of an erased subject is there"
        if ("shredded", "prompt") in noted and any("2026-03-01" in n for n in image if "prompt" in n):
            return "something of a shredded day is there"
        store = open_store(root, QUICK)
        store.settle(dict.fromkeys(kinds["erasing"], 1), dict.fromkeys(kinds["shredding"], BEFORE))
        erased_at = {one[1]: at for at, one in enumerate(noted) if one[0] == "erasing"}
        for at, one in enumerate(noted):
            if one[0] != "sealed":
                continue
            _, subject, name, committed, data = one
            old = name == "prompt" and at < 4 and kinds["shredding"]
            try:
                found = store.unseal(subject, name, committed)
            except HoldfastError as error:
                if not old and at > erased_at.get(subject, -1):
                    return f"a sealed {name} was lost: {error}"
            else:
                if old or at < erased_at.get(subject, -1) or found != data:
                    return f"a {name} came back that must not"
        return None


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    return Story(tmp_path_factory.mktemp("home"))


def test_no_cut_loses_what_was_sealed_or_brings_back_what_was_destroyed(story, tmp_path):
    assert story.look(tmp_path / "cuts") is None


def test_deleting_any_one_sync_is_noticed(story, tmp_path):
    sites = story.disk.sites()
    assert len(sites) == SITES, sites
    for number, site in enumerate(sorted(sites)):
        assert story.look(tmp_path / f"without-{number}", ignored=site), site


class FailingDisk(QuickDisk):
    """Fails at one operation of all, once or from there on."""

    def __init__(self, at, number, *, lasting):
        self.left, self.number, self.lasting = at, number, lasting

    def meet(self):
        self.left -= 1
        if self.left == -1 or (self.left < 0 and self.lasting):
            raise OSError(self.number, os.strerror(self.number))


def _failing(step):
    real = getattr(QuickDisk, step)

    def operation(self, *arguments):
        if step == "close":
            real(self, *arguments)
            self.meet()
            return None
        self.meet()
        return real(self, *arguments)

    return operation


for _step in ("make_folder", "create", "open", "write", "sync", "close", "link", "unlink", "sync_folder"):
    setattr(FailingDisk, _step, _failing(_step))


@pytest.mark.parametrize("lasting", [True, False], ids=["lasting", "once"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_whatever_fails_what_was_acknowledged_can_be_opened(tmp_path, number, lasting):
    for at in range(200):
        root = tmp_path / f"{at}"
        (root / "keys").mkdir(parents=True)
        failing = FailingDisk(at, number, lasting=lasting)
        store, sealed = open_store(root, failing), []
        for _ in range(3):
            with suppress(OSError):
                subject = store.subject_id("tenant", "ann")
                sealed.append((subject, store.seal(subject, "prompt", b"x")))
        reached, failing.left = failing.left < 0, 10**6
        subject = store.subject_id("tenant", "ann")
        sealed.append((subject, store.seal(subject, "prompt", b"x")))
        later = open_store(root, QUICK)
        later.settle({}, {})
        assert {later.unseal(owner, "prompt", committed) for owner, committed in sealed} == {b"x"}
        assert not [*root.rglob("*.draft")]
        if not reached:
            assert at > 20
            return
    pytest.fail("it never came to an end")
