from __future__ import annotations

import pytest

from holdfast.errors import UntrustedRecipe
from holdfast.evaluation import gate
from holdfast.training.spec import GateRule


def result(outcomes: str, version: str = "1") -> gate.Result:
    """Ten items: s0 to s6 in a primary section, j7 to j9 in another."""
    of = ["single"] * 7 + ["joined"] * 3
    return {
        "suite": {"name": "domain", "version": version},
        "primary": ["single"],
        "ids": [f"{section[0]}{at}" for at, section in enumerate(of)],
        "of": list(of),
        "outcomes": outcomes,
    }


def judge(rule: str, value: float, before: str, after: str, section: str = "all"):
    rules = [GateRule(suite="domain", section=section, rule=rule, value=value)]
    return gate.judge(rules, {"domain": result(before)}, {"domain": result(after)})


@pytest.mark.parametrize(
    ("rule", "value", "before", "after", "go"),
    [
        ("minimum", 0.7, "0000000000", "1111111000", True),
        ("minimum", 0.71, "0000000000", "1111111000", False),
        ("improvement", 0.3, "1110000000", "1111110000", True),
        ("improvement", 0.31, "1110000000", "1111110000", False),
        ("max_loss", 0.1, "1111111111", "0111111111", True),  # just the allowed size, in exact arithmetic
        ("max_loss", 0.1, "1111111111", "0011111111", False),
        ("max_loss", 0.0, "0000000000", "1111111111", True),
    ],
)
def test_rules_are_exact_at_their_bound(rule, value, before, after, go):
    assert judge(rule, value, before, after)["go"] is go


def test_a_reason_gives_the_figures_and_names_what_broke():
    verdict = judge("max_loss", 0.1, "1111100000", "0000011111")
    assert verdict["reasons"] == [
        (
            "Holds: domain (all) loses 0.000, at most 0.100 is allowed; 0.500 before, 0.500 after, "
            "of 10 items 5 fixed and 5 broken (s0, s1, s2, s3, s4)."
        )
    ]
    assert verdict["rules"][0]["fixed"] == ["s5", "s6", "j7", "j8", "j9"]


def test_a_long_list_of_broken_items_is_cut_in_the_sentence_only():
    verdict = judge("max_loss", 0.1, "1111111111", "0000000000")
    assert "(s0, s1, s2, s3, s4, …)" in verdict["reasons"][0]
    assert len(verdict["rules"][0]["broken"]) == 10


@pytest.mark.parametrize(
    ("section", "items", "after"), [("primary", 7, 1.0), ("joined", 3, 0.0), ("all", 10, 0.7)]
)
def test_sections(section, items, after):
    rule = judge("minimum", 0.5, "0000000000", "1111111000", section)["rules"][0]
    assert (rule["items"], rule["after"]) == (items, after)


def test_one_failing_rule_is_enough_and_every_rule_is_told():
    rules = [
        GateRule(suite="domain", section="all", rule="minimum", value=0.5),
        GateRule(suite="domain", section="all", rule="improvement", value=0.9),
    ]
    verdict = gate.judge(rules, {"domain": result("0" * 10)}, {"domain": result("1" * 7 + "000")})
    assert verdict["go"] is False
    assert [reason.split(":")[0] for reason in verdict["reasons"]] == ["Holds", "Fails"]


def test_what_was_not_evaluated_is_refused():
    with pytest.raises(UntrustedRecipe) as caught:
        judge("minimum", 0.5, "0" * 10, "1" * 10, section="other")
    assert caught.value.key == "gate.section"
    with pytest.raises(UntrustedRecipe) as caught:
        gate.judge(
            [GateRule(suite="general", section="all", rule="minimum", value=0.5)], {}, {"domain": result("")}
        )
    assert caught.value.key == "gate.suite"


def test_results_of_two_versions_of_a_suite_are_not_compared():
    with pytest.raises(UntrustedRecipe) as caught:
        gate.pair(result("0" * 10), result("1" * 10, version="2"), "all")
    assert caught.value.key == "gate.suites-differ"
