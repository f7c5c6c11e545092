"""Clients under load: they act, read and ask, and remember exactly what they were told is on the record."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx

from holdfast.client.connection import Client
from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from holdfast.keys.person import KeyPair
    from holdfast.paths import Home

ANSWER_SECONDS = 60.0  # for one answer, on a loaded machine
PAUSE = 0.05  # seconds before a client that was turned away tries again
CHAT = "/v1/chat/completions"


@dataclass
class Acked:
    """What clients were told, over all lives of one home."""

    scrubs: set[int] = field(default_factory=set)  # intents
    reads: set[str] = field(default_factory=set)  # marks in queries
    asked: set[int] = field(default_factory=set)  # intents of answers
    answered: dict[int, tuple[int, str]] = field(default_factory=dict)  # outcome: its intent and leaf

    def __len__(self) -> int:
        return len(self.scrubs) + len(self.reads) + len(self.asked) + len(self.answered)

    @property
    def of_each(self) -> bool:
        """Whether there is something of each kind."""
        return all((self.scrubs, self.reads, self.asked, self.answered))


class Load:
    """Clients of one daemon's life.

    Args:
        home: Whose daemon.
        pairs: The people's keys.
        acked: Where they note what they were told.
        key: The application's key.
    """

    def __init__(self, home: Home, pairs: dict[str, KeyPair], acked: Acked, key: str) -> None:
        self._home, self._pairs, self._acked, self._key = home, pairs, acked, key
        self._numbers = itertools.count()
        self._tasks: list[asyncio.Task[None]] = []
        self.address: str | None = None

    def start(self, actors: int, askers: int) -> None:
        """Let them begin.

        Args:
            actors: Administrators and auditors, in turn.
            askers: Applications.
        """
        works = [self._act if number % 2 else self._read for number in range(actors)]
        works += [self._ask] * askers
        self._tasks = [asyncio.create_task(self._again(work)) for work in works]

    async def stop(self) -> None:
        """Send them home."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _again(self, work: object) -> None:
        while True:
            try:
                await work()  # type: ignore[operator]  # one of the three below
            except (HoldfastError, httpx.HTTPError, OSError):
                await asyncio.sleep(PAUSE)  # the daemon or worker is gone: what was not told is not noted

    async def _act(self) -> None:
        async with Client(self._home) as client:
            await client.login(self._pairs["ada"])
            while True:
                self._acked.scrubs.add(int(str((await client.call("POST", "/v1/store/scrub"))["job"])))

    async def _read(self) -> None:
        async with Client(self._home) as client:
            await client.login(self._pairs["aude"])
            while True:
                mark = f"mark {id(self._acked)}-{id(self)}-{next(self._numbers)}"
                sql = f"SELECT count(*), '{mark}' FROM events"  # noqa: S608 - a number of ours
                await client.call("POST", "/v1/audit/sql", {"sql": sql})
                self._acked.reads.add(mark)

    async def _ask(self) -> None:
        if self.address is None:
            await asyncio.sleep(PAUSE)
            return
        headers = {"authorization": f"Bearer {self._key}"}
        async with httpx.AsyncClient(
            base_url=self.address, headers=headers, timeout=ANSWER_SECONDS
        ) as client:
            while True:
                number = next(self._numbers)
                content = [{"role": "user", "content": f"Question {number}"}]
                body = {"model": "base", "messages": content, "max_tokens": 3, "user": f"u{number % 5}"}
                if number % 2:
                    await self._whole(client, body)
                else:
                    await self._streamed(client, {**body, "stream": True})

    async def _whole(self, client: httpx.AsyncClient, body: dict[str, object]) -> None:
        reply = await client.post(CHAT, json=body)
        reply.raise_for_status()
        told = reply.json()["holdfast"]
        self._acked.answered[told["answer_seq"]] = (told["request_seq"], told["answer_leaf"])

    async def _streamed(self, client: httpx.AsyncClient, body: dict[str, object]) -> None:
        async with client.stream("POST", CHAT, json=body) as reply:
            reply.raise_for_status()
            self._acked.asked.add(int(reply.headers["x-holdfast-request-receipt"]))
            await reply.aread()
