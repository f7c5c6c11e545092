"""What the facts say of a site's log."""

from __future__ import annotations

import pytest

from holdfast import canonical, frames
from holdfast.artefact import Artefact, FileRef, Kind
from holdfast.audit import event as events
from holdfast.audit.event import Actor, Draft, Event, Source, Subject
from holdfast.governance.labels import Label
from holdfast.report import facts as facts_module
from holdfast.report import shape
from holdfast.report.facts import gather


@pytest.fixture
def told(make_story, now):
    def tell(story=None, **changes):
        story = story or make_story(**changes)
        walls = story.events[1]["params"].get("walls", {})
        return gather(story.events, site="Harbour Office", walls=walls, now=now, log=story.log)

    return tell


def test_the_facts_have_their_shape_and_are_canonical(told):
    facts = told()
    assert list(shape.faults(facts)) == []
    assert canonical.decode(canonical.encode(facts), limit=2**20, what="facts") == facts


def test_a_gate_tells_its_verdicts_and_names_its_suites_by_digest(told):
    gate = told()["gates"][0]
    assert gate["go"] is True
    assert gate["verdicts"] == ["q4_k_m domain facts minimum: holds, better"]
    assert len(gate["suites"]) == 1


def test_event_objects_and_plain_data_give_the_same_facts(make_story, now):
    story = make_story()
    objects = []
    for event in story.events:
        draft = {
            "actor": Actor(**event["actor"]),
            "subject": Subject(**event["subject"]) if event["subject"] else None,
            **{name: event[name] for name in ("action", "params", "cause")},
        }
        events.prepare(Draft(**draft))  # the story is one that the log would take
        source = Source("daemon", "0" * 16, event["seq"])
        objects.append(
            Event(**draft, **{name: event[name] for name in ("seq", "time", "clock")}, source=source)
        )
    plain = gather(story.events, site="s", walls={}, now=now, log=story.log)
    assert gather(objects, site="s", walls={}, now=now, log=story.log) == plain


def test_a_bundle_names_who_signed_asked_and_admitted(told):
    (row,) = told()["imports"]
    assert (row["publisher"], row["holders"], row["root_version"]) == (
        "Holdfast starter",
        ["holder-one", "holder-two"],
        1,
    )
    assert (row["requester"], row["admitted"]["by"], row["admitted"]["generation"]) == ("bruno", "amira", 1)
    assert len(row["artefacts"]) == 2


def test_an_import_that_failed_is_listed_with_its_reason(make_story, told):
    story = make_story()
    story.act(
        "bundle.import",
        "bruno",
        "administrator",
        {},
        "failed",
        error="media.chunk",
        message="A chunk was changed.",
    )
    facts = told(story)
    assert [row["reason"] for row in facts["imports_refused"]] == ["A chunk was changed."]
    assert {"action": "bundle.import", "outcome": "failed", "count": 1}.items() <= facts["endings"][0].items()


def test_a_rejected_bundle_says_who_rejected_it(make_story, told):
    story = make_story()
    request = story.act("bundle.import", "bruno", "administrator", {}, name="other", version="1")
    story.act("bundle.reject", "amira", "administrator", {"request": request}, request=request)
    assert told(story)["imports"][1]["rejected"]["by"] == "amira"


def test_artefacts_wait_in_quarantine_until_somebody_decides(make_story, told, now):
    story = make_story()
    admitted = next(event for event in story.events if event["action"] == "bundle.admit")
    waiting = gather(story.events[: admitted["seq"]], site="s", walls={}, now=now, log=story.log)
    assert {row["state"] for row in waiting["artefacts"]} == {"in quarantine"}
    assert {row["folder"]: row["artefacts"] for row in waiting["stores"]}["quarantine"] == 2
    assert {row["state"] for row in told(story)["artefacts"]} == {"held"}


def test_what_was_rejected_weighs_on_no_label(make_story, told):
    story = make_story()
    files = (FileRef("data.bin", 1, "sha512:" + "7" * 128),)
    secret = Label("secret", frozenset(), frozenset({"site"}))
    request = story.bring("bruno", {}, Artefact(Kind.BASE, "other", "1", files, secret))
    assert told(story)["banner"] == "SECRET//harbour @site"
    story.act("bundle.reject", "amira", "administrator", {"request": request}, request=request)
    facts = told(story)
    assert [row["state"] for row in facts["artefacts"] if row["name"] == "other"] == ["rejected"]
    assert facts["banner"] == "INTERNAL//harbour @site"


def test_a_denied_access_names_the_person_or_else_the_account(make_story, told):
    story = make_story()
    story.tell("access.denied", reason="session.unknown", route="/v1/status", person=None)
    story.events[-1]["params"]["uid"] = 77
    assert [row["person"] for row in told(story)["access_denied"]] == ["otto", "uid 77"]


def test_counted_refusals_are_added_up_reason_by_reason(make_story, told):
    story = make_story()
    many = {"session.missing": 900, "session.refused": 90}
    story.tell("access.refused", count=1000, seconds=1.5, reasons=many, uids={"7": 1000}, person=None)
    story.tell(
        "access.refused", count=3, seconds=0, reasons={"session.missing": 3}, uids={"7": 3}, person=None
    )
    story.tell("access.refused", count=5, seconds=1, reasons={"role.missing": 5}, uids={}, person="otto")
    story.tell("serve.refused", count=8, seconds=1, reasons={"serve.key-unknown": 80, "x": -1}, keys={})
    asked = {"tenant": "tax", "key": "k", "route": "/v1/models", "method": "GET"}
    for _ in range(2):
        refused = asked | {"error": "serve.scope", "status": 403}
        story.act("serve.request", "tax/k", "application", asked, "failed", uid=None, **refused)
    rows = told(story)["access_denied"][-6:]
    assert [(row["person"], row["reason"], row["count"]) for row in rows] == [
        ("uid 7", "session.missing", 903),
        ("uid 7", "session.refused", 90),
        ("uid 7", None, 10),
        ("otto", "role.missing", 5),
        ("applications", "serve.key-unknown", 8),
        ("tax/k", "serve.scope", 2),
    ]
    assert rows[-1]["route"] == "/v1/models"
    facts = told(story)
    assert not {"access.refused", "serve.refused"} & facts["system"].keys()
    assert "serve.request" not in {row["action"] for row in facts["endings"]}


def test_a_run_names_base_data_recipe_and_adapter(told):
    facts = told()
    (run,) = facts["training"]
    named = {row["digest"]: row["name"] for row in facts["artefacts"]}
    assert named[run["base"]] == "starter-base"
    assert [named[digest] for digest in run["datasets"]] == ["harbour-rules"]
    assert (named[run["recipe"]], named[run["adapter"]], named[run["run"]]) == (
        "adapt",
        "harbour",
        "harbour-run",
    )
    assert (run["steps"], run["tokens_per_second"], run["by"]) == (120, 2400.5, "otto")


def test_a_replay_is_judged_by_its_digests_not_by_what_it_claims(make_story, told):
    story = make_story()
    replay = next(event for event in story.events if event["action"] == "train.replay.done")
    replay["params"]["replayed_digest"] = "sha512:" + "0" * 128
    facts = told(story)
    assert facts["replays"][0]["equal"] is False
    assert any("replay" in gap for gap in facts["gaps"])


def test_answers_are_counted_by_model_adapter_and_tenant(told):
    rows = {row["tenant"]: row for row in told()["answers"]}
    assert {tenant: row["count"] for tenant, row in rows.items()} == {"front-desk": 2, "archive": 1}
    front = rows["front-desk"]
    assert (front["adapter"], front["prompt_tokens"], front["completion_tokens"]) == ("harbour 1.0", 80, 24)
    assert front["first"]["seq"] < front["last"]["seq"]


def test_attempts_of_a_worker_are_counted_once_though_reports_are_cumulative(told):
    facts = told()
    assert [row["count"] for row in facts["worker_denied"]] == [10]
    assert facts["egress"] == {"state": "attempted and denied", "attempts": 10, "sink": False}


def test_people_are_told_from_parts_of_the_appliance(told):
    facts = told()
    assert [row["name"] for row in facts["people"]] == ["amira", "bruno", "otto"]
    assert facts["system"]["answer"] == 3
    otto = facts["people"][2]
    assert "access.denied" not in otto["by_action"]
    assert otto["by_action"]["train.run"] == 1


def test_every_artefact_is_placed_against_the_zones_of_the_site(make_story, told):
    story = make_story()
    listed = next(event for event in story.events if event["action"] == "artefact.listed")
    listed["params"]["artefact"]["label"]["zones"] = ["overseas"]
    facts = told(story)
    placed = {row["name"]: row["within_zones"] for row in facts["artefacts"]}
    assert (placed["starter-base"], placed["starter-tokenizer"]) == (False, True)
    assert any("names none of this site's zones" in gap for gap in facts["gaps"])


def test_the_banner_is_the_tightest_label_of_all(make_story, told):
    story = make_story()
    listed = next(event for event in story.events if event["action"] == "artefact.listed")
    listed["params"]["artefact"]["label"] = {
        "level": "secret",
        "compartments": ["x"],
        "zones": ["site", "b"],
    }
    assert told(story)["banner"] == "SECRET//harbour//x @site"


def test_what_is_unlabelled_counts_as_the_highest_level(make_story, told):
    story = make_story()
    listed = next(event for event in story.events if event["action"] == "artefact.listed")
    listed["params"]["artefact"]["label"] = None
    facts = told(story)
    assert facts["banner"].startswith("SECRET")
    assert any("no readable label" in gap for gap in facts["gaps"])


@pytest.mark.parametrize(
    "words",
    [
        "made on this site itself",
        "uid 1000 holds the keys of several people (amira, otto)",
        "no egress sink",
        "mode 0600",
        "host's own clock",
        "No outside witness",
        "lie beside each other in one folder",
    ],
)
def test_the_demo_admits_its_gaps(told, words):
    assert any(words in gap for gap in told()["gaps"])


def test_gaps_that_do_not_exist_are_not_stated(make_story, now):
    story = make_story(self_made=False)
    for event in story.events:
        event["clock"] = "trusted"
        event["actor"]["uid"] = None
    founded = story.events[0]["params"]
    founded["gaps"] = []
    founded["people"][2]["uids"] = [1002]
    over = next(event for event in story.events if event["action"] == "exception.asked")
    over["params"]["exception"]["until"] = "2026-11-22T09:59:59Z"
    walls = {"seccomp": True, "egress_sink": True, "service_keys": "tpm"}
    facts = gather(story.events, site="Harbour Office", walls=walls, now=now, log=story.log)
    assert facts["gaps"] == [
        "No outside witness has countersigned the log's checkpoint that this report stands on."
    ]


def test_admission_by_the_requester_is_a_gap(told):
    assert any("admitted by the person who asked" in gap for gap in told(admitter="bruno")["gaps"])


def test_a_log_of_another_size_is_a_gap(make_story, now):
    story = make_story()
    facts = gather(story.events[:-1], site="s", walls={}, now=now, log=story.log)
    assert any(f"drawn from {len(story.events) - 1} events" in gap for gap in facts["gaps"])


def test_an_act_without_outcome_is_under_way_but_not_the_report_itself(make_story, told):
    story = make_story()
    story.tell("train.run", "otto", uid=1000)
    assert [row["action"] for row in told(story)["open"]] == ["train.run"]


def test_an_empty_log_gives_facts_too(now):
    facts = gather([], site="s", walls={}, now=now, log={})
    assert list(shape.faults(facts)) == []
    assert facts["banner"] == "SECRET"


def test_a_list_that_is_cut_says_so(told, monkeypatch):
    monkeypatch.setattr(facts_module, "MAX_ROWS", 3)
    facts = told()
    assert len(facts["artefacts"]) == 3
    assert facts["left_out"]["artefacts"] == 4
    assert any("'artefacts' was cut; 4 more" in gap for gap in facts["gaps"])


def test_the_facts_of_a_large_site_fit_one_frame(make_story, told):
    story = make_story()
    for number in range(3_000):
        story.tell("trust.pinned", "n" * 256, "administrator", version=number, fingerprint="f" * 1_000)
        story.tell("gate.decided", "n" * 256, run="r", go=False, reasons=["because " * 40] * 3)
    assert len(frames.pack({"order": {"facts": told(story), "out": "/out"}})) < frames.MAX_FRAME


def test_shape_names_what_is_missing_unknown_or_of_another_kind(told):
    facts = told()
    del facts["gaps"]
    facts["extra"] = 1
    facts["training"] = ["text"]
    assert list(shape.faults(facts)) == [
        "the section 'gaps' is missing",
        "the section 'extra' is unknown",
        "the section 'training' is not a list of objects",
    ]


def test_an_exception_says_who_asked_granted_or_refused_and_until_when(told):
    granted, refused = told()["exceptions"]
    assert (granted["kind"], granted["state"], granted["until"]) == (
        "revoked",
        "granted",
        "2026-11-30T00:00:00Z",
    )
    assert (granted["requester"], granted["decision"]["by"]) == ("bruno", "amira")
    assert (refused["state"], refused["decision"]["reason"]) == ("refused", "The clock is right.")
    in_force = [gap for gap in told()["gaps"] if "in force until" in gap]
    assert in_force == [
        "The exception of kind revoked that bruno asked for is in force until 2026-11-30T00:00:00Z."
    ]


def test_an_exception_granted_by_who_asked_is_a_gap(make_story, told):
    story = make_story()
    for event in story.events:
        if event["action"].startswith("exception.grant"):
            event["actor"]["person"] = "bruno"
    assert any("was granted by the same person" in gap for gap in told(story)["gaps"])


def test_a_request_is_decided_once_and_only_by_what_was_done(make_story, told):
    story = make_story()
    asked = next(event["seq"] for event in story.events if event["action"] == "exception.asked")
    story.tell("exception.refused", "otto", "administrator", request=asked, reason="too late")
    open_ = story.tell("exception.asked", "bruno", exception={"kind": "floor"})
    story.act("exception.grant", "amira", "administrator", {"request": open_}, "failed", request=open_)
    rows = told(story)["exceptions"]
    assert [row["state"] for row in rows] == ["granted", "refused", "asked for"]
    assert rows[2]["decision"] is None


def test_a_revocation_says_why_what_instead_and_what_is_concerned_here(make_story, told):
    (row,) = told()["revocations"]
    assert (row["reason"], row["bundle"], row["here"]) == ("It repeats names.", "news 4", [row["digest"]])
    story = make_story()
    listed = next(event for event in story.events if event["action"] == "revocation.listed")["params"]
    later = {**listed["entries"][0], "reason": "It repeats names and numbers."}
    story.tell("revocation.listed", counter=2, bundle="news 5", entries=[later, {"digest": "no"}, 7])
    (row,) = told(story)["revocations"]
    assert (row["reason"], row["bundle"], row["here"]) == (later["reason"], "news 5", [row["digest"]])


def test_an_inventory_says_what_left_and_how_often(told):
    (row,) = told()["inventories"]
    assert (row["requester"], row["decision"]["by"], row["state"]) == ("bruno", "amira", "let out")
    assert (row["artefacts"], row["fetched"], row["label"]["level"]) == (1, 1, "internal")
    assert row["document"] is not None


def test_safeguards_of_another_shape_break_nothing(make_story, told):
    story = make_story()
    actions = [
        "exception.asked",
        "exception.refused",
        "revocation.listed",
        "artefact.revoked",
        "request.fetched",
    ]
    for action in [*actions, "request.refused"]:
        for value in (None, 7, "x", [1], {"kind": 5}):
            story.tell(action, request=value, exception=value, entries=value, revoked=value, label=value)
    for action in ("exception.grant", "request.make", "request.grant"):
        story.act(action, "amira", "administrator", {}, request="x", label=5, artefacts="many")
    facts = told(story)
    assert list(shape.faults(facts)) == []
