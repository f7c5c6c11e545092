"""Serving settings: what is refused before anything is loaded."""

from __future__ import annotations

import pytest

from holdfast.errors import UntrustedInput, UntrustedRequest
from holdfast.serving import spec

DIGEST = "sha512:" + "0" * 128


def label(level="internal", zones=("site",)):
    return {"level": level, "compartments": [], "zones": list(zones)}


def settings(**change):
    adapter = {"id": "tax", "path": "/in/tax", "digest": DIGEST, "label": label("restricted")}
    model = {"id": "base", "path": "/in/base", "digest": DIGEST, "label": label(), "context": 1024}
    return {"models": [model | {"adapters": [adapter]} | change]}


def test_settings_survive_a_round_trip_and_list_their_ids():
    read = spec.parse(settings())
    assert spec.parse(read.model_dump(mode="json")) == read
    assert [choice.id for choice in spec.choices(read)] == ["base", "base:tax"]


def test_an_adapter_tightens_the_label_of_answers():
    base, tax = spec.choices(spec.parse(settings()))
    assert (base.label.level, tax.label.level) == ("internal", "restricted")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": "a:b"}, "models.0.id"),
        ({"id": "a/b"}, "models.0.id"),
        ({"context": 8}, "models.0.context"),
        ({"context": True}, "models.0.context"),
        ({"context": 2**21}, "models.0.context"),
        ({"gpu": 1}, "models.0.gpu"),
        ({"path": ""}, "models.0.path"),
        ({"adapters": [{"id": "x"}]}, "models.0.adapters.0.path"),
    ],
)
def test_a_wrong_field_is_named(change, field):
    with pytest.raises(UntrustedRequest) as caught:
        spec.parse(settings(**change))
    assert caught.value.fields["field"] == field
    assert field in caught.value.message


@pytest.mark.parametrize("change", [{"digest": "md5:0"}, {"label": {}}, {"label": label("purple")}])
def test_malformed_digests_and_labels_are_refused(change):
    with pytest.raises(UntrustedRequest):
        spec.parse(settings(**change))


def aliased(*aliases, **change):
    return settings(**change) | {
        "aliases": [{"id": name, "of": of, "release": number} for number, (name, of) in enumerate(aliases)]
    }


def test_an_alias_is_one_more_id_of_what_computes():
    read = spec.parse(aliased(("authority", "base:tax"), ("plain", "base")))
    assert spec.parse(read.model_dump(mode="json")) == read
    assert [choice.id for choice in spec.choices(read)] == ["base", "base:tax"]
    offered = {choice.id: choice for choice in spec.offered(read)}
    assert [*offered] == ["authority", "plain", "base", "base:tax"]
    found = offered["authority"]
    assert (found.place, found.release, found.adapter.id) == ("base:tax", 0, "tax")
    assert found.label == offered["base:tax"].label
    assert offered["base"].release is None


def test_what_only_an_alias_leads_to_has_no_id_of_its_own():
    told = aliased(("authority", "base:tax"))
    told["models"][0]["adapters"][0]["offered"] = False
    assert [choice.id for choice in spec.offered(spec.parse(told))] == ["authority", "base"]
    told["models"][0]["offered"] = False
    assert [choice.id for choice in spec.offered(spec.parse(told))] == ["authority"]


@pytest.mark.parametrize(
    ("aliases", "why"),
    [
        ([("authority", "base:other")], "base:other, which is not there"),
        ([("authority", "plain"), ("plain", "base")], "plain, which is not there"),
        ([("base", "base:tax")], "are called base"),
        ([("a", "base"), ("a", "base:tax")], "are called a"),
        ([("a:b", "base")], "aliases.0.id"),
    ],
    ids=["lost", "of-an-alias", "a-model", "twice", "colon"],
)
def test_an_alias_that_means_nothing_or_two_things_is_refused(aliases, why):
    with pytest.raises(UntrustedRequest, match=why):
        spec.parse(aliased(*aliases))


def test_two_models_of_one_name_are_refused():
    with pytest.raises(UntrustedRequest, match="base"):
        spec.parse({"models": settings()["models"] * 2})


def test_a_pair_that_no_zone_may_hold_is_refused():
    adapter = {"id": "tax", "path": "/in/tax", "digest": DIGEST, "label": label(zones=("elsewhere",))}
    with pytest.raises(UntrustedInput, match="zones"):
        spec.parse(settings(adapters=[adapter]))


def test_limits_are_bounded():
    for name, value in {"parallel": 65, "queue": -1, "body_bytes": 2**20, "new_tokens": 0}.items():
        with pytest.raises(UntrustedRequest, match=f"limits.{name}"):
            spec.parse(settings() | {"limits": {name: value}})
