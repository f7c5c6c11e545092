"""The daemon's application: every route of the contract, and how a refusal leaves.

Invariants: every route but ``/v1/status`` and those that open a session needs one; nothing but our own errors leaves, as
``{"error": ...}``; refused access is put on the record.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

from holdfast.daemon.routes.base import session_of
from holdfast.daemon.routes.bundles import Bundles
from holdfast.daemon.routes.custody import Custody
from holdfast.daemon.routes.datasets import DataSets
from holdfast.daemon.routes.evidence import Evidence
from holdfast.daemon.routes.exports import Exports
from holdfast.daemon.routes.people import People
from holdfast.daemon.routes.releases import Releases
from holdfast.daemon.routes.runs import Runs
from holdfast.daemon.routes.safeguards import Safeguards
from holdfast.daemon.routes.sealings import Sealings
from holdfast.daemon.routes.served import Served
from holdfast.daemon.routes.witnesses import Witnesses
from holdfast.daemon.routes.work import Work
from holdfast.errors import (
    HoldfastError,
    NotAuthenticated,
    NotFound,
    NotPermitted,
    OperationFailed,
)

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from holdfast.daemon.services import Services

_LOG = logging.getLogger(__name__)
_PARTS = (
    People,
    Bundles,
    Safeguards,
    Work,
    Releases,
    DataSets,
    Runs,
    Served,
    Evidence,
    Exports,
    Custody,
    Witnesses,
    Sealings,
)


class _Refusals:
    """How what is refused is answered.

    Args:
        services: The daemon's parts.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    async def refused(self, request: Request, error: Exception) -> Response:
        """Answer with an error, and put refused access on the record."""
        if not isinstance(error, HoldfastError):
            raise error
        if isinstance(error, NotAuthenticated | NotPermitted):
            client = request.client
            uid = int(client.host) if client else None
            await self._services.refusals.note(error, request.url.path, uid, session_of(request))
        return JSONResponse({"error": error.to_dict()}, status_code=error.http_status)

    async def no_route(self, request: Request, _error: Exception) -> Response:
        """Answer a call that the contract does not know."""
        error = NotFound(
            "route.unknown",
            f"{request.method} {request.url.path[:200]} is no call of this daemon.",
            remedy="Check the name that was given, and that client and daemon are of the same version.",
        )
        return JSONResponse({"error": error.to_dict()}, status_code=error.http_status)

    async def broken(self, _request: Request, error: Exception) -> Response:
        """Answer when something of ours broke; the daemon's own log has the rest."""
        _LOG.error("A request broke.", exc_info=error)
        told = OperationFailed(
            "daemon.internal", f"The daemon broke on {type(error).__name__}.", remedy="See the daemon's log."
        )
        return JSONResponse({"error": told.to_dict()}, status_code=told.http_status)


def create_app(services: Services) -> Starlette:
    """Make the daemon's application.

    Args:
        services: The daemon's parts; tests give ones over a folder of their own.

    Returns:
        The ASGI application.
    """
    refusals = _Refusals(services)
    app = Starlette(
        routes=[
            Route(path, handler, methods=[method])
            for part in _PARTS
            for method, path, handler in part(services).table
        ],
        exception_handlers={
            HoldfastError: refusals.refused,
            HTTPException: refusals.no_route,
            Exception: refusals.broken,
        },
    )
    app.router.redirect_slashes = False  # a name that ends in a slash is no name, not another route's
    return app
