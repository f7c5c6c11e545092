"""Routes: releases, from the proposal to the rollback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.api import messages
from holdfast.daemon import releases
from holdfast.daemon.routes.base import Routes, answer, number, read, started

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from holdfast.daemon.routes.base import Table


class Releases(Routes):
    """Routes: releases, from the proposal to the rollback."""

    @property
    def table(self) -> Table:
        """Method, path and handler of each route."""
        return (
            ("GET", "/v1/releases", self.listing),
            ("POST", "/v1/releases", self.propose),
            ("POST", "/v1/releases/rollback", self.roll_back),
            ("GET", "/v1/releases/{request}", self.show),
            ("POST", "/v1/releases/{request}/approve", self.approve),
            ("POST", "/v1/releases/{request}/refuse", self.refuse),
        )

    async def listing(self, request: Request) -> Response:
        """``GET /v1/releases``."""
        self.session(request)
        return answer(releases.listing(self.services))

    async def propose(self, request: Request) -> Response:
        """``POST /v1/releases``."""
        session = self.session(request)
        asked = await read(request, messages.ProposeRequest)
        return answer(await releases.propose(self.services, session, asked))

    async def show(self, request: Request) -> Response:
        """``GET /v1/releases/{request}``."""
        self.session(request)
        return answer(releases.show(self.services, number(request, "request")))

    async def approve(self, request: Request) -> Response:
        """``POST /v1/releases/{request}/approve``."""
        session = self.session(request)
        asked = await read(request, messages.ApprovalRequest)
        return started(await releases.approve(self.services, session, number(request, "request"), asked))

    async def refuse(self, request: Request) -> Response:
        """``POST /v1/releases/{request}/refuse``."""
        session = self.session(request)
        asked = await read(request, messages.RefuseRequest)
        return answer(await releases.refuse(self.services, session, number(request, "request"), asked.reason))

    async def roll_back(self, request: Request) -> Response:
        """``POST /v1/releases/rollback``."""
        session = self.session(request)
        asked = await read(request, messages.ReleaseRollbackRequest)
        return started(await releases.roll_back(self.services, session, asked))
