from __future__ import annotations

import json

import pytest

from holdfast import canonical
from holdfast.errors import UntrustedInput, UntrustedRecipe
from holdfast.evaluation import gate, paired, record
from holdfast.training.spec import GateRule

DIGEST = "sha512:" + "d" * 128


def result(outcomes: str, version: str = "1") -> dict:
    """Items of three sections: the first 70 % in a primary one, then joined ones."""
    first = len(outcomes) * 7 // 10
    of = ["single"] * first + ["joined"] * (len(outcomes) - first)
    return {
        "suite": {"name": "domain", "version": version},
        "primary": ["single"],
        "ids": [f"{section[0]}{at}" for at, section in enumerate(of)],
        "of": of,
        "outcomes": outcomes,
    }


def texts(*values: float) -> dict:
    """A suite of texts, the first of them four times as long as the others."""
    ids = [f"t{at}" for at in range(len(values))]
    return {
        "suite": {"name": "domain", "version": "1"},
        "primary": ["text"],
        "ids": ids,
        "of": ["text"] * len(values),
        "outcomes": "-" * len(values),
        "values": dict(zip(ids, values, strict=True)),
        "bytes": {one: 400 if one == "t0" else 100 for one in ids},
    }


def judge(rule, value, before, after, section="all", *, alpha=0.05):
    rules = [GateRule(suite="domain", section=section, rule=rule, value=value, alpha=alpha)]
    results = [{"domain": result(one) if isinstance(one, str) else one} for one in (before, after)]
    return gate.judge(rules, *results, {"domain": DIGEST})


@pytest.mark.parametrize(
    ("rule", "value", "before", "after", "go"),
    [
        ("minimum", 0.7, "0000000000", "1111111000", True),
        ("minimum", 0.71, "0000000000", "1111111000", False),
        # Six items one way give p = 1/32; five give 1/16, whatever their share is.
        ("improvement", 0.6, "0000000000", "1111110000", True),
        ("improvement", 0.61, "0000000000", "1111110000", False),
        ("improvement", 0.1, "0000000000", "1111100000", False),
        ("improvement", 0.0, "1111111111", "0000000000", False),  # a change beyond chance, the wrong way
        ("improvement", 0.0, "1111100000", "1111100000", False),
        # Of ten items that stay the same the loss may still be z²/(n + z²) = 0.213, and of a thousand 0.003.
        ("non_inferiority", 0.22, "1111100000", "1111100000", True),
        ("non_inferiority", 0.21, "1111100000", "1111100000", False),
        ("non_inferiority", 0.003, "1" * 1000, "1" * 1000, True),
        ("non_inferiority", 0.0, "0" * 10, "1" * 10, True),
        ("non_inferiority", 0.9, "1" * 10, "0" * 10, False),
    ],
)
def test_rules(rule, value, before, after, go):
    verdict = judge(rule, value, before, after)
    assert verdict["go"] is go
    assert verdict["rules"][0]["holds"] is go
    assert verdict["reasons"][0].startswith("Holds: " if go else "Fails: ")


def test_a_rule_is_exact_at_its_bound():
    # 0.1 + 0.2 is more than 0.3 in binary64; three of ten are 0.3.
    assert judge("minimum", 0.3, "0" * 10, "1110000000")["go"] is True
    assert judge("improvement", 0.05, "0" * 10, "1111110000", alpha=0.03125)["go"] is True
    assert judge("improvement", 0.05, "0" * 10, "1111110000", alpha=0.03124)["go"] is False


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ("0" * 6 + "1111", "1" * 10, "better"),
        ("0" * 5 + "11111", "1" * 10, "same"),
        ("1111100000", "0000011111", "same"),
        ("1" * 10, "1" * 5 + "00000", "worse within noise"),
        ("1" * 10, "1111000000", "regression"),
    ],
)
def test_verdicts_tell_the_change_whatever_the_rule_says(before, after, verdict):
    for rule in ("minimum", "improvement", "non_inferiority"):
        assert judge(rule, 0.5, before, after)["rules"][0]["verdict"] == verdict


def test_a_small_real_loss_may_be_a_regression_and_yet_within_the_margin():
    found = judge("non_inferiority", 0.1, "1" * 400, "0" * 8 + "1" * 392)["rules"][0]
    assert (found["verdict"], found["holds"]) == ("regression", True)


def test_the_starter_s_figures_pass_with_its_margin_however_its_five_lost_items_come_about():
    for fixed in range(8):
        before = "1" * 373 + "0" * 7
        after = "0" * (5 + fixed) + "1" * (368 - fixed) + "1" * fixed + "0" * (7 - fixed)
        assert judge("non_inferiority", 0.04, before, after)["go"] is True
        assert judge("non_inferiority", 0.02, before, after)["go"] is False


def test_a_verdict_has_all_its_figures():
    verdict = judge("non_inferiority", 0.04, "1" * 373 + "0" * 7, "0" * 7 + "1" * 366 + "11" + "0" * 5)
    rule = verdict["rules"][0]
    assert verdict["suites"] == {"domain": DIGEST}
    assert rule["digest"] == DIGEST
    assert {
        name: rule[name] for name in ("unit", "items", "before", "after", "change", "p", "bound", "margin")
    } == {
        "unit": "share",
        "items": 380,
        "before": 0.981578947,
        "after": 0.968421053,
        "change": -0.013157895,
        "p": 0.1796875,
        "bound": 0.029031746,
        "margin": 0.04,
    }
    assert rule["interval"] == {"low": -0.032951783, "high": 0.002880464, "level": 0.95}
    assert rule["smallest"] == {
        "at_best": {"items": 6, "share": 0.015789474},
        "observed": {"items": 7, "share": 0.018421053},
    }
    assert (len(rule["fixed"]), len(rule["broken"])) == (2, 7)
    assert verdict["reasons"] == [
        (
            "Holds: domain (all) loses 0.013, at most 0.030 with 95 % confidence; margin 0.040: non-inferior; "
            "0.982 before, 0.968 after, of 380 items 2 fixed and 7 broken (s0, s1, s2, s3, s4, …): worse within noise, "
            "p = 0.180. It can show a net change of 6 items (0.016) at best, of 7 items (0.018) where 9 change."
        )
    ]
    assert canonical.decode(canonical.encode(verdict), limit=10**6, what="it") == verdict


def test_a_minimum_comes_with_the_interval_of_its_share():
    rule = judge("minimum", 0.9, "0" * 186, "1" * 177 + "0" * 9)["rules"][0]
    assert rule["score_interval"]["low"] == pytest.approx(0.910, abs=5e-4)
    assert "(95 % interval 0.910 to 0.978)" in rule["reason"]


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
    verdict = gate.judge(
        rules, {"domain": result("0" * 10)}, {"domain": result("1" * 7 + "000")}, {"domain": DIGEST}
    )
    assert verdict["go"] is False
    assert [reason.split(":")[0] for reason in verdict["reasons"]] == ["Holds", "Fails"]


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (
            "1" * 95 + "0" * 5,
            "stays the same, loses at most 0.027 with 95 % confidence; margin 0.100: non-inferior",
        ),
        ("1" * 96 + "0" * 4, "gains 0.010, loses at most 0.017 with 95 % confidence"),
        ("1" * 100, "gains 0.050, at least 0.022 with 95 % confidence"),
        ("1" * 94 + "0" * 6, "loses 0.010, at most 0.044 with 95 % confidence; margin 0.100: non-inferior"),
    ],
)
def test_a_bound_is_told_as_what_it_is(after, told):
    assert told in judge("non_inferiority", 0.1, "1" * 95 + "0" * 5, after)["reasons"][0]


def test_a_suite_that_can_show_nothing_says_so():
    reason = judge("non_inferiority", 0.5, "11111", "11111")["reasons"][0]
    assert reason.endswith("So few items can show no change at all.")


def test_a_reason_fits_the_log_whatever_items_and_suites_are_called():
    before = result("1" * 400) | {
        "ids": ["\U0001f600" * 60 + str(at) for at in range(400)],
        "of": ["s" * 64] * 400,
    }
    before["primary"] = ["s" * 64]
    rules = [GateRule(suite="n" * 64, section="s" * 64, rule="non_inferiority", value=0.5, alpha=0.000001)]
    after = before | {"outcomes": "0" * 200 + "1" * 200}
    verdict = gate.judge(rules, {"n" * 64: before}, {"n" * 64: after}, {"n" * 64: DIGEST})
    assert len(f"transformers: {verdict['reasons'][0]}") < 950


# Texts, in bits per byte: less is better.


def test_texts_are_judged_in_bits_per_byte():
    before, after = texts(2.0, *[1.5] * 9), texts(1.0, *[1.25] * 9)
    found = judge("improvement", 0.5, before, after, "text")["rules"][0]
    # (400 * 2 + 900 * 1.5) / 1300 and (400 + 900 * 1.25) / 1300: the bits of all texts over their bytes.
    assert (found["before"], found["after"]) == (1.653846154, 1.173076923)
    assert (found["unit"], found["verdict"], found["holds"]) == ("bits per byte", "better", False)
    assert found["p"] == 2 / 2**10
    assert found["interval"] == {"low": 0.25, "high": 0.25, "level": 0.95}
    assert judge("improvement", 0.48, before, after, "text")["go"] is True
    assert judge("minimum", 1.18, before, after, "text")["go"] is True
    assert judge("minimum", 1.17, before, after, "text")["go"] is False
    assert (
        "needs 1.173 bits per byte, at most 1.170 is asked"
        in judge("minimum", 1.17, before, after)["reasons"][0]
    )


def test_a_loss_of_texts_is_bounded_by_the_median_and_by_what_was_seen_in_all():
    before = texts(*[1.5] * 10)
    # Every text loses 0.01, one of them 1.0: the median's bound is small, the whole loss is not.
    after = texts(2.5, *[1.51] * 9)
    found = judge("non_inferiority", 0.05, before, after)["rules"][0]
    assert (found["bound"], found["holds"], found["verdict"]) == (0.01, False, "regression")
    assert judge("non_inferiority", 0.02, before, texts(*[1.51] * 10))["go"] is True
    few = judge("non_inferiority", 1.0, texts(1.0, 1.0, 1.0), texts(1.0, 1.0, 1.0))
    assert few["go"] is False
    assert "3 items are too few" in few["reasons"][0]


def test_a_suite_of_questions_and_texts_keeps_them_apart():
    mixed = result("1100")
    mixed["of"] = ["single", "single", "text", "text"]
    mixed |= {"outcomes": "10--", "values": {"j2": 1.0, "j3": 2.0}, "bytes": {"j2": 10, "j3": 30}}
    known = record.read(mixed)
    assert (known.unit("all"), known.members("all")) == ("share", [0, 1])
    assert (known.unit("text"), known.score("text")) == ("bits per byte", 1.75)


# What is refused.


def test_what_was_not_evaluated_is_refused():
    with pytest.raises(UntrustedRecipe) as caught:
        judge("minimum", 0.5, "0" * 10, "1" * 10, section="other")
    assert caught.value.key == "gate.section"
    with pytest.raises(UntrustedRecipe) as caught:
        gate.judge(
            [GateRule(suite="general", section="all", rule="minimum", value=0.5)],
            {},
            {"domain": result("1")},
            {},
        )
    assert caught.value.key == "gate.suite"


def test_a_share_above_one_is_no_share():
    with pytest.raises(UntrustedRecipe) as caught:
        judge("minimum", 1.5, "0" * 10, "1" * 10)
    assert caught.value.key == "gate.value"


@pytest.mark.parametrize(
    "other",
    [
        result("1" * 10, version="2"),
        result("1" * 9),
        result("1" * 10) | {"ids": [f"x{at}" for at in range(10)]},
        texts(*[1.0] * 10),
    ],
)
def test_results_of_two_suites_are_not_compared(other):
    with pytest.raises(UntrustedRecipe) as caught:
        paired.pair(record.read(result("0" * 10)), record.read(other), "all")
    assert caught.value.key == "gate.suites-differ"


@pytest.mark.parametrize(
    "change",
    [
        {"suite": None},
        {"suite": {"name": "", "version": "1"}},
        {"outcomes": "11"},
        {"outcomes": "11?1111111"},
        {"outcomes": "-111111111"},
        {"ids": ["s0"] * 10},
        {"ids": [], "of": [], "outcomes": ""},
        {"of": ["all"] * 10},
        {"of": "x" * 10},
        {"values": {"s0": 1.0}, "bytes": {"s0": 1}},
        {"outcomes": "-111111111", "values": {"s0": float("nan")}, "bytes": {"s0": 1}},
        {"outcomes": "-111111111", "values": {"s0": -1}, "bytes": {"s0": 1}},
        {"outcomes": "-111111111", "values": {"s0": 1.5}, "bytes": {"s0": 0}},
        {"outcomes": "-111111111", "values": {"s0": 1.5}, "bytes": {"s0": 1.5}},
        {"outcomes": "-111111111", "values": {"s0": True}, "bytes": {"s0": 1}},
        {"values": [1]},
        {"primary": "single"},
    ],
    ids=lambda change: json.dumps(change)[:40],
)
def test_a_malformed_result_is_refused_whole(change):
    with pytest.raises(UntrustedInput) as caught:
        record.read(result("1" * 10) | change)
    assert caught.value.key == "evaluation.result"


def test_a_result_that_is_no_object_is_refused():
    for wrong in (None, [], "x", 3):
        with pytest.raises(UntrustedInput):
            record.read(wrong)
