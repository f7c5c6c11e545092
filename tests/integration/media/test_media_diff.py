"""How two media, or a request and a medium, differ."""

from __future__ import annotations

import pytest

from holdfast.keys import person
from holdfast.media import build, claims, diff, request

NOTES = {"kind": "dataset", "name": "notes", "files": {"n.jsonl": b'{"a": 1}\n', "m.jsonl": b'{"b": 2}\n'}}
QUIZ = {"kind": "dataset", "name": "quiz", "files": {"q.jsonl": b'{"q": 1}\n'}}


@pytest.fixture
def compared(desk):
    """Build two media of such artefacts and compare them."""

    def work(first, second):
        one = desk.build("one", recipe=desk.recipe_of("one", first))
        two = desk.build("two", build.origin(None, one.folder), recipe=desk.recipe_of("two", second))
        return diff.compare(*(diff.of_medium(claims.of_medium(made.folder)) for made in (one, two)))

    return work


def titles(items):
    return [f"{item.kind} {item.name} {item.said['version']}" for item in items]


def test_the_same_is_the_same(compared):
    found = compared([NOTES, QUIZ], [QUIZ, NOTES])
    assert sorted(titles(found.same)) == ["dataset notes 1", "dataset quiz 1"]
    assert (found.added, found.removed, found.changed, found.new, found.shared) == ((), (), (), 0, 27)
    assert found.first.root == found.second.root != ""


def test_what_came_and_what_went(compared):
    found = compared([NOTES], [QUIZ])
    assert (titles(found.added), titles(found.removed)) == (["dataset quiz 1"], ["dataset notes 1"])
    assert (found.shared, found.new) == (0, 9)


def test_a_change_of_bytes_counts_only_new_chunks(compared):
    found = compared(
        [NOTES], [NOTES | {"version": "2", "files": NOTES["files"] | {"n.jsonl": b'{"a": 12}\n'}}]
    )
    (change,) = found.changed
    assert change.said == (("version", "1", "2"),)
    assert change.new == found.new == 10
    assert found.shared == 9
    assert not change.to_json()["same_bytes"]


def test_a_change_of_what_is_said_is_a_change(compared):
    other = {"licence": "MIT-0", "label": {"level": "secret", "compartments": ["alpha"], "zones": ["site"]}}
    found = compared([NOTES, QUIZ], [NOTES | other, QUIZ | {"parents": ["dataset/notes"]}])
    said = {
        change.after.name: {field: (old, new) for field, old, new in change.said} for change in found.changed
    }
    assert said["notes"] == {
        "licence": ("MIT", "MIT-0"),
        "label": ("INTERNAL @site", "SECRET//alpha @site"),
    }
    assert said["quiz"]["parents"][0] == ""
    assert all(change.to_json()["same_bytes"] for change in found.changed)
    assert found.new == 0


def item(name, version, digest):
    return diff.Item("dataset", name, digest, {"version": version}, {digest: 1})


def test_versions_beside_each_other_are_told_apart():
    first = diff.Side(
        "medium", "one", (item("notes", "1", "a"), item("notes", "2", "b"), item("old", "1", "c"))
    )
    second = diff.Side(
        "medium",
        "two",
        (item("notes", "2", "B"), item("notes", "3", "a"), item("notes", "4", "d"), item("quiz", "1", "e")),
    )
    found = diff.compare(first, second)
    pairs = [(change.before.said["version"], change.after.said["version"]) for change in found.changed]
    assert pairs == [("2", "2"), ("1", "3")]
    assert titles(found.added) == ["dataset notes 4", "dataset quiz 1"]
    assert titles(found.removed) == ["dataset old 1"]
    assert (found.shared, found.new) == (1, 3)


def test_a_request_is_compared_by_what_it_says(desk, kit):
    made = desk.build("one", recipe=desk.recipe_of("one", [NOTES]))
    entry = made.manifest.entries[0]
    stated = request.make("Outpost", kit.NOW, entry.artefact.label, [(entry.artefact, entry.chunks)])
    there = diff.of_request(request.verify(request.encode(stated, person.generate("outpost"))))
    later = desk.build("two", recipe=desk.recipe_of("two", [NOTES | {"licence": "MIT-0"}, QUIZ]))
    found = diff.compare(there, diff.of_medium(claims.of_medium(later.folder)))
    assert titles(found.same) == ["dataset notes 1"]
    assert titles(found.added) == ["dataset quiz 1"]
    assert found.to_json()["first"] == {"what": "request", "title": "Outpost, 2026-03-01", "root": ""}
    assert found.to_json()["signatures"] == "not judged"
