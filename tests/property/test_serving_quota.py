"""Quotas: never more than they say, refused no longer than they say, and counted once."""

from __future__ import annotations

from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from holdfast.errors import UntrustedRequest
from holdfast.serving.quota import (
    DAY,
    MAX_UNASKED,
    UNLIMITED,
    WINDOW,
    OverQuota,
    Quota,
    Quotas,
    day_number,
)

NOON = 1_800_000_000 // DAY * DAY + DAY // 2  # seconds
SECOND = 10**9


class Clock:
    """Both clocks, moved by hand."""

    def __init__(self):
        self.ns = 5 * SECOND
        self.wall = float(NOON)

    def forward(self, ns):
        self.ns += ns
        self.wall += ns / SECOND

    def quotas(self):
        return Quotas(lambda: self.ns, lambda: self.wall)


def refused(work, *args):
    with pytest.raises(OverQuota) as caught:
        work(*args)
    return caught.value


@given(limit=st.integers(1, 6), pauses=st.lists(st.integers(0, 40 * SECOND), max_size=60))
def test_no_minute_holds_more_requests_than_the_quota_and_none_waits_longer_than_told(limit, pauses):
    clock = Clock()
    quotas, quota, begun = clock.quotas(), Quota(requests_per_minute=limit), []
    for pause in pauses:
        clock.forward(pause)
        try:
            quotas.begin("k", quota).end()
        except OverQuota as error:
            wait = error.fields["retry_after"]
            window = begun[bisect_right(begun, clock.ns - WINDOW) :]
            assert len(window) >= limit  # it was refused for a reason
            free = window[-limit] + WINDOW
            assert clock.ns + (wait - 1) * SECOND < free <= clock.ns + wait * SECOND  # exact to the second
        else:
            begun.append(clock.ns)
    for one in begun:
        assert sum(one - WINDOW < other <= one for other in begun) <= limit


def test_who_comes_again_when_told_is_let_in_and_a_second_earlier_is_not():
    clock = Clock()
    quotas, quota = clock.quotas(), Quota(requests_per_minute=2)
    quotas.begin("k", quota)
    clock.forward(10 * SECOND)
    quotas.begin("k", quota)
    clock.forward(1)
    error = refused(quotas.begin, "k", quota)
    assert (error.http_status, error.fields["retry_after"]) == (429, 50)
    clock.forward(49 * SECOND)
    assert refused(quotas.begin, "k", quota).fields["retry_after"] == 1
    clock.forward(1 * SECOND)
    quotas.begin("k", quota)
    quotas.begin("other", quota)  # keys do not share


@given(
    limit=st.integers(1, 6),
    kinds=st.lists(st.tuples(st.booleans(), st.integers(0, 40 * SECOND)), max_size=60),
)
def test_what_no_model_is_asked_and_what_one_is_share_the_minute(limit, kinds):
    clock = Clock()
    quotas, quota, begun = clock.quotas(), Quota(requests_per_minute=limit), []
    for asked, pause in kinds:
        clock.forward(pause)
        try:
            quotas.begin("k", quota).end() if asked else quotas.count("k", quota)
        except OverQuota:
            assert sum(clock.ns - WINDOW < one for one in begun) >= limit
        else:
            begun.append(clock.ns)
    for one in begun:
        assert sum(one - WINDOW < other <= one for other in begun) <= limit
    assert quotas.running("k") == 0


def test_a_key_without_a_quota_may_ask_any_number_and_be_refused_a_bounded_one():
    clock = Clock()
    quotas = clock.quotas()
    for _ in range(MAX_UNASKED):
        quotas.begin("k", UNLIMITED).end()
        quotas.count("k", UNLIMITED)
    error = refused(quotas.count, "k", UNLIMITED)
    assert (error.key, error.http_status, error.fields["retry_after"]) == ("serve.unasked", 429, 60)
    quotas.begin("k", UNLIMITED).end()
    quotas.count("other", UNLIMITED)
    clock.forward(60 * SECOND)
    quotas.count("k", UNLIMITED)


class Counting(RuleBasedStateMachine):
    """Many answers under way, over days, with one quota of tokens and one of parallel requests."""

    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.quotas = self.clock.quotas()
        self.quota = Quota(tokens_per_day=100, parallel=3)
        self.open = []  # tickets and what was set aside for each
        self.spent = 0

    @rule(prompt=st.integers(0, 60), most=st.integers(0, 60))
    def ask(self, prompt, most):
        try:
            ticket = self.quotas.begin("k", self.quota)
        except OverQuota:
            assert len(self.open) == 3 or self.spent >= 100
            return
        try:
            ticket.accept(prompt, most)
        except OverQuota:
            assert self.spent + sum(aside for _, aside in self.open) + prompt + most > 100
            ticket.end()
            return
        self.spent += prompt
        self.open.append((ticket, most))

    @rule(share=st.floats(0, 1), twice=st.booleans())
    def finish(self, share, twice):
        if self.open:
            ticket, aside = self.open.pop(0)
            written = int(aside * share)
            ticket.end(written)
            if twice:
                ticket.end(written)
                ticket.accept(50, 50)  # an answer that has ended takes nothing
            self.spent += written

    @rule(seconds=st.integers(0, DAY))
    def wait(self, seconds):
        before = self.clock.wall // DAY
        self.clock.forward(seconds * SECOND)
        if self.clock.wall // DAY != before:
            self.spent = 0

    @rule()
    def set_the_clock_back(self):
        self.clock.wall -= 0.5  # half a second, as time services do
        self.quotas.begin("other", UNLIMITED).end(1)
        self.clock.wall += 0.5

    @invariant()
    def the_day_holds(self):
        assert self.quotas.tokens("k") == self.spent
        assert self.spent + sum(aside for _, aside in self.open) <= 100
        assert self.quotas.running("k") == len(self.open) <= 3


TestCounting = Counting.TestCase


def test_a_spent_day_says_when_the_next_begins_and_a_clock_set_back_does_not_give_it_again():
    clock = Clock()
    quotas, quota = clock.quotas(), Quota(tokens_per_day=10)
    ticket = quotas.begin("k", quota)
    ticket.accept(4, 6)
    ticket.end(6)
    error = refused(quotas.begin, "k", quota)
    assert error.fields["retry_after"] == DAY // 2
    clock.wall -= 2 * DAY
    assert refused(quotas.begin, "k", quota).fields["retry_after"] == DAY // 2 + 2 * DAY
    clock.wall += 2 * DAY + DAY // 2 - 0.25
    assert refused(quotas.begin, "k", quota).fields["retry_after"] == 1
    clock.wall += 0.25
    quotas.begin("k", quota)


def test_an_answer_over_midnight_counts_its_prompt_before_and_its_text_after():
    clock = Clock()
    quotas, quota = clock.quotas(), Quota(tokens_per_day=10)
    ticket = quotas.begin("k", quota)
    ticket.accept(5, 5)
    clock.forward(DAY // 2 * SECOND)
    assert quotas.tokens("k") == 0
    assert refused(quotas.begin("k", quota).accept, 1, 5).fields["retry_after"] == 1  # five are set aside
    ticket.end(5)
    assert quotas.tokens("k") == 5


def test_what_was_counted_before_is_seeded_for_today_alone():
    clock = Clock()
    quotas, quota = clock.quotas(), Quota(tokens_per_day=10)
    today = "2027-01-15"
    assert day_number(today) == NOON // DAY
    quotas.seed("2027-01-14", {"k": 10})
    quotas.begin("k", quota).end()
    quotas.seed(today, {"k": 10})
    refused(quotas.begin, "k", quota)
    quotas.seed(today, {"k": 3})  # what is counted here already is not forgotten
    assert quotas.tokens("k") == 10
    with pytest.raises(UntrustedRequest):
        quotas.seed("15 January", {})


def test_keys_that_nobody_uses_are_forgotten_at_midnight():
    clock = Clock()
    quotas = clock.quotas()
    for number in range(100):
        quotas.begin(str(number), UNLIMITED).end(1)
    kept = quotas.begin("kept", UNLIMITED)
    clock.forward(DAY * SECOND)
    assert quotas.tokens("0") == 0
    assert len(quotas._taken) == 1  # what it holds is what this is about
    kept.end(1)


def test_midnight_gives_no_minute_more_requests():
    clock, quota = Clock(), Quota(requests_per_minute=2)
    quotas = clock.quotas()
    clock.forward((DAY // 2 - 10) * SECOND)
    for _ in range(2):
        quotas.begin("k", quota).end()
    clock.forward(20 * SECOND)  # the next day
    assert refused(quotas.begin, "k", quota).fields["retry_after"] == 40


def test_a_request_that_is_refused_does_not_count():
    clock = Clock()
    quotas, quota = clock.quotas(), Quota(requests_per_minute=2, parallel=1)
    first = quotas.begin("k", quota)
    for _ in range(5):
        assert refused(quotas.begin, "k", quota).key == "serve.quota-parallel"
    first.end()
    quotas.begin("k", quota)  # the second of this minute: those five were none
