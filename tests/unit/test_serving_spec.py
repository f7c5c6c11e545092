"""Serving settings: what is refused before anything is loaded."""

from __future__ import annotations

import pytest

from holdfast.errors import UntrustedInput, UntrustedRequest
from holdfast.serving import spec

DIGEST = "sha512:" + "0" * 128


def label(level="internal", zones=("site",)):
    return {"level": level, "compartments": [], "zones": list(zones)}


def settings(**change):
    model = {
        "id": "base",
        "engine": "e1",
        "path": "/in/base",
        "digest": DIGEST,
        "label": label(),
        "context": 1024,
    }
    return {"models": [model | {"adapters": [adapter()]} | change]}


def adapter(version="1", **change):
    return {"id": "tax", "version": version, "digest": DIGEST, "label": label("restricted")} | change


def test_settings_survive_a_round_trip_and_list_their_ids():
    read = spec.parse(settings())
    assert spec.parse(read.model_dump(mode="json")) == read
    assert [choice.id for choice in spec.choices(read)] == ["base", "base:tax@1"]
    assert [choice.id for choice in spec.offered(read)] == ["base", "base:tax", "base:tax@1"]
    assert [choice.lane for choice in spec.choices(read)] == ["", f"{DIGEST}@1.0"]


def test_of_two_versions_the_last_is_meant_where_none_is_named():
    read = spec.parse(settings(adapters=[adapter("2"), adapter("1", scale=0.5)]))
    lanes = {choice.id: (choice.place, choice.lane) for choice in spec.offered(read)}
    assert lanes["base:tax"] == lanes["base:tax@1"] == ("base:tax@1", f"{DIGEST}@0.5")
    assert lanes["base:tax@2"] == ("base:tax@2", f"{DIGEST}@1.0")


def test_nothing_need_be_served():
    assert [*spec.offered(spec.parse({"models": []}))] == []


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
        ({"adapters": [{"id": "x"}]}, "models.0.adapters.0.version"),
        ({"adapters": [adapter("a@b")]}, "models.0.adapters.0.version"),
        ({"kv": "q1_0"}, "models.0.kv"),
        ({"mlock": 1}, "models.0.mlock"),
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
    read = spec.parse(aliased(("authority", "base:tax@1"), ("plain", "base")))
    assert spec.parse(read.model_dump(mode="json")) == read
    assert [choice.id for choice in spec.choices(read)] == ["base", "base:tax@1"]
    offered = {choice.id: choice for choice in spec.offered(read)}
    assert [*offered] == ["authority", "plain", "base", "base:tax", "base:tax@1"]
    found = offered["authority"]
    assert (found.place, found.release, found.adapter.id) == ("base:tax@1", 0, "tax")
    assert found.label == offered["base:tax"].label
    assert offered["base"].release is None


def test_what_only_an_alias_leads_to_has_no_id_of_its_own():
    told = aliased(("authority", "base:tax@1"))
    told["models"][0]["adapters"][0]["offered"] = False
    assert [choice.id for choice in spec.offered(spec.parse(told))] == ["authority", "base"]
    told["models"][0]["offered"] = False
    assert [choice.id for choice in spec.offered(spec.parse(told))] == ["authority"]


@pytest.mark.parametrize(
    ("aliases", "why"),
    [
        ([("authority", "base:other")], "base:other, which is not there"),
        ([("authority", "base:tax")], "base:tax, which is not there"),
        ([("authority", "plain"), ("plain", "base")], "plain, which is not there"),
        ([("base", "base:tax@1")], "are called base"),
        ([("a", "base"), ("a", "base:tax@1")], "are called a"),
        ([("a:b", "base")], "aliases.0.id"),
    ],
    ids=["lost", "no-version", "of-an-alias", "a-model", "twice", "colon"],
)
def test_an_alias_that_means_nothing_or_two_things_is_refused(aliases, why):
    with pytest.raises(UntrustedRequest, match=why):
        spec.parse(aliased(*aliases))


def test_two_models_of_one_name_or_of_one_engine_are_refused():
    one = settings()["models"][0]
    with pytest.raises(UntrustedRequest, match="called base"):
        spec.parse({"models": [one, one | {"engine": "e2"}]})
    with pytest.raises(UntrustedRequest, match="one engine"):
        spec.parse({"models": [one, one | {"id": "other"}]})


def test_two_adapters_of_one_name_and_version_are_refused():
    with pytest.raises(UntrustedRequest, match="called base:tax@1"):
        spec.parse(settings(adapters=[adapter(), adapter(scale=0.5)]))


def test_a_pair_that_no_zone_may_hold_is_refused():
    with pytest.raises(UntrustedInput, match="zones"):
        spec.parse(settings(adapters=[adapter(label=label(zones=("elsewhere",)))]))


def test_limits_are_bounded():
    for name, value in {
        "parallel": 65,
        "queue": -1,
        "body_bytes": 2**20,
        "new_tokens": 0,
        "keep_seconds": -1.0,
        "answer_seconds": 0.0,
    }.items():
        with pytest.raises(UntrustedRequest, match=f"limits.{name}"):
            spec.parse(settings() | {"limits": {name: value}})


@pytest.mark.parametrize(
    ("access", "told"),
    [
        ({"clients": True}, "over TLS"),
        ({"origins": ["*"]}, "access.origins.0"),
        ({"origins": ["https://a.example/path"]}, "access.origins.0"),
        ({"origins": ["https://a.example"] * 33}, "access.origins"),
    ],
)
def test_access_is_as_narrow_as_it_is_written(access, told):
    with pytest.raises(UntrustedRequest, match=told):
        spec.parse(settings() | {"access": access})


def test_an_engine_is_told_of_its_model_and_limits_alone():
    told = spec.parse(settings()).models[0].model_dump(mode="json")
    assert spec.parse_model(told | {"adapters": []}).adapters == ()
    assert spec.parse_limits({"parallel": 2}).parallel == 2
    with pytest.raises(UntrustedRequest, match="parallel"):
        spec.parse_limits({"parallel": 0})
