"""Routes: backups, archives, and the copies that clients fetch of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import FileResponse

from holdfast.api import messages
from holdfast.daemon import custody
from holdfast.daemon.routes.base import Routes, answer, number, read, started

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from holdfast.daemon.routes.base import Table


class Custody(Routes):
    """Routes: backups, archives, and the copies that clients fetch of them."""

    @property
    def table(self) -> Table:
        """Method, path and handler of each route."""
        return (
            ("POST", "/v1/audit/backup", self.backup),
            ("POST", "/v1/audit/archive", self.archive),
            ("POST", "/v1/audit/archives/{archive}/forget", self.forget),
            ("GET", "/v1/audit/copies/{job}", self.listed),
            ("GET", "/v1/audit/copies/{job}/{path:path}", self.file),
            ("DELETE", "/v1/audit/copies/{job}", self.let_go),
        )

    async def backup(self, request: Request) -> Response:
        """``POST /v1/audit/backup``."""
        return started(await custody.backup(self.services, self.session(request)))

    async def archive(self, request: Request) -> Response:
        """``POST /v1/audit/archive``."""
        session = self.session(request)
        asked = await read(request, messages.ArchiveRequest)
        return started(await custody.archive(self.services, session, asked.until))

    async def forget(self, request: Request) -> Response:
        """``POST /v1/audit/archives/{archive}/forget``."""
        session = self.session(request)
        asked = await read(request, messages.ForgetRequest)
        found = await custody.forget(self.services, session, number(request, "archive"), asked.manifest)
        return answer(found)

    async def listed(self, request: Request) -> Response:
        """``GET /v1/audit/copies/{job}``."""
        found = custody.files(self.services, self.session(request), number(request, "job"))
        return answer(
            {"files": [{"path": path, "size": file.lstat().st_size} for path, file in found.items()]}
        )

    async def file(self, request: Request) -> Response:
        """``GET /v1/audit/copies/{job}/{path}``."""
        path = request.path_params["path"]
        return FileResponse(custody.file(self.services, self.session(request), number(request, "job"), path))

    async def let_go(self, request: Request) -> Response:
        """``DELETE /v1/audit/copies/{job}``."""
        custody.let_go(self.services, self.session(request), number(request, "job"))
        return answer({})
