"""Delta media: only what a site lacks, under the same digests."""

from __future__ import annotations

import json
import shutil

import pytest

from holdfast import hashing
from holdfast.errors import UntrustedBundle
from holdfast.governance import labels
from holdfast.keys import person
from holdfast.media import build, claims, importer, layout, manifest, request, split
from holdfast.media.verify import verify_medium
from holdfast.store.files import Store


@pytest.fixture(scope="session")
def appliance():
    return person.generate("outpost")


def asked(made, pair, kit):
    """The request of a site that imported a medium and holds nothing else."""
    found = made.manifest
    label = labels.join_all(entry.artefact.label for entry in found.entries)
    stated = request.make("Outpost", kit.NOW, label, [(e.artefact, e.chunks) for e in found.entries])
    return request.verify(request.encode(stated, pair))


def on(medium):
    return sum(path.stat().st_size for path in (medium / "chunks").rglob("*") if path.is_file())


@pytest.fixture(scope="session")
def fine_tuned(tmp_path_factory, holders, appliance, kit):
    """A base of 84 MiB in 21 large tensors; a fine-tune of it with one tensor changed, whole and as a delta."""
    desk = kit.lay_out(tmp_path_factory.mktemp("tuned"), holders)
    config = kit.WIDE | {"num_hidden_layers": 3}
    base = {"config.json": json.dumps(config).encode(), "model.safetensors": kit.model(config)}
    first = desk.build(
        "first", recipe=desk.recipe_of("wide", [{"kind": "base", "name": "wide", "files": base}])
    )
    parent = first.artefacts[0].digest
    tuned = base | {"model.safetensors": kit.model(config, model__layers__1__mlp__up_proj__weight=255)}
    recipe = desk.recipe_of(
        "tuned", [{"kind": "merged", "name": "wide", "version": "2", "files": tuned, "parents": [parent]}]
    )
    start = build.origin(None, first.folder)
    whole = desk.build("whole", start, recipe=recipe)
    delta = desk.build("delta", start, recipe=recipe, request=asked(first, appliance, kit))
    return desk, first, whole, delta


def test_a_delta_carries_the_changed_tensor_alone_under_the_same_digests(fine_tuned, kit):
    _, first, whole, delta = fine_tuned
    assert delta.artefacts == whole.artefacts
    assert delta.manifest.entries == whole.manifest.entries
    tensor = 2048 * 2048
    assert tensor <= on(delta.folder) <= 1.1 * tensor
    assert on(whole.folder) > 20 * tensor
    assert delta.manifest.delta.site == "Outpost"
    assert delta.manifest.delta.bases == {first.artefacts[0].digest}
    verdict = kit.judge(delta.folder)
    assert verdict.expected == set(delta.manifest.carried)
    assert verdict.digest != whole.digest


def test_every_source_is_where_the_site_holds_the_bytes(fine_tuned):
    desk, first, _, delta = fine_tuned
    place = desk.folder / "source-wide-1" / "a0"
    by_digest = {entry.artefact.digest: place for entry in first.manifest.entries}
    sizes = delta.manifest.chunks
    for digest, source in delta.manifest.delta.sources.items():
        with (by_digest[source.artefact] / source.path).open("rb") as file:
            file.seek(source.offset)
            assert hashing.sha512(file.read(sizes[digest])) == digest


def test_a_delta_is_split_like_any_medium(fine_tuned, tmp_path, kit):
    _, _, _, delta = fine_tuned
    made = split.split(delta.folder, tmp_path / "out", 100 * 2**20, now=kit.NOW, progress=kit.quiet)
    verdict = kit.judge(made.parts[0].folder, kit.state_of(delta.folder))
    assert verdict.expected == set(delta.manifest.carried)


def test_a_delta_that_lacks_a_carried_chunk_or_brings_one_too_many_is_refused(fine_tuned, tmp_path, kit):
    _, _, whole, delta = fine_tuned
    copy = shutil.copytree(delta.folder, tmp_path / "copy")
    for digest in list(delta.manifest.carried)[:1]:
        (copy / layout.chunk(digest)).unlink()
    with pytest.raises(UntrustedBundle) as caught:
        kit.judge(copy)
    assert caught.value.key == "media.missing"
    copy = shutil.copytree(delta.folder, tmp_path / "other")
    more = layout.chunk(next(iter(delta.manifest.delta.sources)))
    (copy / more).parent.mkdir(exist_ok=True)
    shutil.copy(whole.folder / more, copy / more)
    with pytest.raises(UntrustedBundle) as caught:
        kit.judge(copy)
    assert caught.value.key == "media.unlisted"


def test_a_site_assembles_the_fine_tune_from_the_delta_and_what_it_holds(fine_tuned, tmp_path, kit):
    desk, first, whole, delta = fine_tuned
    store = Store(tmp_path / "store")
    root = kit.state_of(first.folder)
    for number, made in enumerate((first, delta)):
        verdict = verify_medium(made.folder, root, kit.NOW, kit.quiet, contents=False)
        with verdict.medium:
            taken = importer.take_in(verdict, store, tmp_path / "stage" / str(number), kit.quiet)
        assert taken.missing == ()
        for record in made.artefacts:
            store.adopt(taken.folders[record.digest], record)
            store.verify(record)
    assert taken.copied == on(delta.folder)
    assert taken.reused == sum(delta.manifest.chunks.values()) - on(delta.folder)
    place = store.folder(whole.artefacts[0].digest)
    source = desk.folder / "source-tuned-1" / "a0"
    for name in ("config.json", "model.safetensors"):
        assert (place / name).read_bytes() == (source / name).read_bytes()


def test_for_a_site_that_holds_everything_a_medium_carries_nothing(desk, appliance, kit):
    first = desk.build("first")
    made = desk.build("again", build.origin(None, first.folder), request=asked(first, appliance, kit))
    assert made.manifest.carried == {}
    assert on(made.folder) == 0
    assert kit.judge(made.folder).expected == frozenset()


def test_for_a_site_that_holds_none_of_it_a_medium_is_whole(desk, appliance, kit):
    first = desk.build("first")
    recipe = desk.recipe_of("other", [{"kind": "dataset", "name": "n", "files": {"n.jsonl": b'{"a": 1}\n'}}])
    made = desk.build(
        "other", build.origin(None, first.folder), recipe=recipe, request=asked(first, appliance, kit)
    )
    assert made.manifest.delta is None
    assert kit.judge(made.folder).manifest == made.manifest


def test_a_delta_names_the_request_it_was_made_for(desk, appliance, kit):
    first = desk.build("first")
    wanted = asked(first, appliance, kit)
    made = desk.build("delta", build.origin(None, first.folder), request=wanted)
    assert made.manifest.delta.request == wanted.digest
    stored = claims.of_medium(made.folder).manifest
    assert stored.delta == made.manifest.delta
    assert manifest.parse(stored.encode()) == stored
