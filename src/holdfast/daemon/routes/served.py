"""Routes: what applications get, and their keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.api import messages
from holdfast.daemon import servekeys
from holdfast.daemon.routes.base import Routes, answer, read, started

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from holdfast.canonical import Json
    from holdfast.daemon.routes.base import Table


class Served(Routes):
    """Routes: what applications get, and their keys."""

    @property
    def table(self) -> Table:
        """Method, path and handler of each route."""
        return (
            ("GET", "/v1/serving", self.serving),
            ("POST", "/v1/serving/start", self.serve),
            ("POST", "/v1/serving/stop", self.stop_serving),
            ("GET", "/v1/serving/keys", self.keys),
            ("POST", "/v1/serving/keys", self.create_key),
            ("DELETE", "/v1/serving/keys/{key}", self.revoke_key),
        )

    async def serving(self, request: Request) -> Response:
        """``GET /v1/serving``."""
        self.session(request)
        return answer(await self.services.serving.status())

    async def serve(self, request: Request) -> Response:
        """``POST /v1/serving/start``."""
        session = self.session(request)
        asked = await read(request, messages.ServeRequest)
        return started(await self.services.serving.start(self.services, session, asked))

    async def stop_serving(self, request: Request) -> Response:
        """``POST /v1/serving/stop``."""
        session = self.session(request)
        return answer(await self.services.serving.stop(self.services, session.actor("serve.stop")))

    async def keys(self, request: Request) -> Response:
        """``GET /v1/serving/keys``."""
        self.session(request)
        listed: list[Json] = [
            {"key": key.key_id, "tenant": key.tenant, "revoked": key.revoked}
            for key in self.services.state.keys.values()
        ]
        return answer({"keys": listed})

    async def create_key(self, request: Request) -> Response:
        """``POST /v1/serving/keys``."""
        session = self.session(request)
        asked = await read(request, messages.KeyRequest)
        return answer(await servekeys.create(self.services, session, asked))

    async def revoke_key(self, request: Request) -> Response:
        """``DELETE /v1/serving/keys/{key}``."""
        session = self.session(request)
        return answer(await servekeys.revoke(self.services, session, request.path_params["key"]))
