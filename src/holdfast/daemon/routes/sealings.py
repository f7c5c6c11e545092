"""Routes: sealed payloads opened, erased, and kept for a time, each by two persons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.api import messages
from holdfast.daemon import sealings
from holdfast.daemon.routes.base import Routes, answer, number, read

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from holdfast.daemon.routes.base import Table


class Sealings(Routes):
    """Routes: sealed payloads."""

    @property
    def table(self) -> Table:
        """Method, path and handler of each route."""
        return (
            ("GET", "/v1/sealed", self.listing),
            ("POST", "/v1/sealed/unseal", self.ask_unseal),
            ("POST", "/v1/sealed/erase", self.ask_erase),
            ("POST", "/v1/sealed/retention", self.ask_retention),
            ("GET", "/v1/sealed/{request}", self.show),
            ("POST", "/v1/sealed/{request}/grant", self.grant),
            ("POST", "/v1/sealed/{request}/refuse", self.refuse),
            ("POST", "/v1/sealed/{request}/open", self.open),
        )

    async def listing(self, request: Request) -> Response:
        """``GET /v1/sealed``."""
        self.session(request)
        return answer(sealings.listing(self.services))

    async def ask_unseal(self, request: Request) -> Response:
        """``POST /v1/sealed/unseal``."""
        session = self.session(request)
        asked = await read(request, messages.UnsealRequest)
        return answer(await sealings.ask_unseal(self.services, session, asked))

    async def ask_erase(self, request: Request) -> Response:
        """``POST /v1/sealed/erase``."""
        session = self.session(request)
        asked = await read(request, messages.EraseRequest)
        return answer(await sealings.ask_erase(self.services, session, asked))

    async def ask_retention(self, request: Request) -> Response:
        """``POST /v1/sealed/retention``."""
        session = self.session(request)
        asked = await read(request, messages.RetentionRequest)
        return answer(await sealings.ask_retention(self.services, session, asked))

    async def show(self, request: Request) -> Response:
        """``GET /v1/sealed/{request}``."""
        self.session(request)
        return answer(sealings.show(self.services, number(request, "request")))

    async def grant(self, request: Request) -> Response:
        """``POST /v1/sealed/{request}/grant``."""
        session = self.session(request)
        asked = await read(request, messages.ApprovalRequest)
        return answer(await sealings.grant(self.services, session, number(request, "request"), asked))

    async def refuse(self, request: Request) -> Response:
        """``POST /v1/sealed/{request}/refuse``."""
        session = self.session(request)
        asked = await read(request, messages.RefuseRequest)
        return answer(await sealings.refuse(self.services, session, number(request, "request"), asked.reason))

    async def open(self, request: Request) -> Response:
        """``POST /v1/sealed/{request}/open``."""
        session = self.session(request)
        return answer(await sealings.open_texts(self.services, session, number(request, "request")))
