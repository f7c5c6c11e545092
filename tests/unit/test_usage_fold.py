"""What keys used, folded from answers."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from holdfast import canonical
from holdfast.audit.event import Actor, Event, Source
from holdfast.canonical import MAX_SAFE_INTEGER
from holdfast.daemon.serve import keys as servekeys
from holdfast.governance import snapshot
from holdfast.governance.state import State
from holdfast.governance.usage import DAYS, Usage, Used


class Story:
    """Feeds a fold with answers."""

    def __init__(self):
        self.usage, self.seq = Usage(), 0

    def tell(self, action, day, key="k", **params):
        self.usage.apply(event(self.seq, action, day, key, params))
        self.seq += 1


def event(seq, action, day, key, params):
    return Event(
        action=action,
        actor=Actor(f"tax-office/{key}", None, "application"),
        subject=None,
        label=None,
        params=params,
        cause=None,
        seq=seq,
        time=f"{day}T23:59:59.999999Z",
        clock="host",
        source=Source("serve", "0" * 16, seq),
    )


@pytest.fixture
def story():
    return Story()


def test_requests_prompts_and_answers_are_added_up_by_key(story):
    story.tell("answer", "2026-03-01", kind="chat", prompt_tokens=10)
    story.tell("answer", "2026-03-01", kind="embedding", prompt_tokens=5)
    story.tell("answer", "2026-03-01", "other", kind="completion", prompt_tokens=3)
    story.tell("answer.done", "2026-03-01", completion_tokens=7)
    story.tell("answer.cancelled", "2026-03-01", completion_tokens=2)
    story.tell("answer.failed", "2026-03-01", "other", error="x", completion_tokens=1)
    story.tell("answer.failed", "2026-03-01", "other", error="x")
    story.tell("serve.request", "2026-03-01", route="other", method="GET")
    story.tell("serve.request.failed", "2026-03-01", route="other", method="GET", status=404, error="x")
    assert story.usage.of("2026-03-01", "k") == Used(2, 24)
    assert story.usage.tokens("2026-03-01") == {"k": 24, "other": 4}


@pytest.mark.parametrize("kind", ["tokenize", "detokenize"])
def test_looking_at_texts_takes_no_tokens(story, kind):
    story.tell("answer", "2026-03-01", kind=kind, prompt_tokens=10)
    story.tell("answer.done", "2026-03-01", completion_tokens=0)
    assert story.usage.of("2026-03-01", "k") == Used(1, 0)


def test_an_answer_over_midnight_counts_on_both_days_and_older_days_are_let_go(story):
    story.tell("answer", "2026-03-01", kind="chat", prompt_tokens=10)
    story.tell("answer.done", "2026-03-02", completion_tokens=7)
    assert story.usage.of("2026-03-01", "k") == Used(1, 10)
    assert story.usage.of("2026-03-02", "k") == Used(0, 7)
    story.tell("answer", "2026-03-03", kind="chat", prompt_tokens=1)
    assert list(story.usage.days) == ["2026-03-02", "2026-03-03"]
    assert len(story.usage.days) == DAYS
    assert story.usage.of("2026-03-01", "k") == Used()


def test_a_clock_that_was_wrong_for_a_while_does_not_make_today_vanish(story):
    story.tell("answer", "2026-03-01", kind="chat", prompt_tokens=10)
    story.tell("answer", "2099-01-01", kind="chat", prompt_tokens=1)
    story.tell("answer", "2026-03-01", kind="chat", prompt_tokens=10)
    assert story.usage.of("2026-03-01", "k") == Used(2, 20)


@pytest.mark.parametrize("value", [-5, True, "9", None, 1.5])
def test_what_is_no_count_counts_nothing(story, value):
    story.tell("answer", "2026-03-01", kind="chat", prompt_tokens=value)
    story.tell("answer.done", "2026-03-01", completion_tokens=value)
    assert story.usage.of("2026-03-01", "k") == Used(1, 0)


def test_other_events_change_nothing_and_a_snapshot_holds_it():
    state = State()
    state.apply(event(0, "daemon.stopped", "2026-03-01", "k", {}))
    assert state.usage.days == {}
    state.apply(event(1, "answer", "2026-03-01", "k", {"kind": "chat", "prompt_tokens": 4}))
    again = snapshot.decode(snapshot.encode(state))
    assert again.usage.of("2026-03-01", "k") == Used(1, 4)
    assert again == state


def test_forged_counts_add_up_to_what_a_message_can_carry(story):
    for _ in range(3):
        story.tell("answer.done", "2026-03-01", completion_tokens=MAX_SAFE_INTEGER)
        story.tell("answer.done", "2026-03-01", "nobody", completion_tokens=1)
    state = SimpleNamespace(usage=story.usage, keys={"k": None, "new": None})
    services = SimpleNamespace(state=state, now=lambda: datetime(2026, 3, 1, 12, tzinfo=UTC))
    told = servekeys.used(services)
    assert told == {"day": "2026-03-01", "tokens": {"k": MAX_SAFE_INTEGER}}
    assert canonical.decode(canonical.encode(told), limit=1000, what="it") == told
