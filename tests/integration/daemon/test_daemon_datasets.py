"""Data sets through the daemon: sent, prepared by a confined worker, recorded, listed and shown."""

from __future__ import annotations

import json

import pytest

from holdfast.artefact import Kind
from holdfast.client import datapage, datasets
from holdfast.dataset import prepared
from holdfast.errors import NotPermitted, UntrustedInput, UntrustedRecipe, UntrustedRequest


@pytest.fixture
async def running(stocked):
    async with stocked.open() as opened:
        yield opened


def rows(*answers: str) -> str:
    return "".join(
        json.dumps(
            {"messages": [{"role": "user", "content": f"Fee {one}?"}, {"role": "assistant", "content": one}]}
        )
        + "\n"
        for one in answers
    )


async def prepare(daemon, text, *, who="olga", **options):
    async with daemon.session(who) as client:
        return await datasets.prepare_data(client, daemon.place.recipe(rows=text), **options)


def made(daemon):
    return [found for found in daemon.state.artefacts.values() if found.kind is Kind.DATASET]


async def test_a_data_set_is_prepared_recorded_listed_and_shown(running):
    told = []
    text = rows("nine crowns", "nine crowns", "ten crowns") + "{}\n"
    found = (await prepare(running, text, quarantine=True, tell=told.append))["rows.jsonl"]
    assert {name: found[name] for name in ("form", "rows", "held_out", "quarantined", "duplicates")} == {
        "form": "messages",
        "rows": 3,
        "held_out": 0,
        "quarantined": 1,
        "duplicates": 1,
    }
    assert any(entry["kind"] == "progress" for entry in told)
    (artefact,) = made(running)
    assert artefact.digest == found["dataset"]
    assert artefact.meta["licence"] == "Apache-2.0"
    assert artefact.label.level == "internal"
    (event,) = running.events("dataset.prepare.done")
    assert event.params["rows"] == 3
    folder = running.services.store.folder(artefact.digest)
    stored = prepared.read((folder / prepared.ROWS).read_bytes(), form="messages", file="rows.jsonl")
    assert [row.at for row in stored] == ["rows.jsonl:1", "rows.jsonl:2", "rows.jsonl:3"]
    (aside,) = [json.loads(line) for line in (folder / prepared.QUARANTINE).read_text().splitlines()]
    assert (aside["file"], aside["line"], aside["row"]) == ("rows.jsonl", 4, "{}")
    async with running.session("olga") as client:
        (listed,) = (await client.call("GET", "/v1/datasets"))["datasets"]
        page = await client.call("GET", "/v1/datasets/rows")
    assert listed["digest"] == artefact.digest
    assert page["profile"] == found["profile"]
    assert (page["person"], page["runs"]) == ("olga", [])
    # The suite of this site's medium asks nothing that can be read, which is said and stops nobody.
    assert [one.partition(":")[0] for one in found["not_compared"]] == ["quiz"]
    running.at_rest()


async def test_the_same_files_give_the_same_data_set(running):
    text = rows("nine", "ten", "eleven")
    first = await prepare(running, text)
    second = await prepare(running, text)
    assert first["rows.jsonl"]["dataset"] == second["rows.jsonl"]["dataset"]
    assert len(made(running)) == 1


async def test_a_malformed_row_stops_the_preparation_and_nothing_is_kept(running):
    with pytest.raises(UntrustedRecipe) as caught:
        await prepare(running, rows("nine") + "\n{}\n" + rows("ten") + "[]\n")
    assert caught.value.key == "dataset.row"
    assert caught.value.fields["mistakes"][0].startswith("rows.jsonl:3: ")
    assert caught.value.fields["mistakes"][1].startswith("rows.jsonl:5: ")
    assert not made(running)
    (event,) = running.events("dataset.prepare.failed")
    assert event.params["error"] == "dataset.row"
    running.at_rest()


async def test_an_auditor_prepares_nothing(running):
    with pytest.raises(NotPermitted):
        await prepare(running, rows("nine"), who="aude")


REQUEST = {
    "name": "notes",
    "version": "1",
    "method": "sft",
    "role": "domain",
    "licence": "CC0-1.0",
    "label": {"level": "public", "compartments": [], "zones": ["site"]},
}


@pytest.mark.parametrize(
    ("changes", "path", "kind", "key"),
    [
        ({}, "../notes.jsonl", UntrustedRecipe, "dataset.path"),
        ({}, "notes.pdf", UntrustedRecipe, "dataset.format"),
        ({"folder": True}, "notes.jsonl", UntrustedRecipe, "dataset.format"),
        ({"name": "a/b"}, "notes.jsonl", UntrustedRecipe, "dataset.name"),
        ({"columns": {"text": "body"}}, "notes.jsonl", UntrustedRecipe, "dataset.columns"),
        ({"heldout": 1.0}, "notes.jsonl", UntrustedRequest, "request.form"),
        ({"licence": ""}, "notes.jsonl", UntrustedRequest, "request.form"),
        (
            {"label": {"level": "public", "compartments": [], "zones": ["abroad"]}},
            "notes.jsonl",
            UntrustedRecipe,
            "recipe.zone",
        ),
        ({"label": {"level": "loud"}}, "notes.jsonl", UntrustedInput, None),
    ],
)
async def test_what_another_client_might_ask_for_is_refused_before_anything_begins(
    running, changes, path, kind, key
):
    async with running.session("olga") as client:
        (running.place.folder / "notes").write_text(rows("nine"))
        upload = await client.upload(running.place.folder / "notes")
        with pytest.raises(kind) as caught:
            await client.call("POST", "/v1/datasets", {**REQUEST, "files": {path: upload}, **changes})
    assert key is None or caught.value.key == key
    assert not running.events("dataset.prepare")


def test_a_folder_is_prepared_listed_and_shown_from_the_command_line(stocked):
    place = stocked
    place.told("up")
    texts = place.folder / "harbour"
    (texts / "old").mkdir(parents=True)
    for name in ("fees.md", "old/fees.md"):
        body = " ".join(f"Berth {at} costs {at * 3} crowns a night." for at in range(30))
        (texts / name).write_text(f"# Fees\n\n{body}\n\n# In {name}\n\nPay at the gate.\n")
    written = place.recipe().read_text()
    written = (
        written.replace('"rows.jsonl"', '"harbour"').replace('"sft"', '"cpt"').replace("\nloss = ", "\n#")
    )
    (place.folder / "recipe.toml").write_text(written)
    recipe = str(place.folder / "recipe.toml")

    found = place.told("dataset", "prepare", recipe, who="olga")["harbour"]
    assert (found["form"], found["rows"], found["duplicates"]) == ("text", 4, 1)
    (listed,) = place.told("dataset", "list", who="olga")["datasets"]
    assert (listed["name"], listed["digest"]) == ("harbour", found["dataset"])
    page, _ = place.call("dataset", "show", "harbour", who="olga")
    assert max(map(len, page.splitlines())) <= datapage.WIDTH
    assert "harbour/fees.md:1 = harbour/old/fees.md:1" in page
    lines, _ = place.call("dataset", "list", who="olga")
    assert "harbour@1" in lines
    assert not [*place.home.jobs.glob("*/data"), *place.home.jobs.glob("*/out")]
