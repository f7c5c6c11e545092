"""Roles grant acts by name; nobody has more than their roles say."""

from __future__ import annotations

import pytest

from holdfast.audit import actions
from holdfast.audit.actions import Phase
from holdfast.errors import NotPermitted, UntrustedInput
from holdfast.governance import people
from holdfast.governance.people import GRANTS, Person, Role


def person(name="olga", *roles, uids=(1000,)):
    return Person(name, tuple(roles), uids, {"schema": "k"}, "f")


def test_every_grant_is_a_registered_action_and_every_act_of_the_daemon_is_granted_to_somebody():
    granted = set().union(*GRANTS.values())
    registered = {name for name, found in actions.REGISTRY.items() if found.phase is not Phase.OUTCOME}
    assert granted <= registered
    acts = {
        name
        for name, found in actions.REGISTRY.items()
        if found.phase is Phase.INTENT and found.producer == "daemon"
    }
    assert acts <= granted


def test_the_auditor_only_reads_and_the_operator_admits_nothing():
    assert not {act for act in GRANTS[Role.AUDITOR] if not act.startswith(("audit.", "report.", "sealed."))}
    assert not GRANTS[Role.AUDITOR] & {"sealed.erase", "sealed.retention", "audit.forget"}
    assert not GRANTS[Role.OPERATOR] & {"bundle.admit", "bundle.reject", "bundle.rollback"}
    assert not GRANTS[Role.ADMINISTRATOR] & {"train.run", "audit.read", "sealed.unseal", "report.residency"}


def test_an_act_is_done_in_the_role_that_grants_it():
    both = person("eve", Role.ADMINISTRATOR, Role.OPERATOR)
    assert both.role_for("train.run") is Role.OPERATOR
    assert both.role_for("bundle.import") is Role.ADMINISTRATOR
    with pytest.raises(NotPermitted) as caught:
        both.role_for("report.residency")
    assert caught.value.fields == {"person": "eve", "act": "report.residency"}
    assert "auditor" in caught.value.remedy


def test_a_person_reads_back():
    found = person("Eve", Role.AUDITOR, uids=(0, 7))
    assert people.parse(found.to_json()) == found


@pytest.mark.parametrize(
    "change", [{"roles": ["king"]}, {"uids": ["x"]}, {"key": "k"}, {"roles": None}, {"uids": None}]
)
def test_a_malformed_person_is_refused(change):
    with pytest.raises(UntrustedInput):
        people.parse(person().to_json() | change)
    for value in (None, [], {"name": "x"}):
        with pytest.raises(UntrustedInput):
            people.parse(value)


def test_a_local_user_with_several_peoples_keys_is_named_as_a_weak_point():
    told = people.shared_uids([person("a"), person("b"), person("c", uids=(1, 1000)), person("d", uids=(2,))])
    assert told == ["Local user 1000 may connect as a, b, c: between them, two persons are one."]
