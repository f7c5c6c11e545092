"""For any order of proposals, decisions and rollbacks: an alias stands for at most one release, which two persons agreed on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import hashing
from holdfast.audit import actions
from holdfast.audit.event import Actor, Event, Source
from holdfast.errors import UntrustedRequest
from holdfast.governance import releases, snapshot
from holdfast.governance.labels import Label
from holdfast.governance.releases import Product, Release, Standing
from holdfast.governance.state import State

LABEL = Label("internal", frozenset(), frozenset({"site"}))
PEOPLE = {"olga": "operator", "bob": "administrator"}
ALIASES = ("authority", "letters")
MOVES = ("release", "release", "rollback", "rollback", "propose", "approve", "refuse", "fail")
NOWHERE = 99  # no event has this number


@st.composite
def courses(draw):
    """Steps that mostly speak of what came before them, as those of people do."""
    steps, proposed, approved = [], [NOWHERE], {alias: [NOWHERE] for alias in ALIASES}
    for move in draw(st.lists(st.sampled_from(MOVES), max_size=10)):
        alias = draw(st.sampled_from(ALIASES))
        if move in ("release", "propose"):
            proposed.append(len(steps))
            steps.append(("propose", alias, draw(st.integers(0, 5))))
            if move == "release":
                steps.append(("approve", proposed[-1]))
                approved[alias].append(proposed[-1])
        elif move == "rollback":
            where = draw(st.sampled_from((alias, alias, *ALIASES, "unheard-of")))
            steps.append((move, where, draw(st.sampled_from(approved[alias]))))
        else:
            steps.append((move, draw(st.sampled_from(proposed))))
    return steps


STEPS = courses()


def digest(*parts):
    return hashing.sha512(repr(parts).encode())


def release(alias="authority", number=1, **changes):
    made = Release(
        alias=alias,
        run=digest("run", number),
        kind=Product.ADAPTER,
        product=digest("adapter", number),
        base=digest("base"),
        tokenizer=digest("tokenizer"),
        gguf={"q8_0": digest("q8_0")},
        lora=digest("lora", number),
        evaluation=digest("evaluation", number),
        gate=digest("gate", number),
        decided=number,
        label=LABEL,
    )
    return replace(made, **changes)


def event(seq, action, params, who, cause=None):
    assert actions.get(action).params.check(params) is None
    return Event(
        action=action,
        actor=Actor(person=who, uid=1, role=PEOPLE[who], session="s"),
        subject=None,
        label=None,
        params=params,
        cause=cause,
        seq=seq,
        time="2026-03-01T12:00:00.000000Z",
        clock="host",
        source=Source("daemon", "0" * 16, seq),
    )


def events(steps):
    for seq, (deed, *told) in enumerate(steps):
        match deed:
            case "propose":
                document = release(told[0], told[1]).to_json()
                yield event(seq, "release.proposed", {"release": document}, "olga")
            case "approve":
                params = {"request": told[0], "alias": "x", "product": digest(1), "switched": True}
                yield event(seq, "release.approve.done", params, "bob", cause=0)
            case "refuse":
                yield event(seq, "release.refused", {"request": told[0], "reason": "No."}, "bob")
            case "fail":
                params = {"error": "x", "message": "No."}
                yield event(seq, "release.approve.failed", params, "bob", cause=0)
            case "rollback":
                params = {
                    "alias": told[0],
                    "to": told[1],
                    "product": digest(1),
                    "reason": "Bad.",
                    "switched": False,
                }
                yield event(seq, "release.rollback.done", params, "olga", cause=0)


@given(STEPS)
def test_an_alias_stands_for_the_last_release_that_was_approved_and_not_rolled_back_from(steps):
    state = State()
    approved, dead = set(), set()
    for step, found in zip(steps, events(steps), strict=True):
        before = dict(state.releases.lines.items())
        was = {one.request: one.standing for one in state.releases.proposals.values()}
        state.apply(found)
        folded = state.releases
        if step[0] == "approve" and was.get(step[1]) is Standing.OPEN:
            approved.add(step[1])
        if step[0] == "rollback":
            line = before.get(step[1], ())
            if step[2] in line[:-1]:
                dead |= set(line[line.index(step[2]) + 1 :])
            else:
                assert folded.lines == before
        lines = [request for line in folded.lines.values() for request in line]
        assert len(set(lines)) == len(lines)
        assert set(lines) == approved - dead
        for alias, line in folded.lines.items():
            assert line == tuple(sorted(line, key=lambda one: folded.proposals[one].decided))
            assert {folded.proposals[one].release.alias for one in line} == {alias}
            assert folded.in_force(alias) == folded.proposals[line[-1]]
        standings = {request: one.standing for request, one in folded.proposals.items()}
        in_force = {line[-1] for line in folded.lines.values()}
        assert {request for request, one in standings.items() if one is Standing.IN_FORCE} == in_force
        assert {request for request, one in standings.items() if one is Standing.SUPERSEDED} == set(
            lines
        ) - in_force
        assert {request for request, one in standings.items() if one is Standing.ROLLED_BACK} == dead
        for request, standing in standings.items():  # what was decided stays decided
            if was.get(request) in (Standing.REFUSED, Standing.ROLLED_BACK):
                assert standing is was[request]
            assert (folded.proposals[request].decided_by is None) == (standing is Standing.OPEN)


@settings(max_examples=40)  # a snapshot at each cut: the slowest takes a few tenths of a second
@given(STEPS)
def test_folding_goes_on_from_a_snapshot_at_every_cut(steps):
    found = [*events(steps)]
    whole = State()
    for one in found:
        whole.apply(one)
    for cut in range(len(found) + 1):
        state = State()
        for one in found[:cut]:
            state.apply(one)
        state = snapshot.decode(snapshot.encode(state))
        for one in found[cut:]:
            state.apply(one)
        assert state == whole
        assert state.releases.aliases == whole.releases.aliases


@pytest.mark.parametrize(
    "changes", [{}, {"kind": Product.MODEL, "lora": None}, {"gguf": {"f16": digest(1), "q4_k_m": digest(2)}}]
)
def test_a_document_reads_back_as_it_was_written(changes):
    made = release(**changes)
    again = releases.parse(made.to_json())
    assert (again, again.digest, made.differs(again)) == (made, made.digest, [])
    assert made.differs(replace(made, base=digest("other"), decided=7)) == ["base", "decided"]


def test_every_field_is_covered_by_the_digest():
    made = release()
    others = [
        replace(made, alias="b"),
        replace(made, kind=Product.MODEL, lora=None),
        *(
            replace(made, **{name: digest("other")})
            for name in ("run", "product", "base", "tokenizer", "lora")
        ),
        *(replace(made, **{name: digest("other")}) for name in ("evaluation", "gate")),
        replace(made, gguf={"q8_0": digest("other")}),
        replace(made, decided=2),
        replace(made, label=Label("secret", frozenset(), frozenset({"site"}))),
    ]
    assert len({made.digest, *(one.digest for one in others)}) == 1 + len(others)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"schema": "holdfast.release/2"},
        {"alias": ""},
        {"alias": "a:b"},
        {"alias": "a/b"},
        {"alias": "-a"},
        {"alias": "a\n"},
        {"alias": "ä"},
        {"alias": "x" * 65},
        {"run": "sha512:1"},
        {"kind": "both"},
        {"kind": "model"},
        {"kind": ["adapter"]},
        {"gguf": {}},
        {"gguf": {"Q8": digest(1)}},
        {"gguf": {"q8_0": 1}},
        {"gguf": {f"q{number}": digest(1) for number in range(9)}},
        {"lora": 7},
        {"decided": -1},
        {"decided": True},
        {"decided": 2**53},
        {"label": {}},
        {"more": 1},
    ],
    ids=lambda spoilt: f"{next(iter(spoilt))}-{len(str(spoilt))}",
)
def test_what_is_no_release_is_refused(spoilt):
    with pytest.raises(UntrustedRequest):
        releases.parse(release().to_json() | spoilt)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*release().to_json()]), inner),
    )
)
def test_anything_at_all_is_read_or_refused(value):
    with pytest.raises(UntrustedRequest):
        releases.parse(value)
