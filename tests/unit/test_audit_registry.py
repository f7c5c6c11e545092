"""The registry: what it holds, that the code writes it and nothing else, and that people can read it."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests import recorded

import holdfast
from holdfast.audit import actions, catalogue, event
from holdfast.audit.actions import Phase
from holdfast.audit.event import Actor, Draft, Subject
from holdfast.audit.params import COUNT, DIGEST, Either, ListOf, Nullable, Optional, Record, Text
from holdfast.audit.registry.controls import CONTROLS, EVERY
from holdfast.audit.sentences import MAX_SHOWN, Template
from holdfast.cli.events import events
from holdfast.errors import UntrustedRequest

SOURCES = Path(holdfast.__file__).parent
ROOT = SOURCES.parent.parent
DECLARED = SOURCES / "audit" / "registry"
ROW = {"action", "phase", "act", "producer", "essential", "meaning", "sentence", "controls", "params"}


def modules():
    for path in sorted(SOURCES.rglob("*.py")):
        if DECLARED not in path.parents:
            yield path.relative_to(SOURCES).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


MODULES = dict(modules())


def constants():
    """Give the texts that modules keep under a name: (module, name) to text."""
    for name, tree in MODULES.items():
        for node in tree.body:
            if not isinstance(node, ast.Assign) or len(node.targets) != 1:
                continue
            (target,) = node.targets
            several = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
            pairs = zip(target.elts, node.value.elts, strict=True) if several else [(target, node.value)]
            for left, right in pairs:
                if isinstance(left, ast.Name) and isinstance(right, ast.Constant):
                    yield (name, left.id), right.value


CONSTANTS = dict(constants())


def text(module, node):
    """Give the text that an argument is: itself, or a constant of its module or of another."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return CONSTANTS.get((module, node.id))
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        held = [
            said
            for (where, name), said in CONSTANTS.items()
            if name == node.attr and _is(where, node.value.id)
        ]
        return held[0] if len(held) == 1 else None
    return None


def _is(where, alias):
    return where.rpartition("/")[2] in {f"{alias}.py", "exceptions.py" if alias == "rules" else ""}


def call_sites():
    """Find where events are written: module, line, how (``fact``, ``act`` or ``draft``), and the action as written."""
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or module.startswith(
                "media/"
            ):  # a medium's draft is another thing
                continue
            named = {word.arg: word.value for word in node.keywords}
            if (
                isinstance(node.func, ast.Attribute)
                and node.func.attr in {"fact", "act"}
                and len(node.args) > 1
            ):
                yield module, node.lineno, node.func.attr, node.args[1]
            elif (
                isinstance(node.func, ast.Name)
                and node.func.id in {"Draft", "Act"}
                and (node.args or "action" in named)
            ):
                if module in {"audit/event.py", "governance/state.py"}:
                    continue  # they read what was written
                yield module, node.lineno, node.func.id, named.get("action") or node.args[0]


SITES = list(call_sites())
PASSED_ON = {  # modules whose action is an argument: who calls them is looked at instead
    "daemon/recorder.py",
    "daemon/seconding.py",
    "daemon/sealings.py",
    "audit/producer.py",
    "audit/channel.py",
    "audit/reconcile.py",
    "serving/front/record.py",
    "serving/front/acts.py",
    "daemon/bounded.py",
    "daemon/serve/deployment.py",
    "daemon/serve/pool.py",
}


@pytest.mark.parametrize(
    ("module", "line", "how", "argument"), SITES, ids=[f"{site[0]}:{site[1]}" for site in SITES]
)
def test_every_place_that_writes_names_a_registered_action_of_its_kind_and_producer(
    module, line, how, argument
):
    name = text(module, argument)
    if name is None:
        assert module in PASSED_ON, f"{module}:{line} writes {ast.unparse(argument)}"
        return
    found = actions.get(name)
    if how == "act":
        assert found.phase is Phase.INTENT
    elif how == "fact":
        assert found.phase is Phase.FACT
    assert found.producer == ("serve" if module.startswith("serving/") else "daemon")


def test_the_places_that_write_are_found():
    assert {"fact", "act", "Draft", "Act"} == {how for _, _, how, _ in SITES}
    assert len(SITES) > 40


def test_everything_that_is_registered_is_written_somewhere():
    said = {
        node.value
        for tree in MODULES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    begun = {name for name, one in actions.REGISTRY.items() if one.phase is not Phase.OUTCOME}
    assert not sorted(begun - said)


def test_the_verifier_knows_the_same_acts():
    from holdfast.audit import verify

    for name, one in actions.REGISTRY.items():
        act, _, ending = name.rpartition(".")
        known = {Phase.FACT: None, Phase.INTENT: (name, None), Phase.OUTCOME: (act, ending)}[one.phase]
        found = verify.ACT.fullmatch(name)
        assert (found and found.groups()) == known


def test_at_the_reserve_acts_end_and_only_those_begin_that_free_space_or_stop_something():
    assert all(one.essential for one in actions.REGISTRY.values() if one.phase is Phase.OUTCOME)
    begun = {name for name, one in actions.REGISTRY.items() if one.essential and one.phase is Phase.INTENT}
    assert begun == {"store.gc", "bundle.discard", "serve.stop"}
    essential = {name for name, one in actions.REGISTRY.items() if one.essential and one.phase is Phase.FACT}
    assert essential == {
        "daemon.started",
        "daemon.stopped",
        "daemon.heartbeat",
        "clock.stepped",
        "session.opened",
        "session.closed",
        "worker.denied",
        "audit.refused",
        "audit.space.low",
        "audit.space.stopped",
        "audit.space.recovered",
        "serve.engine.died",
        "serve.engine.restarted",
        "serve.engine.withdrawn",
        "serve.front.died",
        "serve.front.restarted",
    }


def test_only_the_reserve_holds_what_fits_it():
    """What is accepted then is small: the reserve holds thousands of such events."""
    for name, one in actions.REGISTRY.items():
        if one.essential and one.phase is Phase.FACT:
            draft = Draft(name, Actor("holdfastd", None, "service"), params=recorded.sample(name))
            prepared = event.prepare(draft)
            assert len(prepared.head + prepared.middle + prepared.tail) < 1_000


def test_only_answers_and_their_refusals_belong_to_the_serve_worker():
    served = {each.name for each in actions.REGISTRY.values() if each.producer == "serve"}
    acts = {"answer", "serve.request"}
    endings = {f"{act}.{ending}" for act in acts for ending in actions.OUTCOMES}
    assert served == {"serve.refused", *acts, *endings}


def test_every_event_serves_what_all_serve_and_mostly_something_of_its_own():
    for one in actions.REGISTRY.values():
        assert set(EVERY) < set(one.controls), one.name
        assert set(one.controls) <= CONTROLS.keys()
    used = {control for one in actions.REGISTRY.values() for control in one.controls}
    assert used == CONTROLS.keys()
    assert all(re.fullmatch(r"[A-Z]{2}-[1-9][0-9]?(\([1-9][0-9]?\))?", name) for name in CONTROLS)


@pytest.mark.parametrize(
    ("params", "parameter", "expected"),
    [
        ({"reason": "x"}, "name", "there; it should be a text of at most 255 characters"),
        ({"name": "w", "reason": "x", "more": 1}, "more", "one of those that there are: name, reason"),
        ({"name": "w", "reason": 7}, "reason", "a text of at most 1000 characters"),
    ],
)
def test_a_refusal_names_action_parameter_and_what_is_expected(params, parameter, expected):
    with pytest.raises(UntrustedRequest) as caught:
        actions.admit(Draft("audit.witness.removed", Actor("ada", 1, "administrator"), params=params))
    error = caught.value
    assert error.key == "audit.params"
    assert error.fields == {"action": "audit.witness.removed", "parameter": parameter, "expected": expected}
    assert (
        error.message
        == f"audit.witness.removed can't be recorded: its parameter {parameter} is not {expected}."
    )


def test_a_fault_deep_in_a_parameter_is_named_by_its_path():
    record = Record(
        {"a": ListOf(Record({"b": Nullable(DIGEST)}), 2), "c": Optional(Either((COUNT, Text(1))))}
    )
    assert record.check({"a": []}) is None
    found = record.check({"a": [{"b": None}, {"b": "x"}]})
    assert (found.path, found.expected) == ("a[1].b", f"{DIGEST.words()}, or null")
    assert record.check({"a": [], "c": "xx"}).path == "c"


def tell(name, params, subject=None, cause=None):
    return actions.describe(Draft(name, Actor("ada", 1, "operator"), subject, None, params, cause).to_json())


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (("bundle.import", {"path": "/media/one"}), "ada imports the medium /media/one"),
        (
            ("bundle.import.failed", {"error": "e", "message": "It is\nbroken."}, None, 17),
            "Importing a medium (event 17) by ada failed: It is broken.",
        ),
        (
            ("serve.stop", recorded.sample("serve.stop", started=5)),
            "ada stops serving what event 5 started",
        ),
        (
            ("serve.stop", {"started": 5, "why": "revoked", "models": {"m": recorded.DIGEST}}),
            "ada stops serving what event 5 started (revoked): m",
        ),
        (
            ("recipe.added", recorded.sample("recipe.added"), Subject("recipe", recorded.DIGEST)),
            "ada added the recipe recipe 0f0f0f0f0f0f",
        ),
    ],
)
def test_an_event_is_told_in_one_sentence(told, sentence):
    assert tell(*told) == sentence


def test_a_sentence_lists_a_few_and_cuts_what_is_long():
    record = Record({"names": ListOf(Text(500), 9), "flag": Text(9_000)})
    shown = Template("{names#}: [{names}]; {flag}", record)
    told = shown.fill({"params": {"names": list("abcdef"), "flag": "x" * 9_000}})
    assert told == "6: a, b, c, d and 2 more; " + "x" * (MAX_SHOWN - 1) + "…"
    assert shown.fill({"params": {"names": [], "flag": "\x1b[2J"}}) == "0: ; \N{REPLACEMENT CHARACTER}[2J"


@pytest.mark.parametrize(
    "template",
    [
        "{absent}",
        "{it}",
        "{cause}",
        "{maybe}",
        "{left}",
        "{many}",
        "{one#}",
        "{record}",
        "{record.absent}",
        "{one.more}",
        "[no slot]",
        "[{one}",
        "{one",
        "]",
        "[[{one}]]",
    ],
)
def test_a_template_that_names_what_an_event_lacks_is_refused(template):
    record = Record(
        {
            "one": COUNT,
            "maybe": Nullable(COUNT),
            "left": Optional(COUNT),
            "many": ListOf(COUNT, 3),
            "record": Record({"x": COUNT}),
        }
    )
    with pytest.raises(ValueError):
        Template(template, record)


def test_rows_are_plain_data_of_one_shape():
    rows = actions.rows()
    assert json.loads(json.dumps(rows)) == rows
    assert all(row.keys() == ROW for row in rows)
    assert [row["action"] for row in rows] == sorted(actions.REGISTRY)


def test_the_page_is_what_the_registry_says():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "events_page.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_page_has_every_event_and_every_control():
    page = catalogue.markdown()
    assert all(f"| `{name}` |" in page for name in actions.REGISTRY)
    assert all(f"| {name} |" in page for name in CONTROLS)


def run(*arguments):
    return CliRunner().invoke(events, arguments)


def test_the_command_lists_events_and_what_one_holds():
    overview = run().stdout.splitlines()
    begun = [one for one in actions.REGISTRY.values() if one.phase is not Phase.OUTCOME]
    assert len(overview) == 1 + len(begun)
    told = run("bundle.rollback").stdout
    assert [line.partition(" ")[0] for line in told.splitlines() if line and not line.startswith(" ")] == [
        "bundle.rollback",
        *(f"bundle.rollback.{ending}" for ending in sorted(actions.OUTCOMES)),
    ]
    assert "  from      count" in told


def test_the_command_gives_rows_as_json_and_knows_beginnings():
    told = json.loads(run("audit.space.", "--json").stdout)["events"]
    assert [one["action"] for one in told] == [
        "audit.space.low",
        "audit.space.recovered",
        "audit.space.stopped",
    ]
    assert all(one.keys() == ROW for one in told)
    refused = run("nothing")
    assert refused.exit_code == 2
    assert "nothing" in refused.stderr
