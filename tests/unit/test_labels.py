"""Labels: reading them, joining them, and who may see what."""

from __future__ import annotations

import pytest

from holdfast.errors import UntrustedInput
from holdfast.governance import labels
from holdfast.governance.labels import Label

SITE = Label("internal", frozenset({"water"}), frozenset({"site", "annex"}))


def test_a_join_is_the_higher_level_all_compartments_and_the_common_zones():
    joined = SITE.join(Label("restricted", frozenset({"quay"}), frozenset({"site", "port"})))
    assert joined == Label("restricted", frozenset({"water", "quay"}), frozenset({"site"}))


def test_nothing_comes_of_things_that_share_no_zone():
    with pytest.raises(UntrustedInput) as caught:
        labels.join_all([SITE, labels.highest(["port"])])
    assert caught.value.key == "label.zones"


def test_what_is_unlabelled_counts_as_the_highest_level():
    assert SITE.join(labels.highest(["site"])).level == labels.LEVELS[-1]


def test_a_clearance_needs_level_and_every_compartment():
    assert Label("secret", frozenset({"water"}), frozenset({"site"})).permits(SITE)
    assert not Label("public", frozenset({"water"}), frozenset({"site"})).permits(SITE)
    assert not Label("secret", frozenset(), frozenset({"site"})).permits(SITE)


def test_it_is_written_for_people_in_a_fixed_order():
    assert str(SITE) == "INTERNAL//water @annex,site"


@pytest.mark.parametrize(
    "change",
    [
        {"level": "top"},
        {"level": None},
        {"level": ["secret"]},
        {"compartments": "water"},
        {"compartments": [7]},
        {"compartments": [""]},
        {"compartments": ["x" * 65]},
        {"compartments": [str(number) for number in range(65)]},
        {"compartments": [f"{number:02}" + "\U0001f600" * 20 for number in range(64)]},
        {"zones": []},
        {"zones": ["a\nb"]},
        {"zone": ["site"]},
    ],
)
def test_a_malformed_label_is_refused(change):
    with pytest.raises(UntrustedInput) as caught:
        labels.parse(SITE.to_json() | change)
    assert caught.value.key == "label.form"
