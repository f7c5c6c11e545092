"""Building a medium and taking it in: what appears, and what is left when something goes wrong."""

from __future__ import annotations

import shutil

import pytest

from holdfast.artefact import Artefact, Kind
from holdfast.errors import Conflict, UntrustedBundle, UntrustedRecipe, UsageRefused
from holdfast.formats import chunking
from holdfast.governance.labels import Label
from holdfast.keys import person
from holdfast.media import build, importer
from holdfast.media.build import Origin
from holdfast.media.verify import verify_medium
from holdfast.store import hashfile
from holdfast.store.files import Store
from holdfast.workers import inspect


class Listener:
    """A channel's ear."""

    def progress(self, step, done, total):
        pass


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def verdict(medium, kit):
    found = verify_medium(medium, kit.state_of(medium), kit.NOW, kit.quiet, contents=False)
    yield found
    found.medium.close()


@pytest.fixture
def stage(tmp_path):
    return tmp_path / "quarantine" / "stage"


def order_of(verdict, taken):
    return {
        "artefacts": [
            {**record.to_json(), "path": str(taken.folders[record.digest])} for record in verdict.artefacts
        ]
    }


def test_a_medium_is_staged_inspected_and_adopted(verdict, store, stage, kit, desk):
    taken = importer.take_in(verdict, store, stage, kit.quiet)
    assert taken.missing == ()
    base = verdict.artefacts[0]
    facts = inspect.main(Listener(), order_of(verdict, taken))["facts"]
    assert facts[base.digest]["architecture"] == "LlamaForCausalLM"
    for record in verdict.artefacts:
        store.adopt(taken.folders[record.digest], record)
        store.verify(record)
    importer.discard(stage)
    assert list(stage.parent.iterdir()) == []
    assert store.sweep() == []
    original = desk.folder / "source" / "base"
    assert {p.name: p.read_bytes() for p in store.folder(base.digest).iterdir()} == {
        p.name: p.read_bytes() for p in original.iterdir()
    }


def test_what_is_already_stored_is_not_read_again(verdict, store, stage, kit, medium):
    taken = importer.take_in(verdict, store, stage, kit.quiet)
    for record in verdict.artefacts:
        store.adopt(taken.folders[record.digest], record)
    shutil.rmtree(medium / "chunks")
    again = importer.take_in(verdict, store, stage, kit.quiet)
    assert again.folders == {record.digest: store.folder(record.digest) for record in verdict.artefacts}
    assert (again.missing, again.copied, again.reused) == ((), 0, 0)
    assert [path.name for path in stage.iterdir()] == ["journal"]


def test_the_worker_refuses_an_added_file_and_tells_everything_that_is_wrong(verdict, store, stage, kit):
    taken = importer.take_in(verdict, store, stage, kit.quiet)
    base, quiz = (taken.folders[record.digest] for record in verdict.artefacts)
    (base / "config.json").write_text('{"auto_map": {"AutoModel": "evil.Model"}}')
    (quiz / "items.jsonl").write_bytes(b"\x80\x04\x95pickle")
    with pytest.raises(UntrustedBundle) as caught:
        inspect.main(Listener(), order_of(verdict, taken))
    assert len(caught.value.fields["findings"]) >= 2
    (base / "model.pt").write_bytes(b"")
    with pytest.raises(UntrustedBundle) as caught:
        inspect.main(Listener(), order_of(verdict, taken))
    assert {"inspect.files", "formats.runs-code"} <= set(caught.value.fields["keys"])


def test_the_worker_tells_which_parents_are_missing(verdict, store, stage, kit):
    taken = importer.take_in(verdict, store, stage, kit.quiet)
    record = verdict.artefacts[1]
    alone = {"artefacts": [{**record.to_json(), "path": str(taken.folders[record.digest])}]}
    assert inspect.main(Listener(), alone)["compatible"] == {record.digest: False}
    beside = {**alone, "installed": list(record.parents)}
    assert inspect.main(Listener(), beside)["compatible"] == {record.digest: True}


@pytest.mark.parametrize("with_parent", [True, False])
def test_an_adapter_whose_base_is_nowhere_is_refused(tmp_path, kit, with_parent):
    (tmp_path / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q"]}'
    )
    halves = {
        f"base_model.model.q.lora_{half}.weight": (shape, b"x" * 8)
        for half, shape in (("A", [4, 2]), ("B", [2, 4]))
    }
    (tmp_path / "adapter_model.safetensors").write_bytes(kit.safetensors(**halves))
    base = "sha512:" + "ab" * 64
    refs = tuple(hashfile.describe(path).ref for path in sorted(tmp_path.iterdir()))
    label = Label("public", frozenset(), frozenset({"site"}))
    record = Artefact(Kind.ADAPTER, "a", "1", refs, label, parents=(base,) if with_parent else ())
    order = {"artefacts": [{**record.to_json(), "path": str(tmp_path)}]}
    with pytest.raises(UntrustedBundle) as caught:
        inspect.main(Listener(), order)
    assert caught.value.key == "inspect.refused"
    if with_parent:
        result = inspect.main(Listener(), {**order, "installed": [base]})
        assert result["facts"][record.digest]["rank"] == 4


@pytest.mark.parametrize("occupied", [True, False])
def test_a_medium_is_built_into_a_new_or_empty_folder_only(desk, kit, occupied):
    (desk.folder / "out").mkdir()
    if occupied:
        (desk.folder / "out" / "mine").write_text("keep")
        with pytest.raises(Conflict):
            desk.build("out")
        assert [p.name for p in (desk.folder / "out").iterdir()] == ["mine"]
    else:
        kit.judge(desk.build("out").folder)


@pytest.mark.parametrize("after", [1, 3, 5])
def test_ctrl_c_leaves_no_part_of_a_medium(desk, kit, after):
    calls = []

    def interrupt(*report):
        calls.append(report)
        if len(calls) == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build.build(
            desk.recipe,
            desk.folder / "out",
            [desk.ada, desk.bo],
            Origin({}),
            now=kit.NOW,
            progress=interrupt,
        )
    assert [p.name for p in desk.folder.iterdir()] == ["source"]


def test_one_person_or_one_key_cannot_found_a_root(desk, kit):
    for pairs in (
        [desk.ada],
        [desk.ada, desk.ada],
        [desk.ada, person.KeyPair("Bo", desk.ada.ed25519_seed, b"0" * 32)],
    ):
        with pytest.raises(UsageRefused):
            build.build(desk.recipe, desk.folder / "out", pairs, Origin({}), now=kit.NOW, progress=kit.quiet)


@pytest.mark.parametrize(
    "mistake",
    [
        (
            'licence = "Apache-2.0"\n[artefact.label]\nlevel = "internal"',
            'licenze = "x"\n[artefact.label]\nlevel = "internal"',
            12,
            "licence",
        ),
        ('version = "1"\npath = "base"', 'version = 1\npath = "base"', 10, "text in quotes"),
        (
            'files = ["suite.toml", "items.jsonl"]',
            'files = ["suite.toml", "gone.jsonl"]',
            23,
            "gone.jsonl is missing",
        ),
        ('path = "base"', 'path = "nowhere"', 11, "folder nowhere is missing"),
        ('path = "base"', 'path = "../base"', 11, "path"),
        ('level = "public"', 'level = "open"', 27, "public"),
        ('parents = ["base/tiny"]', 'parents = ["base/huge"]', 25, "base/huge"),
        ('[artefact.label]\nlevel = "public"\ncompartments = []\nzones = ["site"]\n', "", 18, "label"),
    ],
)
def test_a_mistake_in_the_recipe_is_told_with_its_line(desk, kit, mistake):
    before, after, line, expected = mistake
    assert before in kit.RECIPE
    desk.recipe.write_text(kit.RECIPE.replace(before, after, 1))
    with pytest.raises(UntrustedRecipe) as caught:
        desk.build("out")
    assert f"recipe.toml:{line}:" in caught.value.message
    assert expected in caught.value.message
    assert not (desk.folder / "out").exists()


def test_a_publisher_learns_before_signing_what_the_site_would_refuse(desk):
    (desk.folder / "source" / "base" / "model.safetensors").write_bytes(b"PK\x03\x04 a checkpoint")
    with pytest.raises(UntrustedRecipe) as caught:
        desk.build("out")
    assert "model.safetensors" in caught.value.message
    assert [p.name for p in desk.folder.iterdir()] == ["source"]


def test_a_link_in_the_source_is_not_followed(desk):
    (desk.folder / "source" / "base" / "config.json").rename(desk.folder / "elsewhere.json")
    (desk.folder / "source" / "base" / "config.json").symlink_to(desk.folder / "elsewhere.json")
    with pytest.raises(UntrustedRecipe) as caught:
        desk.build("out")
    assert "not a plain file" in caught.value.message


def test_an_update_shares_the_chunks_of_every_unchanged_tensor(desk, kit, monkeypatch):
    monkeypatch.setattr(chunking, "SMALL", 2)  # so that these tensors stand alone
    model = desk.folder / "source" / "base" / "model.safetensors"
    first = desk.build("first")
    model.write_bytes(kit.model(lm_head__weight=255))
    second = desk.build("second", build.origin(None, first.folder))
    chunks = [{p.name for p in (built.folder / "chunks").rglob("*/*")} for built in (first, second)]
    assert len(chunks[1] - chunks[0]) == 1
    assert second.version == 2
    assert [a.kind for a in second.artefacts] == [Kind.BASE, Kind.SUITE]


def test_a_manifest_with_other_cuts_than_ours_is_refused(desk, kit, monkeypatch):
    monkeypatch.setattr(chunking, "SMALL", 2)
    folder = desk.build("out").folder
    monkeypatch.undo()
    with pytest.raises(UntrustedBundle) as caught:
        kit.judge(folder)
    assert caught.value.key == "media.cuts"
