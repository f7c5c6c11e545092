"""Routes: who is here, and what anybody may know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast import __version__
from holdfast.api import messages
from holdfast.daemon import (
    exceptions,
    revocations,
)
from holdfast.daemon.routes.base import Routes, answer, read
from holdfast.governance import people

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from holdfast.daemon.routes.base import Table
    from holdfast.daemon.services import Services


class People(Routes):
    """Routes: who is here, and what anybody may know."""

    @property
    def table(self) -> Table:
        """Method, path and handler of each route."""
        return (
            ("GET", "/v1/status", self.status),
            ("POST", "/v1/session/challenge", self.challenge),
            ("POST", "/v1/session", self.open_session),
            ("DELETE", "/v1/session", self.close_session),
            ("PUT", "/v1/uploads", self.upload),
        )

    async def status(self, request: Request) -> Response:
        """``GET /v1/status``: what anybody who reaches the socket may know."""
        self.peer(request)
        state, log = self.services.state, self.services.log
        generation = state.generation()
        last = max((one.made_by for one in state.generations), default=None)
        return answer(
            {
                "version": __version__,
                "home": str(self.services.home.root),
                "site": state.site,
                "root": state.root,
                "generation": generation.number if generation else None,
                "last_import": last,
                "waiting": [one.request for one in state.imports.values() if one.state == "waiting"],
                "exceptions": exceptions.counts(self.services),
                "revoked": revocations.summary(self.services),
                "log": {"size": log.size, "root": log.root.hex(), "origin": log.origin},
                "space": self.services.space.status(self.services),
                "unwitnessed": state.witnesses.overdue(self.services.now()),
                "sealed": {"open": sum(one.decided_by is None for one in state.sealings.requests.values())},
                "started": {"event": state.lives.started, "previous": state.lives.before},
                "egress": {
                    "walls": dict(self.services.launcher.walls()),
                    "denials": state.denials,
                },
                "jobs": [{"job": job.number, "action": job.action} for job in self.services.jobs.running],
                "serving": {
                    "running": self.services.serving.running,
                    "address": self.services.serving.address if self.services.serving.running else None,
                },
                "sessions": self.services.sessions.open_count,
                "people": {name: [role.value for role in one.roles] for name, one in state.people.items()},
                "gaps": [*state.gaps, *_present_gaps(self.services)],
                "appliance": self.services.appliance.public.fingerprint,
            }
        )

    async def challenge(self, request: Request) -> Response:
        """``POST /v1/session/challenge``."""
        self.peer(request)
        asked = await read(request, messages.ChallengeRequest)
        return answer(self.services.sessions.challenge(asked.person))

    async def open_session(self, request: Request) -> Response:
        """``POST /v1/session``."""
        uid, _ = self.peer(request)
        asked = await read(request, messages.SessionRequest)
        session, token = self.services.sessions.open(asked.person, asked.challenge, asked.signatures, uid)
        await self.services.recorder.fact(session.visitor(), "session.opened", {"person": asked.person})
        return answer(
            {"token": token, "person": asked.person, "roles": [role.value for role in session.person.roles]}
        )

    async def close_session(self, request: Request) -> Response:
        """``DELETE /v1/session``."""
        session = self.session(request)
        self.services.sessions.close(request.headers["authorization"].partition(" ")[2])
        self.services.uploads.forget(session.name)
        await self.services.recorder.fact(
            session.visitor(), "session.closed", {"person": session.person.name}
        )
        return answer({})

    async def upload(self, request: Request) -> Response:
        """``PUT /v1/uploads``."""
        session = self.session(request)
        name, size = await self.services.uploads.take(session.name, request.stream())
        return answer({"upload": name, "size": size})


def _present_gaps(services: Services) -> list[str]:
    """Name what this home and host lack now, beyond what was said at the founding."""
    walls = services.launcher.walls()
    return [
        "Service keys lie in files of mode 0600, not in a TPM.",
        *([overdue] if (overdue := services.state.witnesses.overdue(services.now())) else []),
        *people.shared_uids(list(services.state.people.values())),
        *(
            f"This host does not enforce: {name.replace('_', ' ')}."
            for name, up in walls.items()
            if up is False
        ),
    ]
