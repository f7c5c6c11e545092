"""Releases: a run that passed its gate becomes what an alias stands for, once a second person approves it.

Order of operations of an approval: the second person's signature is judged and the intent recorded; what is released is derived
again from the record and must be the proposed document; every file is hashed again; if that base is served, what is new is made
ready beside it; the outcome is recorded; then the front is given its new table. A rollback is the same without a second person,
to a release that two persons once agreed on. Invariants: one decision at a time; a release says nothing that the record does not;
what is revoked, damaged, gone or not part of the active generation is neither released nor rolled back to; if anything fails, the
alias stands for what it stood for, and what is served goes on.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from holdfast.artefact import Kind
from holdfast.audit.event import Subject
from holdfast.daemon import admissible, models, releasable, runs, seconding
from holdfast.daemon.seconding import Waiting
from holdfast.errors import Conflict, HoldfastError, NotFound, NotPermitted
from holdfast.governance import releases as rules
from holdfast.governance.people import Role
from holdfast.governance.releases import Release, Standing

if TYPE_CHECKING:
    from holdfast.api.messages import ApprovalRequest, ProposeRequest, ReleaseRollbackRequest
    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session
    from holdfast.governance.releases import Proposal

ROLLBACK = "release.rollback"


async def propose(services: Services, session: Session, asked: ProposeRequest) -> dict[str, Json]:
    """Propose a run for release.

    Args:
        services: The daemon's parts.
        session: An operator's.
        asked: Names the run, and the alias if it is not the recipe's name.

    Returns:
        The release, open, with its number.

    Raises:
        Conflict: If its gate did not say go, it can't be used now, or the alias is taken or waits for another decision.
        UntrustedRequest: If the alias is no name that applications can use.
    """
    actor = session.actor("release.proposed")
    run, _, _ = runs.find_run(services, asked.run)
    release = releasable.derive(services, rules.alias_of(asked.alias or run.name), run.digest)
    _require_free(services, release)
    evidence = [
        services.state.artefacts[digest] for digest in (release.run, release.product, release.evaluation)
    ]
    for found in evidence:
        await asyncio.to_thread(services.store.verify, found)
    async with services.deciding:  # of two proposals at once for one alias, one is refused
        _require_free(services, release)
        receipt = await services.recorder.fact(
            actor,
            "release.proposed",
            {"release": release.to_json()},
            subject=Subject("release", release.digest),
            label=release.label,
        )
    return show(services, receipt.seq)


def _require_no_base(services: Services, alias: str) -> None:
    """Refuse an alias that a base has for its name."""
    if any(one.kind is Kind.BASE and one.name == alias for one in services.state.artefacts.values()):
        raise Conflict(
            "release.alias-taken",
            f"{alias} is the name of a base; applications would not know which of the two answers.",
            remedy="Give another name with --alias.",
        )


def _require_free(services: Services, release: Release) -> None:
    """Refuse an alias that means something else, or about which somebody decides already."""
    state, alias = services.state, release.alias
    _require_no_base(services, alias)
    waiting = state.releases.open_for(alias)
    if waiting is not None:
        raise Conflict(
            "release.open",
            f"Release {waiting.request} of {waiting.requester} waits to become {alias}.",
            remedy=f"Have it approved with `holdfast release approve {waiting.request}`, or refuse it first.",
            request=waiting.request,
        )
    now = state.releases.in_force(alias)
    if now is not None and now.release == release:
        raise Conflict(
            "release.in-force",
            f"{alias} stands for just that already, by release {now.request}.",
            remedy="Nothing is left to do; see `holdfast release list`.",
            request=now.request,
        )


def listing(services: Services) -> dict[str, Json]:
    """List releases.

    Args:
        services: The daemon's parts.

    Returns:
        ``releases``, newest first, each with ``hindrance``; ``aliases``: the number of the release in force, by alias.
    """
    found = services.state.releases
    return {
        "releases": [
            _told(services, one) for one in sorted(found.proposals.values(), key=lambda one: -one.request)
        ],
        "aliases": {alias: one.request for alias, one in found.aliases.items()},
    }


def _told(services: Services, found: Proposal) -> dict[str, Json]:
    """Describe a release, and why it can't be served now, if it can't."""
    state = services.state
    run, base = (state.artefacts.get(digest) for digest in (found.release.run, found.release.base))
    return {
        **found.to_json(),
        "run_number": state.runs.get(found.release.run),
        "recipe_name": f"{run.name}@{run.version}" if run else None,
        "base_name": f"{base.name}@{base.version}" if base else None,
        "hindrance": _hindrance(services, found.release),
    }


def _hindrance(services: Services, release: Release) -> str | None:
    try:
        for digest in release.artefacts:
            admissible.usable(services, releasable.known(services, digest))
    except HoldfastError as error:
        return error.message
    return None


def show(services: Services, request: int) -> dict[str, Json]:
    """Describe one release with all that it rests on, and what a second person would sign.

    Args:
        services: The daemon's parts.
        request: Its number.

    Returns:
        Its facts; ``lineage`` (each artefact once: what was made, run, recipe, data sets, base, evaluation, suites),
        ``verdict`` (the gate's, if it is the last one of that run) and, if it is open, ``approval``.
    """
    found = _find(services, request)
    state, release = services.state, found.release
    lineage = {one.digest: one for top in (release.product, release.evaluation) for one in state.lineage(top)}
    verdict = state.gates.get(release.run)
    return {
        **_told(services, found),
        "lineage": [models.shown(services, one) for one in lineage.values()],
        "verdict": verdict if verdict is not None and verdict["seq"] == release.decided else None,
        "line": list(state.releases.lines.get(release.alias, ())),
        "approval": _waiting(found).statement(services, rules.APPROVE).to_json()
        if found.standing is Standing.OPEN
        else None,
    }


def _find(services: Services, request: int) -> Proposal:
    found = services.state.releases.proposals.get(request)
    if found is None:
        raise NotFound(
            "release.unknown", f"There is no release {request}.", remedy="See `holdfast release list`."
        )
    return found


def _open(services: Services, request: int) -> Proposal:
    found = _find(services, request)
    if found.standing is not Standing.OPEN:
        raise Conflict(
            "release.decided",
            f"Release {request} is {found.standing}; only an open one can be decided.",
            remedy="See `holdfast release list`, or propose the run anew.",
        )
    return found


def _waiting(found: Proposal) -> Waiting:
    return Waiting(
        found.request, found.requester, Subject("release", found.release.digest), found.release.label
    )


async def approve(services: Services, session: Session, request: int, asked: ApprovalRequest) -> Job:
    """Approve a release with a second person's signature, and let it take over where its base is served.

    Args:
        services: The daemon's parts.
        session: The second person's.
        request: The release's number.
        asked: Their signed statement.

    Returns:
        The job; its result is the release, in force, with ``switched``.

    Raises:
        NotPermitted: If the signature does not approve this release now.
        Conflict: If the release is not open.
    """
    session.actor(rules.APPROVE)
    release = _open(services, request).release
    facts: dict[str, Json] = {"alias": release.alias, "product": release.product}

    async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
        async with (
            AsyncExitStack() as stack,
            seconding.granting(
                services, session, rules.APPROVE, lambda: _waiting(_open(services, request)), asked, facts
            ) as act,
        ):
            job = services.jobs.open_job(act.seq, rules.APPROVE)
            opened.set_result(job)
            found = _find(services, request)
            await _unchanged(services, job, found.release)
            switch = await stack.enter_async_context(services.serving.switching(services))
            switched = await switch.prepare(job, found)
            act.outcome = {"request": request, **facts, "switched": switched}
        return {**show(services, request), "switched": switched}

    return await services.jobs.start(rules.APPROVE, work)


async def _unchanged(services: Services, job: Job, release: Release) -> None:
    """Refuse a release that the record would not give again, or whose files were changed."""
    _require_no_base(services, release.alias)  # one may have come in since
    changed = release.differs(releasable.derive(services, release.alias, release.run))
    if changed:
        raise Conflict(
            "release.changed",
            f"Since the release was proposed, this has changed: {', '.join(changed)}.",
            remedy="Refuse it, and propose the run anew.",
            changed=list(changed),
        )
    await _verify(services, job, release)


async def _verify(services: Services, job: Job, release: Release) -> None:
    """Hash everything again that a release rests on."""
    job.uses = frozenset(release.artefacts)
    for at, digest in enumerate(release.artefacts):
        found = releasable.known(services, digest)
        await job.emit(
            "progress", step=f"hashing {found.kind} {found.name}", done=at, total=len(release.artefacts)
        )
        admissible.usable(services, found)
        await asyncio.to_thread(services.store.verify, found)


async def refuse(services: Services, session: Session, request: int, reason: str) -> dict[str, Json]:
    """Refuse a release, or take one's own back.

    Args:
        services: The daemon's parts.
        session: An administrator's, or that of who proposed it.
        request: The release's number.
        reason: Why, for the record.

    Returns:
        The release, refused.

    Raises:
        NotPermitted: If an operator refuses what somebody else proposed.
    """
    actor, found = session.actor("release.refused"), _find(services, request)
    if actor.role == Role.OPERATOR and found.requester != actor.person:
        raise NotPermitted(
            "release.not-yours",
            f"{actor.person} may take back what they proposed; {found.requester} proposed release {request}.",
            remedy="Ask an administrator to refuse it.",
        )
    await seconding.refuse(
        services, session, "release.refused", lambda: _waiting(_open(services, request)), reason
    )
    return show(services, request)


async def roll_back(services: Services, session: Session, asked: ReleaseRollbackRequest) -> Job:
    """Let an alias stand for an earlier release again; one person does it, because two had agreed on that release.

    Args:
        services: The daemon's parts.
        session: An operator's or administrator's.
        asked: Alias, reason, and the release if it is not the one before.

    Returns:
        The job; its result is the release that is in force again, with ``switched``.

    Raises:
        NotFound: If there is no such alias or no such earlier release.
        Conflict: If the gate of that release's run did not say go when it was judged last.
    """
    actor = session.actor(ROLLBACK)
    _goal(services, asked)  # what can be refused at once, is

    async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
        async with services.deciding, AsyncExitStack() as stack:
            now, goal = _goal(services, asked)
            release = goal.release
            told: dict[str, Json] = {"alias": asked.alias, "to": goal.request, "product": release.product}
            async with services.recorder.act(
                actor,
                ROLLBACK,
                {**told, "from": now.request, "reason": asked.reason},
                subject=Subject("release", release.digest),
                label=release.label,
            ) as act:
                job = services.jobs.open_job(act.seq, ROLLBACK)
                opened.set_result(job)
                await _verify(services, job, release)
                switch = await stack.enter_async_context(services.serving.switching(services))
                switched = await switch.prepare(job, goal)
                act.outcome = {**told, "reason": asked.reason, "switched": switched}
        return {**show(services, goal.request), "switched": switched}

    return await services.jobs.start(ROLLBACK, work)


def _goal(services: Services, asked: ReleaseRollbackRequest) -> tuple[Proposal, Proposal]:
    """Find what is in force and what to go back to, and refuse what may not be used."""
    found = services.state.releases
    now = found.in_force(asked.alias)
    if now is None:
        raise NotFound(
            "release.no-alias",
            f"Nothing is released as {asked.alias[: rules.MAX_ALIAS]!r}.",
            remedy="See `holdfast release list`.",
        )
    earlier = found.lines[asked.alias][:-1]
    if not earlier or asked.to not in (None, *earlier):
        there = (
            f"the earlier ones are {', '.join(map(str, earlier))}" if earlier else "there is no earlier one"
        )
        wanted = "the one before" if asked.to is None else f"release {asked.to}"
        raise NotFound(
            "release.no-earlier",
            f"{asked.alias} can't go back to {wanted}: release {now.request} is in force, and {there}.",
            remedy="Name an earlier release, or propose another run; `holdfast serve stop` ends all answers.",
        )
    goal = found.proposals[earlier[-1] if asked.to is None else asked.to]
    for digest in goal.release.artefacts:
        admissible.usable(services, releasable.known(services, digest))
    verdict = services.state.gates.get(goal.release.run)
    if verdict is None or verdict["go"] is not True:
        raise Conflict(
            "release.no-go",
            f"The gate judged the run of release {goal.request} again since, and did not say go.",
            remedy="Name another release with --to.",
        )
    return now, goal
