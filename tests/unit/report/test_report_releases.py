"""Releases in a report: who proposed what, who decided, and what became of it, whatever an event holds."""

from __future__ import annotations

import pytest
from tests.property.test_releases_fold import release

from holdfast.report import chapters
from holdfast.report.facts import gather


@pytest.fixture
def told(now):
    return lambda story: gather(story.events, site="Harbour Office", walls={}, now=now, log=story.log)


def row_of(facts, request):
    return next(row for row in facts["releases"] if row["request"] == request)


def tell(story, number, *, approve=True, approver="amira"):
    document = release("letters", number).to_json()
    request = story.tell("release.proposed", "otto", "operator", release=document)
    if approve:
        asked = {"request": request, "requester": "otto"}
        story.act("release.approve", approver, "administrator", asked, request=request, alias="letters")
    return request


def test_a_release_says_who_proposed_approved_and_rolled_back(make_story, told):
    story = make_story()
    first, second, third = tell(story, 1), tell(story, 2), tell(story, 3)
    refused = tell(story, 4, approve=False)
    story.tell("release.refused", "amira", "administrator", request=refused, reason="Not yet.")
    open_ = tell(story, 5, approve=False)
    facts = told(story)
    states = [row_of(facts, request)["state"] for request in (first, second, third, refused, open_)]
    assert states == ["superseded", "superseded", "in force", "refused", "open"]
    assert row_of(facts, third)["requester"] == "otto"
    assert row_of(facts, third)["decision"]["by"] == "amira"
    assert row_of(facts, refused)["decision"]["reason"] == "Not yet."
    assert row_of(facts, open_)["decision"] is None
    story.act(
        "release.rollback", "otto", "operator", {}, alias="letters", to=first, reason="It answers worse."
    )
    states = [row_of(told(story), request)["state"] for request in (first, second, third)]
    assert states == ["in force", *["rolled back by otto: It answers worse."] * 2]
    (block,) = [
        one for part in chapters.chapters(told(story)) for one in part["blocks"] if one["title"] == "Releases"
    ]
    assert len(block["rows"]) == 6  # with the one of the story itself


def test_what_one_person_alone_released_is_a_gap(make_story, told):
    story = make_story()
    tell(story, 1)
    assert not any(" alone: release " in gap for gap in told(story)["gaps"])
    tell(story, 2, approver="otto")
    (gap,) = [gap for gap in told(story)["gaps"] if " alone: release " in gap]
    assert "otto released letters" in gap


def test_nothing_that_an_event_holds_breaks_the_report(make_story, told):
    story = make_story()
    request = tell(story, 1)
    story.tell("release.proposed", "otto", release=7)
    story.tell("release.proposed", "otto", release={"alias": 7, "product": [], "run": "x"})
    story.act("release.approve", "amira", "administrator", {}, request="7")
    story.act("release.approve", "amira", "administrator", {}, request=request)
    story.act("release.rollback", "otto", "operator", {}, alias="letters", to=request, reason=None)
    story.act("release.rollback", "otto", "operator", {}, to={}, reason=None)
    assert [row["state"] for row in told(story)["releases"][1:]] == ["in force", "open", "open"]
