"""Routes: checkpoints, and the witnesses who cosign them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.api import messages
from holdfast.daemon import witnessing
from holdfast.daemon.routes.base import Routes, answer, read

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from holdfast.daemon.routes.base import Table


class Witnesses(Routes):
    """Routes: checkpoints, and the witnesses who cosign them."""

    @property
    def table(self) -> Table:
        """Method, path and handler of each route."""
        return (
            ("POST", "/v1/audit/checkpoint", self.checkpoint),
            ("POST", "/v1/audit/cosigned", self.cosigned),
            ("GET", "/v1/audit/witnesses", self.listed),
            ("POST", "/v1/audit/witnesses", self.added),
            ("POST", "/v1/audit/witnesses/{name}/removal", self.removed),
        )

    async def checkpoint(self, request: Request) -> Response:
        """``POST /v1/audit/checkpoint``."""
        session = self.session(request)
        asked = await read(request, messages.CheckpointRequest)
        return answer(await witnessing.request(self.services, session, asked))

    async def cosigned(self, request: Request) -> Response:
        """``POST /v1/audit/cosigned``."""
        session = self.session(request)
        asked = await read(request, messages.CosignedRequest)
        return answer(await witnessing.cosigned(self.services, session, asked))

    async def listed(self, request: Request) -> Response:
        """``GET /v1/audit/witnesses``."""
        self.session(request)
        return answer(witnessing.listing(self.services))

    async def added(self, request: Request) -> Response:
        """``POST /v1/audit/witnesses``."""
        session = self.session(request)
        asked = await read(request, messages.WitnessRequest)
        return answer(await witnessing.add(self.services, session, asked))

    async def removed(self, request: Request) -> Response:
        """``POST /v1/audit/witnesses/{name}/removal``."""
        session = self.session(request)
        asked = await read(request, messages.RefuseRequest)
        return answer(
            await witnessing.remove(self.services, session, request.path_params["name"], asked.reason)
        )
