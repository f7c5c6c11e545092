"""Routes: models, evaluations and jobs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from starlette.responses import StreamingResponse

from holdfast.api import messages
from holdfast.daemon import evaluation, evaluations, merging, models, quantizing
from holdfast.daemon.routes.base import Routes, answer, integer, number, read, started

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.responses import Response

    from holdfast.canonical import Json
    from holdfast.daemon.routes.base import Table


class Work(Routes):
    """Routes: models, evaluations and jobs."""

    @property
    def table(self) -> Table:
        """Method, path and handler of each route."""
        return (
            ("GET", "/v1/artefacts", self.artefacts),
            ("GET", "/v1/artefacts/{name}", self.artefact),
            ("POST", "/v1/models/quantize", self.quantize),
            ("POST", "/v1/models/merge", self.merge),
            ("POST", "/v1/runs/{run}/gate", self.gate),
            ("GET", "/v1/evaluations", self.evaluations),
            ("POST", "/v1/evaluations", self.evaluate),
            ("GET", "/v1/evaluations/{name}", self.evaluation),
            ("GET", "/v1/comparison", self.compare),
            ("GET", "/v1/jobs/{job}", self.job),
            ("GET", "/v1/jobs/{job}/events", self.job_events),
            ("POST", "/v1/jobs/{job}/cancel", self.cancel),
        )

    async def artefacts(self, request: Request) -> Response:
        """``GET /v1/artefacts?kind=``."""
        self.session(request)
        kind = request.query_params.get("kind")
        listed: list[Json] = [
            models.shown(self.services, found)
            for found in self.services.state.artefacts.values()
            if kind in (None, found.kind.value)
        ]
        return answer({"artefacts": listed})

    async def artefact(self, request: Request) -> Response:
        """``GET /v1/artefacts/{name}``."""
        self.session(request)
        found = self.services.state.resolve(request.path_params["name"])
        lineage: list[Json] = [
            models.shown(self.services, one) for one in self.services.state.lineage(found.digest)
        ]
        return answer({"artefact": models.shown(self.services, found), "lineage": lineage})

    async def quantize(self, request: Request) -> Response:
        """``POST /v1/models/quantize``."""
        session = self.session(request)
        asked = await read(request, messages.QuantizeRequest)
        return started(await quantizing.quantize(self.services, session, asked))

    async def merge(self, request: Request) -> Response:
        """``POST /v1/models/merge``."""
        session = self.session(request)
        asked = await read(request, messages.MergeRequest)
        return started(await merging.merge(self.services, session, asked))

    async def gate(self, request: Request) -> Response:
        """``POST /v1/runs/{run}/gate``."""
        session = self.session(request)
        asked = await read(request, messages.GateRequest)
        return started(await evaluation.decide(self.services, session, request.path_params["run"], asked))

    async def evaluate(self, request: Request) -> Response:
        """``POST /v1/evaluations``."""
        session = self.session(request)
        asked = await read(request, messages.EvaluateRequest)
        return started(await evaluation.evaluate(self.services, session, asked))

    async def evaluations(self, request: Request) -> Response:
        """``GET /v1/evaluations``."""
        self.session(request)
        return answer({"evaluations": list(evaluations.summaries(self.services))})

    async def evaluation(self, request: Request) -> Response:
        """``GET /v1/evaluations/{name}``."""
        self.session(request)
        return answer(await evaluations.shown(self.services, request.path_params["name"]))

    async def compare(self, request: Request) -> Response:
        """``GET /v1/comparison?first=&second=&examples=``."""
        session = self.session(request)
        first, second = (request.query_params.get(name, "") for name in ("first", "second"))
        examples = integer(request.query_params.get("examples", "5"), "examples")
        found = await evaluations.compare(
            self.services, session, first, second, min(examples, messages.MAX_EXAMPLES)
        )
        return answer(found)

    async def job(self, request: Request) -> Response:
        """``GET /v1/jobs/{job}``."""
        self.session(request)
        job = self.services.jobs.get(number(request, "job"))
        last = job.entries[-1] if job.entries else None
        return answer({"job": job.number, "action": job.action, "ended": job.ended, "last": last})

    async def job_events(self, request: Request) -> Response:
        """``GET /v1/jobs/{job}/events?after=``."""
        self.session(request)
        job = self.services.jobs.get(number(request, "job"))
        after = integer(request.query_params.get("after", "0"), "after")

        async def lines() -> AsyncIterator[bytes]:
            async for entry in job.follow(after):
                yield json.dumps(entry).encode() + b"\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    async def cancel(self, request: Request) -> Response:
        """``POST /v1/jobs/{job}/cancel``."""
        session = self.session(request)
        job = number(request, "job")
        act = self.services.state.acts.get(job)
        session.actor(act.action if act else "train.run")
        self.services.jobs.cancel(job, session.person.name)
        return answer({"cancelling": job})
