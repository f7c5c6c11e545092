"""The power is cut after every write, sync and change of names of an import, on a disk that keeps only what was synced."""

from __future__ import annotations

import re
import secrets
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from tests.integration.faults import platter
from tests.integration.faults.house import PIECE, House
from tests.integration.faults.platter import Platter, Recorder
from tests.integration.media import crafted

from holdfast import canonical
from holdfast.audit import reconcile
from holdfast.errors import HoldfastError
from holdfast.media import layout, trusthome
from holdfast.media.journal import NAME, Journal
from holdfast.store.files import Store
from holdfast.store.generations import Generations

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.audit.event import Event
    from holdfast.media.verify import VerifiedMedium

ENDS = frozenset({"bundle.admit.done", "bundle.reject"})  # after which a journal's promises are over
SITES = [  # every line that asks for a sync, innermost first, without its number
    "copy.py:_sync",
    "disk.py:_draft < disk.py:create_file < generations.py:put",
    "disk.py:_draft < disk.py:write_file < generations.py:activate",
    "disk.py:_draft < disk.py:write_file < journal.py:_rewrite",
    "disk.py:_draft < disk.py:write_file < trusthome.py:_write",
    "disk.py:create_file < generations.py:put",
    "disk.py:make_folders < files.py:__init__",
    "disk.py:make_folders < generations.py:__init__",
    "disk.py:make_folders < importer.py:take_in",
    "disk.py:make_folders < quarantine.py:keep_trust",
    "disk.py:write_file < generations.py:activate",
    "disk.py:write_file < journal.py:_rewrite",
    "disk.py:write_file < trusthome.py:_write",
    "files.py:_keep_all",
    "files.py:_replace",
    "files.py:_seal",
    "files.py:adopt",
    "files.py:adopt",
    "files.py:remove",
    "generations.py:remove",
    "importer.py:_prepare",
    "journal.py:append",
]
STORIES = ("resumed", "two_imports", "mended", "rejected", "collected", "split")
EVERY = 5  # of the images, one in so many is also gone on with to the end; of each cut, one at least


@pytest.fixture(scope="module", autouse=True)
def _promising():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("append", "forget"):
            patch.setattr(Journal, name, promising(getattr(Journal, name)))
        yield


def promising(call):
    """Note what a journal calls safe, once it does: that much must never be read again."""

    def noted(journal, placements):
        call(journal, placements)
        if isinstance(journal._disk, Recorder):
            journal._disk.note("safe", frozenset(journal.safe))

    return noted


@dataclass
class Story:
    """Something that was done to a home, from a folder in which everything was synced.

    Args:
        root: The home.
        media: The media that come, in order; each is admitted once.
        events: What the log held before.
        damaged: Artefacts whose files in the store were damaged before the last medium mends them.
        safe: What the journal had promised before.
    """

    root: Path
    media: list[crafted.Crafted]
    events: list[Event] = field(default_factory=list)
    damaged: frozenset[str] = frozenset()
    safe: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        self.disk = Recorder()
        self.before = platter.snapshot(self.root, self.disk)
        self.house = House(self.root, self.disk, self.events)
        self.records = {one.digest: one for made in self.media for one in made.records}
        self.known: set[int] = set()
        self.verdicts: dict[tuple[Path, str], VerifiedMedium] = {}
        self.cuts = self.images = self.ends = 0

    def look(self, place: Path, ignored: str | None = None, begin: int = 0) -> str | None:
        """Cut the power everywhere and look.

        Args:
            place: A folder to be made, for what the cuts leave.
            ignored: A site whose syncs do nothing.
            begin: The step before which nothing needs to be looked at.

        Returns:
            What was violated, or nothing.
        """
        disk, events, safe = Platter(self.root, self.before), [*self.events], self.safe
        place.mkdir()
        for number, step in enumerate([("note", "begin"), *self.disk.trace]):
            disk.apply(step, ignored)
            if step[:2] == ("note", "event"):
                events.append(step[2])
                safe = frozenset() if step[2].action in ENDS else safe
            elif step[:2] == ("note", "safe"):
                safe = step[2]
            fresh = 0
            for image in disk.images(number) if number >= begin else ():
                told = hash((platter.key(image), len(events), safe))
                if told in self.known:
                    continue
                self.known.add(told)
                # With a sync taken away, only what that brings about is new.
                end = ignored is not None or fresh == 0 or (self.images + fresh) % EVERY == 0
                fresh += 1
                found = self.violation(image, events, safe, place / f"{number}-{fresh}", end=end)
                if found:
                    return f"after step {number}, {step[0]}: {found}"
                self.ends += end
            self.images += fresh
            self.cuts += number >= begin
        return None

    def violation(
        self, image: platter.Image, events: list[Event], safe: frozenset[int], place: Path, *, end: bool
    ) -> str | None:
        """Start the daemon over what a cut left, and say what is wrong."""
        platter.lay_down(image, place)
        house = House(place, events=events, verdicts=self.verdicts)
        try:
            self.judge_disk(house)
            self.judge_home(house.start())
            if end:
                self.go_on(house, safe)
        except (HoldfastError, OSError, AssertionError) as problem:
            return f"{type(problem).__name__}: {str(problem).splitlines()[0]}"
        shutil.rmtree(place)
        return None

    def spared(self, house: House) -> frozenset[str]:
        return self.damaged if len(house.state.generations) < len(self.media) else frozenset()

    def judge_disk(self, house: House) -> None:
        """Before anything is mended: the generation that the disk names is the old or the new one, and whole."""
        if not (house.home.store / "current").exists():
            assert house.state.active == 0, "the pointer is lost"
            return
        store = Store(house.home.store, platter.QUICK)
        active = Generations(store).active()
        deciding = any(one.action == "bundle.admit" for one in reconcile.unfinished(house.events))
        assert deciding or active.number == house.state.active, "the pointer is not what the log says"
        for one in Generations(store).list():
            for digest in one.artefacts:
                assert store.has(digest) or digest in self.spared(house), (
                    "a generation names what is not there"
                )
        for digest in {*store.artefacts(), *active.artefacts}:
            if active.number > house.state.active or digest not in self.spared(house):
                store.verify(self.records[digest])

    def judge_home(self, house: House) -> None:
        """After the start: the log's generation is active, whole, and what is trusted is what its medium showed."""
        house.whole(self.spared(house))
        house.at_rest()
        trusted = trusthome.load(house.home.trust).timestamp
        admitted = min(len(house.state.generations), len(self.media))
        shown = (self.media[admitted - 1].folders[0] / layout.TIMESTAMP).read_bytes() if admitted else None
        assert trusted == (shown and canonical.encode(canonical.decode(shown, limit=10**6, what="it"))), (
            "what is trusted is not what was admitted"
        )

    def go_on(self, house: House, safe: frozenset[int]) -> None:
        """Decide what waits, or import again what was not admitted, without reading again what was safe."""
        waiting = house.waiting()
        if waiting and any(event.action == "bundle.reject" for event in house.events):
            # Its removal was begun. It is admitted wholly, with what it makes us trust, or not at all.
            try:
                house.admit(waiting[0])
            except HoldfastError:
                house.reject(waiting[0])
                waiting, safe = [], frozenset()
            self.judge_home(house)
            if waiting:
                return
        if not waiting:
            made = self.media[min(len(house.state.generations), len(self.media) - 1)]
            placed = [c for e in made.manifest.entries for parts in e.chunks.values() for c in parts]
            read = {c.digest for n, c in enumerate(placed) if n in safe}
            most = sum({c.digest: c.size for c in placed if c.digest not in read}.values())
            total = 0
            for at in range(len(made.folders)):
                request, taken = house.take_in(made, at)
                total += taken.copied
                if not taken.missing:
                    break
            assert total <= most, f"{total} bytes were read again, {most} were not safe"
            waiting = [request]
        house.admit(waiting[0])
        self.judge_home(house)


def nested(**sizes: int) -> dict[str, bytes]:
    return {path.replace("__", "/"): secrets.token_bytes(size) for path, size in sizes.items()}


@pytest.fixture(scope="module")
def files():
    old = {"one": {**nested(a=3 * PIECE, deep__b=PIECE + 5), "empty": b""}, "two": nested(c=40)}
    old["two"]["same"] = old["one"]["a"]
    new = {
        "one": {"a": old["one"]["a"], "deep/b": old["one"]["deep/b"][:PIECE] + b"other", "deep/er/d": b"d"},
        "three": nested(e=4 * PIECE + 1),
    }
    return old, new


@pytest.fixture(scope="module")
def media(place, files):
    """Two media: the second brings another version of a data set, which shares a file and a chunk with the first."""
    first = crafted.medium_of(place / "first", files[0])
    return [first, crafted.medium_of(place / "second", files[1], root=first.root, version=2)]


@pytest.fixture(scope="module")
def two_imports(place, media):
    """The whole way, twice: from a home that holds nothing to its second generation."""
    House.found(place / "home", media[0])
    story = Story(place / "home", media)
    story.house.start()
    for made in media:
        story.house.admit(story.house.take_in(made)[0])
    return story


@pytest.fixture(scope="module")
def stocked(place, media):
    """A home in which the first medium is admitted; gives a copy of it, and its log."""
    house = House.found(place / "stocked", media[0]).start()
    house.admit(house.take_in(media[0])[0])

    def copied(name):
        platter.lay_down(platter.snapshot(place / "stocked", Recorder()), place / name)
        return place / name, [*house.events]

    return copied


@pytest.fixture(scope="module")
def resumed(two_imports, place, media):
    """The power was cut in the middle of copying, and of writing the journal; the first medium is imported again."""
    disk, events, safe, journal = Platter(two_imports.root, two_imports.before), [], frozenset(), None
    for step in two_imports.disk.trace:
        disk.apply(step)
        if step[:2] == ("note", "event"):
            events.append(step[2])
        elif step[:2] == ("note", "safe"):
            safe = step[2]
        if step[0] == "create" and step[1].name.startswith(f".{NAME}."):
            journal = step[2]
        if safe and step[:2] == ("write", journal):
            break
    torn = list(disk.images())[1]
    name = next(name for name in torn if name.endswith(f"/{NAME}"))
    number, data, mode = torn[name]
    torn[name] = number, data[:-3], mode
    platter.lay_down(torn, place / "torn")
    story = Story(place / "torn", media[:1], events, safe=safe)
    story.house.start()
    story.house.admit(story.house.take_in(media[0])[0])
    return story


@pytest.fixture(scope="module")
def mended(stocked, place, media, files):
    """A file that two artefacts of the active generation share was damaged; a medium brings one of them again."""
    root, events = stocked("mended")
    again = {"one": files[0]["one"], "three": files[1]["three"]}
    second = crafted.medium_of(place / "again", again, root=media[0].root, version=2)
    house = House(root, events=events).start()
    damaged = house.store.folder(media[0].records[0].digest) / "a"
    damaged.chmod(0o600)
    damaged.write_bytes(bytes(3 * PIECE))
    damaged.chmod(0o444)
    story = Story(root, [media[0], second], events, damaged=frozenset(one.digest for one in media[0].records))
    story.house.start()
    story.house.admit(story.house.take_in(second)[0])
    return story


@pytest.fixture(scope="module")
def rejected(stocked, media):
    """The second medium is imported, rejected, imported again and admitted."""
    root, events = stocked("rejected")
    story = Story(root, media, events)
    story.house.start()
    story.house.reject(story.house.take_in(media[1])[0])
    return story


@pytest.fixture(scope="module")
def collected(stocked, media):
    """What only the first generation names is removed."""
    root, events = stocked("collected")
    house = House(root, events=events).start()
    house.admit(house.take_in(media[1])[0])
    story = Story(root, media, house.events)
    story.house.start()
    story.house.collect([1], [media[0].records[0].digest])
    return story


@pytest.fixture(scope="module")
def split(stocked, place, media, files):
    """The second medium comes in volumes, the last first."""
    root, events = stocked("split")
    parts = crafted.medium_of(place / "volumes", files[1], root=media[0].root, version=2, size=3 * PIECE)
    assert len(parts.folders) > 2
    story = Story(root, [media[0], parts], events)
    story.house.start()
    for at in reversed(range(len(parts.folders))):
        request, _ = story.house.take_in(parts, at)
    story.house.admit(request)
    return story


@pytest.fixture(scope="module")
def stories(request):
    found = {name: request.getfixturevalue(name) for name in STORIES}
    yield found
    for story in found.values():
        for verdict in story.verdicts.values():
            verdict.medium.close()


@pytest.mark.parametrize("name", STORIES)
def test_no_cut_leaves_a_mixture(stories, place, name):
    story = stories[name]
    for one in story.house.state.artefacts.keys() - story.house.state.collected.keys():
        story.house.check(one)
    story.house.whole()
    assert story.look(place / f"cuts-{name}") is None
    assert story.cuts == len(story.disk.trace) + 1 <= story.images
    assert story.ends >= story.cuts // 4


def test_deleting_any_one_sync_is_noticed(stories, place):
    """Every line that asks for a sync, with its syncs taken away: some cut must break a promise."""
    (place / "without").mkdir()
    noticed: dict[str, str | None] = {}
    for name, story in stories.items():
        for line, first in story.disk.sites().items():
            if noticed.get(line) is None:
                noticed[line] = story.look(place / "without" / f"{name}-{len(noticed)}", line, first)
    assert [line for line, found in noticed.items() if found is None] == []
    assert sorted(re.sub(r":\w+( |$)", r"\1", line) for line in noticed) == SITES
