"""Routes: what applications get, and their keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.api import messages
from holdfast.daemon.routes.base import Routes, answer, read, started
from holdfast.daemon.serve import keys, renewal, status, usage

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from holdfast.daemon.routes.base import Table


class Served(Routes):
    """Routes: what applications get, and their keys."""

    @property
    def table(self) -> Table:
        """Method, path and handler of each route."""
        return (
            ("GET", "/v1/serving", self.serving),
            ("POST", "/v1/serving/start", self.serve),
            ("POST", "/v1/serving/load", self.load),
            ("POST", "/v1/serving/unload", self.unload),
            ("POST", "/v1/serving/renew", self.renew),
            ("POST", "/v1/serving/stop", self.stop_serving),
            ("GET", "/v1/serving/usage", self.usage),
            ("GET", "/v1/serving/keys", self.keys),
            ("POST", "/v1/serving/keys", self.create_key),
            ("DELETE", "/v1/serving/keys/{key}", self.revoke_key),
        )

    async def serving(self, request: Request) -> Response:
        """``GET /v1/serving``, with what the log lacks: without it nothing is answered."""
        self.session(request)
        space = self.services.space.status(self.services)
        return answer({**await status.describe(self.services.serving), "space": space})

    async def serve(self, request: Request) -> Response:
        """``POST /v1/serving/start``."""
        session = self.session(request)
        asked = await read(request, messages.ServeRequest)
        return started(await self.services.serving.start(self.services, session, asked))

    async def load(self, request: Request) -> Response:
        """``POST /v1/serving/load``."""
        session = self.session(request)
        asked = await read(request, messages.LoadRequest)
        return started(await self.services.serving.load(self.services, session, asked))

    async def unload(self, request: Request) -> Response:
        """``POST /v1/serving/unload``."""
        session = self.session(request)
        asked = await read(request, messages.UnloadRequest)
        return started(await self.services.serving.unload(self.services, session, asked))

    async def renew(self, request: Request) -> Response:
        """``POST /v1/serving/renew``."""
        session = self.session(request)
        return answer(await renewal.renew(self.services, session.actor("serve.change")))

    async def stop_serving(self, request: Request) -> Response:
        """``POST /v1/serving/stop``."""
        session = self.session(request)
        return answer(await self.services.serving.stop(self.services, session.actor("serve.stop")))

    async def usage(self, request: Request) -> Response:
        """``GET /v1/serving/usage?tenant=&since=&until=&by=tenant,model,day,key``."""
        self.session(request)
        return answer(await usage.summed(self.services, usage.read(request.query_params)))

    async def keys(self, request: Request) -> Response:
        """``GET /v1/serving/keys``."""
        self.session(request)
        return answer({"keys": keys.listed(self.services)})

    async def create_key(self, request: Request) -> Response:
        """``POST /v1/serving/keys``."""
        session = self.session(request)
        asked = await read(request, messages.KeyRequest)
        return answer(await keys.create(self.services, session, asked))

    async def revoke_key(self, request: Request) -> Response:
        """``DELETE /v1/serving/keys/{key}``."""
        session = self.session(request)
        return answer(await keys.revoke(self.services, session, request.path_params["key"]))
