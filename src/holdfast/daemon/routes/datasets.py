"""Routes: data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.api import messages
from holdfast.daemon import datasets
from holdfast.daemon.routes.base import Routes, answer, read, started

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from holdfast.daemon.routes.base import Table


class DataSets(Routes):
    """Routes: data sets."""

    @property
    def table(self) -> Table:
        """Method, path and handler of each route."""
        return (
            ("GET", "/v1/datasets", self.datasets),
            ("POST", "/v1/datasets", self.prepare),
            ("GET", "/v1/datasets/{name}", self.dataset),
        )

    async def datasets(self, request: Request) -> Response:
        """``GET /v1/datasets``."""
        self.session(request)
        return answer({"datasets": [*datasets.summaries(self.services)]})

    async def prepare(self, request: Request) -> Response:
        """``POST /v1/datasets``."""
        session = self.session(request)
        asked = await read(request, messages.DatasetRequest)
        return started(await datasets.prepare(self.services, session, asked))

    async def dataset(self, request: Request) -> Response:
        """``GET /v1/datasets/{name}``."""
        self.session(request)
        name = request.path_params["name"]
        return answer(datasets.page(self.services, name))
