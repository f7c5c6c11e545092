"""An answer under way: pieces go straight out while its reader waits, and in their order whatever happens."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from holdfast.serving.front.answer import Answer, Held
from holdfast.serving.front.question import Outcome, Text, Usage


def make():
    return Answer(None, lambda: None, Held())


OUTCOME = Outcome(None, Usage(1, 0, 1))


async def turns():
    for _ in range(5):
        await asyncio.sleep(0)


# What happens to an answer: a piece comes, the outlet opens, refuses from here on, or is taken away, or the loop turns.
STEPS = st.lists(
    st.sampled_from(["piece", "piece", "piece", "lend", "refuse", "withdraw", "turn"]), max_size=30
)


class Trial:
    """An answer with its reader, and an outlet that can be lent, withdrawn and made to refuse."""

    def __init__(self):
        self.answer, self.came, self.direct = make(), [], 0
        self.put, self.taking = 0, True
        self.reader = asyncio.ensure_future(self.read())

    async def read(self):
        async for piece in self.answer.events():
            self.came.append(piece.text)
            await asyncio.sleep(0)

    def outlet(self, piece):
        if self.taking:
            self.came.append(piece.text)
            self.direct += 1
        return self.taking

    def piece(self):
        ready = self.answer._waits and self.taking and self.answer.outlet is not None
        before = self.direct
        self.answer.put(Text(0, str(self.put)))
        assert self.direct - before == ready
        self.put += 1

    def lend(self):
        self.answer.outlet, self.taking = self.outlet, True

    def refuse(self):
        self.taking = False

    def withdraw(self):
        self.answer.outlet = None


@given(STEPS)
def test_every_piece_comes_once_and_in_order_by_whichever_way(steps):
    async def run():
        trial = Trial()
        for step in steps:
            if step == "turn":
                await turns()
            else:
                getattr(trial, step)()
        trial.answer.put(OUTCOME)
        await trial.reader
        assert trial.came == [str(at) for at in range(trial.put)]
        assert trial.answer.unread == 0

    asyncio.run(run())


async def test_what_goes_straight_out_is_not_held_and_the_end_never_does():
    answer, sent = make(), []
    reading = asyncio.ensure_future(_read(answer))
    await turns()
    answer.outlet = lambda piece: sent.append(piece.text) is None
    answer.put(Text(0, "a"))
    assert (sent, answer.unread) == (["a"], 0)
    answer.put(OUTCOME)
    answer.put(Text(0, "late"))  # the reader has something to take, so this waits behind it
    assert sent == ["a"]
    assert await reading == []
    assert answer.outcome is OUTCOME


async def _read(answer):
    return [piece.text async for piece in answer.events()]
