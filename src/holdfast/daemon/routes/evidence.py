"""Routes: the log and the reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import FileResponse

from holdfast.api import messages
from holdfast.daemon import (
    evidence,
    reports,
)
from holdfast.daemon.routes.base import Routes, answer, integer, number, read, started
from holdfast.errors import (
    NotFound,
)

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from holdfast.canonical import Json
    from holdfast.daemon.routes.base import Table

PAGE = 200  # events of one page at most


class Evidence(Routes):
    """Routes: the log and the reports."""

    @property
    def table(self) -> Table:
        """Method, path and handler of each route."""
        return (
            ("GET", "/v1/audit/events", self.audit_events),
            ("POST", "/v1/audit/sql", self.audit_sql),
            ("GET", "/v1/audit/proofs/{seq}", self.audit_proof),
            ("POST", "/v1/audit/verify", self.audit_verify),
            ("POST", "/v1/audit/rebuild", self.audit_rebuild),
            ("POST", "/v1/audit/checkpoint", self.audit_checkpoint),
            ("POST", "/v1/reports/residency", self.residency),
            ("GET", "/v1/reports/{job}", self.report),
            ("GET", "/v1/reports/{job}/{file}", self.report_file),
        )

    async def audit_events(self, request: Request) -> Response:
        """``GET /v1/audit/events?before=&limit=&action=&person=``."""
        session = self.session(request)
        query = request.query_params
        before = query.get("before")
        wanted: dict[str, Json] = {
            "op": "page",
            "before": integer(before, "before") if before else None,
            "limit": min(integer(query.get("limit", "50"), "limit"), PAGE),
            "filter": {name: query[name] for name in ("action", "person") if name in query},
        }
        return answer(await evidence.read(self.services, session, "events", wanted))

    async def audit_sql(self, request: Request) -> Response:
        """``POST /v1/audit/sql``."""
        session = self.session(request)
        asked = await read(request, messages.SqlRequest)
        wanted: dict[str, Json] = {"op": "sql", "sql": asked.sql, "limit": asked.limit}
        return answer(await evidence.read(self.services, session, "sql", wanted))

    async def audit_proof(self, request: Request) -> Response:
        """``GET /v1/audit/proofs/{seq}``."""
        session = self.session(request)
        seq = number(request, "seq")
        log = self.services.log
        if not 0 <= seq < log.size:
            raise NotFound(
                "audit.seq",
                f"There is no event {seq}; the log has {log.size}.",
                remedy="Give a lower number.",
            )
        await self.services.recorder.fact(
            session.actor("audit.read"), "audit.read", {"what": "proof", "request": {"seq": seq}}
        )
        log.checkpoint()
        event = next(iter(log.read(seq, seq + 1)))
        return answer({"seq": seq, "event": event.decode(), "proof": log.prove(seq).decode()})

    async def audit_verify(self, request: Request) -> Response:
        """``POST /v1/audit/verify``."""
        return answer(await evidence.verify_live(self.services, self.session(request)))

    async def audit_rebuild(self, request: Request) -> Response:
        """``POST /v1/audit/rebuild``."""
        return answer(await evidence.rebuild(self.services, self.session(request)))

    async def audit_checkpoint(self, request: Request) -> Response:
        """``POST /v1/audit/checkpoint``."""
        session = self.session(request)
        await self.services.recorder.fact(session.actor("audit.checkpoint"), "audit.checkpoint", {})
        return answer({"checkpoint": self.services.log.checkpoint().decode()})

    async def residency(self, request: Request) -> Response:
        """``POST /v1/reports/residency``."""
        return started(await reports.residency(self.services, self.session(request)))

    async def report(self, request: Request) -> Response:
        """``GET /v1/reports/{job}``."""
        session = self.session(request)
        return answer({"files": list(reports.files(self.services, session, number(request, "job")))})

    async def report_file(self, request: Request) -> Response:
        """``GET /v1/reports/{job}/{file}``."""
        session = self.session(request)
        name = request.path_params["file"]
        found = reports.files(self.services, session, number(request, "job")).get(name)
        if found is None:
            raise NotFound(
                "report.file", f"The report has no file {name[:80]!r}.", remedy="List its files first."
            )
        return FileResponse(found)
