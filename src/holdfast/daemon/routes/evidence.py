"""Routes: the log and the reports."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.responses import FileResponse

from holdfast.api import messages
from holdfast.daemon import (
    custody,
    evidence,
    reports,
    results,
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
FILTERS = ("action", "person", "role", "kind", "digest", "phase", "since", "until")


class Evidence(Routes):
    """Routes: the log and the reports."""

    @property
    def table(self) -> Table:
        """Method, path and handler of each route."""
        return (
            ("GET", "/v1/audit/events", self.audit_events),
            ("POST", "/v1/audit/sql", self.audit_sql),
            ("GET", "/v1/audit/schema", self.audit_schema),
            ("POST", "/v1/audit/results", self.audit_result),
            ("GET", "/v1/audit/results/{job}", self.result),
            ("GET", "/v1/audit/results/{job}/{file}", self.result_file),
            ("GET", "/v1/audit/queries", self.audit_queries),
            ("POST", "/v1/audit/queries", self.save_query),
            ("DELETE", "/v1/audit/queries/{name}", self.remove_query),
            ("GET", "/v1/audit/proofs/{seq}", self.audit_proof),
            ("POST", "/v1/audit/verify", self.audit_verify),
            ("POST", "/v1/audit/rebuild", self.audit_rebuild),
            ("POST", "/v1/reports/residency", self.residency),
            ("GET", "/v1/reports/{job}", self.report),
            ("GET", "/v1/reports/{job}/{file}", self.report_file),
        )

    async def audit_events(self, request: Request) -> Response:
        """``GET /v1/audit/events?before=&limit=&action=&person=&role=&kind=&digest=&since=&until=``."""
        session = self.session(request)
        query = request.query_params
        before = query.get("before")
        chosen: dict[str, Json] = {name: query[name] for name in FILTERS if name in query}
        if "cause" in query:
            chosen["cause"] = integer(query["cause"], "cause")
        wanted: dict[str, Json] = {
            "op": "page",
            "before": integer(before, "before") if before else None,
            "limit": min(integer(query.get("limit", "50"), "limit"), PAGE),
            "filter": chosen,
        }
        return answer(await evidence.read(self.services, session, "events", wanted))

    async def audit_sql(self, request: Request) -> Response:
        """``POST /v1/audit/sql``."""
        session = self.session(request)
        return answer(await results.answer(self.services, session, await read(request, messages.SqlRequest)))

    async def audit_schema(self, request: Request) -> Response:
        """``GET /v1/audit/schema``."""
        return answer(await evidence.read(self.services, self.session(request), "schema", {"op": "schema"}))

    async def audit_result(self, request: Request) -> Response:
        """``POST /v1/audit/results``."""
        session = self.session(request)
        return started(
            await results.write(self.services, session, await read(request, messages.ResultRequest))
        )

    async def result(self, request: Request) -> Response:
        """``GET /v1/audit/results/{job}``."""
        session = self.session(request)
        return answer({"files": list(results.files(self.services, session, number(request, "job")))})

    async def result_file(self, request: Request) -> Response:
        """``GET /v1/audit/results/{job}/{file}``."""
        session = self.session(request)
        name = request.path_params["file"]
        found = results.files(self.services, session, number(request, "job")).get(name)
        if found is None:
            raise NotFound(
                "result.file", f"The result has no file {name[:80]!r}.", remedy="List its files first."
            )
        return FileResponse(found)

    async def audit_queries(self, request: Request) -> Response:
        """``GET /v1/audit/queries``."""
        return answer(await results.known(self.services, self.session(request)))

    async def save_query(self, request: Request) -> Response:
        """``POST /v1/audit/queries``."""
        session = self.session(request)
        return answer(await results.save(self.services, session, await read(request, messages.QueryRequest)))

    async def remove_query(self, request: Request) -> Response:
        """``DELETE /v1/audit/queries/{name}``."""
        session = self.session(request)
        return answer(await results.remove(self.services, session, request.path_params["name"]))

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
        event, proof = await asyncio.to_thread(self._prove, seq)
        return answer({"seq": seq, "event": event.decode(), "proof": proof.decode()})

    def _prove(self, seq: int) -> tuple[bytes, bytes]:
        """Sign the log as it is and prove an event; it syncs, and may read what stays of an archived beginning."""
        self.services.log.checkpoint()
        event = custody.staying(self.services).get(seq)
        return event, self.services.log.prove(seq, event)

    async def audit_verify(self, request: Request) -> Response:
        """``POST /v1/audit/verify``."""
        return answer(await evidence.verify_live(self.services, self.session(request)))

    async def audit_rebuild(self, request: Request) -> Response:
        """``POST /v1/audit/rebuild``."""
        return answer(await evidence.rebuild(self.services, self.session(request)))

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
