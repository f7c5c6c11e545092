"""Who did what, what served whom, and what was refused.

Invariants: answers are counted, never quoted; a count covers every event, even where the rows are cut. No I/O.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.governance.people import Role
from holdfast.report import reading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.canonical import Json
    from holdfast.report.custody import Inventory, Row
    from holdfast.report.reading import View

MAX_GROUPS = (
    10_000  # distinct groups kept while counting (answers, refusals); beyond it they are counted together
)
DENIED = "access.denied"  # what a person was refused is no act of theirs
COUNTED = {  # events that count refusals, and who was refused where the event names nobody
    "access.refused": "without a session",
    "serve.refused": "applications",
}
ASKED = "serve.request"  # what an application asked for that no model was asked; refused if it failed
ROLES = frozenset(role.value for role in Role)  # others are roles of the appliance and of applications
_OTHER = "(others)"


@dataclass
class _Tally:
    """A count with its first and last place in the log."""

    count: int = 0
    first: Row | None = None
    last: Row | None = None
    extra: Counter[str] = field(default_factory=Counter)

    def add(self, seen: View, by: int = 1) -> None:
        self.count += by
        self.first = self.first or seen.origin()
        self.last = seen.origin()

    def row(self) -> Row:
        return {"count": self.count, "first": self.first, "last": self.last}


class Tallies:
    """Counts by group, with a bound on the number of groups.

    Args:
        names: The names of a group's parts.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self.groups: dict[tuple[str | None, ...], _Tally] = {}

    def at(self, group: tuple[str | None, ...]) -> _Tally:
        """Find a group's count.

        Args:
            group: Its parts.

        Returns:
            The count to add to; one for all others once there are too many groups.
        """
        if group not in self.groups and len(self.groups) >= MAX_GROUPS:
            group = (_OTHER,) * len(self._names)
        return self.groups.setdefault(group, _Tally())

    def rows(self) -> list[Row]:
        """Give the counts.

        Returns:
            One row per group in order of first appearance, with count, first and last, and what was summed.
        """
        return [
            {**dict(zip(self._names, group, strict=True)), **tally.row(), **tally.extra}
            for group, tally in self.groups.items()
        ]


class Service:
    """What served what.

    Args:
        inventory: Where artefacts are noted.
    """

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self.starts: list[Row] = []
        self._answers = Tallies(("model", "model_digest", "adapter_digest", "tenant"))

    def take(self, seen: View, intent: View | None) -> None:
        """Fold one event of serving.

        Args:
            seen: The event.
            intent: The intent it closes, if it is an outcome.
        """
        if seen.action == "answer":
            self._answer(seen, intent)
        elif seen.action in {"serve.start", "serve.change"} and seen.outcome:
            self._start(seen, intent)

    def _answer(self, seen: View, intent: View | None) -> None:
        asked = (intent or seen).params
        group = (
            reading.text(asked.get("model")),
            reading.digest(asked.get("model_digest")),
            reading.digest(asked.get("adapter_digest")),
            reading.text(asked.get("tenant")),
        )
        tally = self._answers.at(group)
        if seen.outcome is None:
            tally.add(seen)
            tally.extra["prompt_tokens"] += reading.whole(asked.get("prompt_tokens")) or 0
            tally.extra["finished"] += 0
        else:
            tally.last = seen.origin()
            tally.extra["finished"] += seen.outcome == "done"
            tally.extra["completion_tokens"] += reading.whole(seen.params.get("completion_tokens")) or 0

    def _start(self, seen: View, intent: View | None) -> None:
        listed = seen.params.get("models")
        models: list[Json] = []
        for entry in listed[: reading.MAX_ITEMS] if isinstance(listed, list) else []:
            fields = reading.mapping(entry)
            label = reading.label(fields.get("label"))
            models.append(
                {
                    "id": reading.text(fields.get("id")) or reading.text(entry),
                    "digest": reading.digest(fields.get("digest")),
                    "label": label.to_json() if label else None,
                }
            )
        self.starts.append(
            {
                "outcome": seen.outcome,
                "by": (intent or seen).person,
                "address": reading.text(seen.params.get("address")),
                "models": models,
                **seen.origin(),
            }
        )

    def answers(self) -> list[Row]:
        """Give the counts of answers.

        Returns:
            One row per model, adapter and tenant; ``adapter`` is the adapter's name where the log states it.
        """
        rows = self._answers.rows()
        for row in rows:
            digest = row["adapter_digest"]
            row["adapter"] = self._inventory.title(digest if isinstance(digest, str) else None)
            row.setdefault("completion_tokens", 0)
            row.setdefault("prompt_tokens", 0)
        return rows


class People:
    """Who acted in which role."""

    def __init__(self) -> None:
        self._founded: dict[str, Row] = {}
        self._acts: dict[str, Counter[str]] = {}
        self._seen: dict[str, dict[str, set[str]]] = {}
        self._tallies: dict[str, _Tally] = {}
        self.system = Counter[str]()

    def found(self, seen: View) -> None:
        """Take the people whom the founding of the site names.

        Args:
            seen: The event ``site.founded``, or ``people.listed``.
        """
        listed = seen.params.get("people")
        for entry in listed[: reading.MAX_ITEMS] if isinstance(listed, list) else []:
            fields = reading.mapping(entry)
            name = reading.text(fields.get("name"))
            if name is None:
                continue
            uids = fields.get("uids")
            known = [
                uid for uid in map(reading.whole, uids if isinstance(uids, list) else []) if uid is not None
            ]
            self._founded[name] = {
                "roles": reading.texts(fields.get("roles")),
                "fingerprint": reading.text(fields.get("fingerprint")),
                "uids": list(known[: reading.MAX_ITEMS]),
            }

    def take(self, seen: View) -> None:
        """Count one act: an intent or a single event, never an outcome.

        Args:
            seen: The event.
        """
        if seen.outcome is not None or seen.action == DENIED or seen.action in COUNTED:
            return
        if seen.person is None or seen.role not in ROLES:
            self.system[seen.action] += 1
            return
        name = seen.person if seen.person in self._acts or len(self._acts) < MAX_GROUPS else _OTHER
        self._acts.setdefault(name, Counter())[seen.action] += 1
        self._tallies.setdefault(name, _Tally()).add(seen)
        noted = self._seen.setdefault(name, {"role": set(), "uid": set(), "session": set()})
        for key, value in (("role", seen.role), ("uid", seen.uid), ("session", seen.session)):
            if value is not None and len(noted[key]) < MAX_GROUPS:
                noted[key].add(str(value))

    def rows(self) -> list[Row]:
        """Give the people.

        Returns:
            One row per person, named by the founding or seen acting, sorted by name.
        """
        rows: list[Row] = []
        for name in sorted(self._founded.keys() | self._acts.keys()):
            founded = self._founded.get(name, {})
            noted = self._seen.get(name, {"role": set(), "uid": set(), "session": set()})
            acts = self._acts.get(name, Counter())
            rows.append(
                {
                    "name": name,
                    "known_at_founding": name in self._founded,
                    "roles": founded.get("roles", []),
                    "fingerprint": founded.get("fingerprint"),
                    "uids": founded.get("uids", []),
                    "acted_as": [*sorted(noted["role"])[: reading.MAX_ITEMS]],
                    "acted_with_uids": [
                        int(uid) for uid in sorted(noted["uid"], key=int)[: reading.MAX_ITEMS]
                    ],
                    "sessions": len(noted["session"]),
                    "acts": acts.total(),
                    "by_action": dict(sorted(acts.most_common(reading.MAX_ITEMS))),
                    **{
                        key: item
                        for key, item in self._tallies.get(name, _Tally()).row().items()
                        if key != "count"
                    },
                }
            )
        return rows


def shared_uids(people: list[Row]) -> list[Row]:
    """Find user accounts of the host that hold more than one person's keys.

    Args:
        people: Rows of ``People.rows``.

    Returns:
        One row per such account, with the people.
    """
    holders: dict[int, set[str]] = {}
    for row in people:
        for key in ("uids", "acted_with_uids"):
            uids = row[key]
            for uid in uids if isinstance(uids, list) else []:
                if isinstance(uid, int):
                    holders.setdefault(uid, set()).add(str(row["name"]))
    return [
        {"uid": uid, "people": [*sorted(names)]} for uid, names in sorted(holders.items()) if len(names) > 1
    ]


class Endings:
    """Acts that were begun and did not end well."""

    def __init__(self) -> None:
        self._endings = Tallies(("action", "outcome"))

    def take(self, seen: View) -> None:
        """Count one outcome.

        Args:
            seen: The event.
        """
        if seen.outcome not in (None, "done") and not _turned_away(seen):
            self._endings.at((seen.action, seen.outcome)).add(seen)

    def rows(self) -> list[Row]:
        """Give the counts.

        Returns:
            One row per action and outcome.
        """
        return self._endings.rows()


class Refusals:
    """Denied accesses and what the walls around workers stopped."""

    def __init__(self) -> None:
        self._access = Tallies(("person", "reason", "route"))
        self._workers = Tallies(("worker", "syscall", "destination"))
        self._reported: dict[tuple[object, ...], int] = {}

    def take(self, seen: View) -> None:
        """Count one refusal.

        Args:
            seen: The event.
        """
        params = seen.params
        if seen.action == DENIED:
            uid = reading.whole(params.get("uid"))
            by_uid = None if uid is None else f"uid {uid}"
            by_role = seen.person if seen.role in ROLES else None
            who = reading.text(params.get("person")) or by_role or by_uid
            group = (who, reading.text(params.get("reason")), reading.text(params.get("route")))
            self._access.at(group).add(seen)
        elif seen.action in COUNTED:
            self._take_counted(seen)
        elif _turned_away(seen):
            why, route = reading.text(params.get("error")), reading.text(params.get("route"))
            self._access.at((seen.person, why, route)).add(seen)
        elif seen.action == "worker.denied":
            group = (
                reading.text(params.get("worker")),
                reading.text(params.get("syscall")),
                reading.text(params.get("destination")),
            )
            self._workers.at(group).add(
                seen, self._new_attempts((*group, reading.whole(params.get("job"))), params)
            )

    def _take_counted(self, seen: View) -> None:
        """Add a count of many refusals, reason by reason; what the reasons do not account for is told apart."""
        params = seen.params
        uids = reading.mapping(params.get("uids"))
        only = f"uid {next(iter(uids))}" if len(uids) == 1 and all(uid.isdigit() for uid in uids) else None
        who = reading.text(params.get("person")) or only or COUNTED[seen.action]
        rest = reading.whole(params.get("count")) or 0
        for reason, value in reading.mapping(params.get("reasons")).items():
            number = min(reading.whole(value) or 0, rest)
            if number > 0:
                self._access.at((who, reading.text(reason), None)).add(seen, number)
                rest -= number
        if rest > 0:
            self._access.at((who, None, None)).add(seen, rest)

    def _new_attempts(self, attempt: tuple[object, ...], params: Mapping[str, object]) -> int:
        """Count attempts not yet counted: an event says how often its worker has tried the same *so far*."""
        total = reading.whole(params.get("count"))
        if total is None:
            return 1
        before = self._reported.get(attempt, 0)
        if attempt in self._reported or len(self._reported) < MAX_GROUPS:
            self._reported[attempt] = max(before, total)
        return max(0, total - before)

    def access(self) -> list[Row]:
        """Give the denied accesses.

        Returns:
            One row per person, reason and route.
        """
        return self._access.rows()

    def workers(self) -> list[Row]:
        """Give what workers tried and were denied.

        Returns:
            One row per kind of worker, system call and destination.
        """
        return self._workers.rows()


def _turned_away(seen: View) -> bool:
    """Tell whether an event says that an application was refused what it asked for."""
    return seen.action == ASKED and seen.outcome == "failed"
