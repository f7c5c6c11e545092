"""Routes: what comes in, and what is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.api import messages
from holdfast.daemon import (
    admission,
    bundles,
    generations,
    housekeeping,
    imports,
    receipts,
)
from holdfast.daemon.routes.base import Routes, answer, number, read, started

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from holdfast.daemon.routes.base import Table


class Bundles(Routes):
    """Routes: what comes in, and what is kept."""

    @property
    def table(self) -> Table:
        """Method, path and handler of each route."""
        return (
            ("GET", "/v1/bundles", self.bundles),
            ("POST", "/v1/bundles/import", self.import_bundle),
            ("POST", "/v1/bundles/rollback", self.rollback),
            ("POST", "/v1/bundles/discard", self.discard),
            ("GET", "/v1/bundles/{request}", self.bundle),
            ("POST", "/v1/bundles/{request}/admit", self.admit),
            ("POST", "/v1/bundles/{request}/reject", self.reject),
            ("POST", "/v1/bundles/{request}/receipt", self.receipt),
            ("POST", "/v1/store/scrub", self.scrub),
            ("POST", "/v1/store/gc", self.collect),
        )

    async def import_bundle(self, request: Request) -> Response:
        """``POST /v1/bundles/import``."""
        session = self.session(request)
        asked = await read(request, messages.ImportRequest)
        return started(await imports.submit(self.services, session, asked.path))

    async def bundles(self, request: Request) -> Response:
        """``GET /v1/bundles``."""
        self.session(request)
        return answer(bundles.listing(self.services))

    async def bundle(self, request: Request) -> Response:
        """``GET /v1/bundles/{request}``."""
        self.session(request)
        return answer(bundles.show(self.services, number(request, "request")))

    async def admit(self, request: Request) -> Response:
        """``POST /v1/bundles/{request}/admit``."""
        session = self.session(request)
        asked = await read(request, messages.AdmitRequest)
        return answer(await admission.admit(self.services, session, number(request, "request"), asked))

    async def reject(self, request: Request) -> Response:
        """``POST /v1/bundles/{request}/reject``."""
        session = self.session(request)
        asked = await read(request, messages.RejectRequest)
        return answer(await admission.reject(self.services, session, number(request, "request"), asked))

    async def discard(self, request: Request) -> Response:
        """``POST /v1/bundles/discard``."""
        session = self.session(request)
        asked = await read(request, messages.DiscardRequest)
        return answer(await admission.discard(self.services, session, asked.named))

    async def receipt(self, request: Request) -> Response:
        """``POST /v1/bundles/{request}/receipt``."""
        session = self.session(request)
        return started(await receipts.write(self.services, session, number(request, "request")))

    async def rollback(self, request: Request) -> Response:
        """``POST /v1/bundles/rollback``."""
        session = self.session(request)
        asked = await read(request, messages.RollbackRequest)
        return answer(await generations.roll_back(self.services, session, asked.generation))

    async def scrub(self, request: Request) -> Response:
        """``POST /v1/store/scrub``."""
        return started(await housekeeping.scrub(self.services, self.session(request)))

    async def collect(self, request: Request) -> Response:
        """``POST /v1/store/gc``."""
        session = self.session(request)
        asked = await read(request, messages.CollectRequest)
        return answer(await housekeeping.collect(self.services, session, asked))
