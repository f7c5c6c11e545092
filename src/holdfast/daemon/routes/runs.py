"""Routes: training runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import StreamingResponse

from holdfast.api import messages
from holdfast.daemon.routes.base import Routes, answer, number, read, started
from holdfast.daemon.runs import page, replay, resume, submit
from holdfast.daemon.runs.folders import ACTS
from holdfast.errors import Conflict, NotFound

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from holdfast.daemon.routes.base import Table


class Runs(Routes):
    """Routes: training runs."""

    @property
    def table(self) -> Table:
        """Method, path and handler of each route."""
        return (
            ("GET", "/v1/runs", self.runs),
            ("POST", "/v1/runs", self.train),
            ("POST", "/v1/runs/estimate", self.estimate),
            ("GET", "/v1/runs/{run}", self.run),
            ("GET", "/v1/runs/{run}/telemetry", self.telemetry),
            ("POST", "/v1/runs/{run}/replay", self.replay),
            ("POST", "/v1/runs/{run}/resume", self.resume),
            ("POST", "/v1/runs/{run}/discard", self.discard),
            ("POST", "/v1/runs/{run}/cancel", self.cancel),
        )

    async def runs(self, request: Request) -> Response:
        """``GET /v1/runs``."""
        self.session(request)
        return answer({"runs": list(page.summaries(self.services))})

    async def run(self, request: Request) -> Response:
        """``GET /v1/runs/{run}``."""
        self.session(request)
        return answer(page.page(self.services, request.path_params["run"]))

    async def telemetry(self, request: Request) -> Response:
        """``GET /v1/runs/{run}/telemetry``."""
        self.session(request)
        chunks = await page.telemetry(self.services, request.path_params["run"])
        return StreamingResponse(chunks, media_type="application/x-ndjson")

    async def train(self, request: Request) -> Response:
        """``POST /v1/runs``."""
        session = self.session(request)
        asked = await read(request, messages.TrainRequest)
        return started(await submit.submit(self.services, session, asked))

    async def estimate(self, request: Request) -> Response:
        """``POST /v1/runs/estimate``."""
        session = self.session(request)
        asked = await read(request, messages.TrainRequest)
        return started(await submit.estimate(self.services, session, asked))

    async def replay(self, request: Request) -> Response:
        """``POST /v1/runs/{run}/replay``."""
        session = self.session(request)
        asked = await read(request, messages.ReplayRequest)
        return started(await replay.replay(self.services, session, request.path_params["run"], asked))

    async def resume(self, request: Request) -> Response:
        """``POST /v1/runs/{run}/resume``."""
        session = self.session(request)
        return started(await resume.resume(self.services, session, number(request, "run")))

    async def discard(self, request: Request) -> Response:
        """``POST /v1/runs/{run}/discard``."""
        session = self.session(request)
        return answer(await resume.discard(self.services, session, number(request, "run")))

    async def cancel(self, request: Request) -> Response:
        """``POST /v1/runs/{run}/cancel``: of a run, a replay or an estimate, and of no other job."""
        session = self.session(request)
        job = number(request, "run")
        act = self.services.state.acts.get(job)
        if act is None:
            raise NotFound("train.unknown", f"There is no run {job}.", remedy="See `holdfast train list`.")
        if act.action not in ACTS:
            raise Conflict(
                "train.other-job",
                f"Job {job} is no training ({act.action}).",
                remedy=f"Stop it with `holdfast job cancel {job}`.",
            )
        session.actor(act.action)
        self.services.jobs.cancel(job, session.person.name)
        return answer({"cancelling": job})
