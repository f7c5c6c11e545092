"""Routes: exceptions, and inventories that leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import FileResponse

from holdfast.api import messages
from holdfast.daemon import (
    exceptions,
    requests,
)
from holdfast.daemon.routes.base import Routes, answer, number, read, started

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from holdfast.daemon.routes.base import Table


class Safeguards(Routes):
    """Routes: exceptions, and inventories that leave."""

    @property
    def table(self) -> Table:
        """Method, path and handler of each route."""
        return (
            ("GET", "/v1/exceptions", self.exceptions),
            ("POST", "/v1/exceptions", self.ask_exception),
            ("GET", "/v1/exceptions/{request}", self.exception),
            ("POST", "/v1/exceptions/{request}/grant", self.grant_exception),
            ("POST", "/v1/exceptions/{request}/refuse", self.refuse_exception),
            ("GET", "/v1/requests", self.inventories),
            ("POST", "/v1/requests", self.make_inventory),
            ("GET", "/v1/requests/{request}", self.inventory),
            ("POST", "/v1/requests/{request}/grant", self.grant_inventory),
            ("POST", "/v1/requests/{request}/refuse", self.refuse_inventory),
            ("GET", "/v1/requests/{request}/document", self.fetch_inventory),
        )

    async def exceptions(self, request: Request) -> Response:
        """``GET /v1/exceptions``."""
        self.session(request)
        return answer(exceptions.listing(self.services))

    async def exception(self, request: Request) -> Response:
        """``GET /v1/exceptions/{request}``."""
        self.session(request)
        return answer(exceptions.show(self.services, number(request, "request")))

    async def ask_exception(self, request: Request) -> Response:
        """``POST /v1/exceptions``."""
        session = self.session(request)
        asked = await read(request, messages.ExceptionRequest)
        return answer(await exceptions.ask(self.services, session, asked))

    async def grant_exception(self, request: Request) -> Response:
        """``POST /v1/exceptions/{request}/grant``."""
        session = self.session(request)
        asked = await read(request, messages.ApprovalRequest)
        return answer(await exceptions.grant(self.services, session, number(request, "request"), asked))

    async def refuse_exception(self, request: Request) -> Response:
        """``POST /v1/exceptions/{request}/refuse``."""
        session = self.session(request)
        asked = await read(request, messages.RefuseRequest)
        return answer(
            await exceptions.refuse(self.services, session, number(request, "request"), asked.reason)
        )

    async def inventories(self, request: Request) -> Response:
        """``GET /v1/requests``."""
        self.session(request)
        return answer(requests.listing(self.services))

    async def inventory(self, request: Request) -> Response:
        """``GET /v1/requests/{request}``."""
        self.session(request)
        return answer(requests.show(self.services, number(request, "request")))

    async def make_inventory(self, request: Request) -> Response:
        """``POST /v1/requests``."""
        session = self.session(request)
        asked = await read(request, messages.InventoryRequest)
        return started(await requests.make(self.services, session, asked))

    async def grant_inventory(self, request: Request) -> Response:
        """``POST /v1/requests/{request}/grant``."""
        session = self.session(request)
        asked = await read(request, messages.ApprovalRequest)
        return answer(await requests.grant(self.services, session, number(request, "request"), asked))

    async def refuse_inventory(self, request: Request) -> Response:
        """``POST /v1/requests/{request}/refuse``."""
        session = self.session(request)
        asked = await read(request, messages.RefuseRequest)
        return answer(await requests.refuse(self.services, session, number(request, "request"), asked.reason))

    async def fetch_inventory(self, request: Request) -> Response:
        """``GET /v1/requests/{request}/document``."""
        session = self.session(request)
        return FileResponse(await requests.fetch(self.services, session, number(request, "request")))
