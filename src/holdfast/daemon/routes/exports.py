"""Routes: exports of evidence. What they make is fetched as other copies are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.api import messages
from holdfast.daemon import exporting
from holdfast.daemon.routes.base import Routes, read, started

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from holdfast.daemon.routes.base import Table


class Exports(Routes):
    """Routes: exports of evidence."""

    @property
    def table(self) -> Table:
        """Method, path and handler of each route."""
        return (("POST", "/v1/audit/exports", self.export),)

    async def export(self, request: Request) -> Response:
        """``POST /v1/audit/exports``."""
        session = self.session(request)
        asked = await read(request, messages.ExportRequest)
        return started(await exporting.start(self.services, session, asked))
