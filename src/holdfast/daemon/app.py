"""The daemon's routes: who asks, may they, then one call into the room of that name.

Invariants: no logic here; every route but ``/v1/status`` and those that open a session needs one; the kernel's word on the
peer's uid is compared with the session's on every request; peers from a worker's process tree are refused whatever they hold;
nothing but our own errors leaves, as ``{"error": ...}``.
"""

from __future__ import annotations

import contextlib
import json
import logging
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, StreamingResponse
from starlette.routing import Route

from holdfast import __version__, canonical
from holdfast.api import messages
from holdfast.confine import peers
from holdfast.daemon import bundles, evaluation, evidence, models, reports, training
from holdfast.daemon.recorder import DAEMON
from holdfast.errors import (
    HoldfastError,
    NotAuthenticated,
    NotFound,
    NotPermitted,
    NotRecorded,
    OperationFailed,
    UntrustedRequest,
)
from holdfast.governance import people

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session

_LOG = logging.getLogger(__name__)
M = TypeVar("M", bound=messages.Message)
PAGE = 200  # events of one page at most


class Api:
    """The handlers, over one set of services.

    Args:
        services: The daemon's parts.
    """

    def __init__(self, services: Services) -> None:
        self.services = services

    def session(self, request: Request) -> Session:
        """Find the session of a request.

        Args:
            request: The request.

        Returns:
            The session.

        Raises:
            NotAuthenticated: If there is none.
            NotPermitted: If the peer is a worker's process.
        """
        uid, _ = self.peer(request)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != messages.AUTH_SCHEME or not token:
            raise NotAuthenticated(
                "session.missing", "This call needs a session.", remedy="Name yourself with --as."
            )
        return self.services.sessions.find(token, uid)

    def peer(self, request: Request) -> tuple[int, int]:
        """Give the peer's credentials.

        Args:
            request: The request.

        Returns:
            Its uid and pid.

        Raises:
            NotPermitted: If it descends from a worker.
        """
        client = request.client
        if client is None:
            raise NotPermitted(
                "peer.unknown", "The peer has no credentials.", remedy="Use the control socket."
            )
        uid, pid = int(client.host), client.port
        if peers.descends_from(pid, self.services.launcher.pids):
            raise NotPermitted(
                "peer.worker", "A worker may not use the control socket.", remedy="Nothing to be done."
            )
        return uid, pid

    async def status(self, request: Request) -> Response:
        """``GET /v1/status``: what anybody who reaches the socket may know."""
        self.peer(request)
        state, log = self.services.state, self.services.log
        generation = state.generation()
        last = max((one.made_by for one in state.generations), default=None)
        return answer(
            {
                "version": __version__,
                "home": str(self.services.home.root),
                "site": state.site,
                "root": state.root,
                "generation": generation.number if generation else None,
                "last_import": last,
                "waiting": [one.request for one in state.imports.values() if one.state == "waiting"],
                "log": {"size": log.size, "root": log.root.hex(), "origin": log.origin},
                "egress": {
                    "walls": dict(self.services.launcher.walls()),
                    "denials": state.denials,
                },
                "jobs": [{"job": job.number, "action": job.action} for job in self.services.jobs.running],
                "serving": {
                    "running": self.services.serving.running,
                    "address": self.services.serving.address if self.services.serving.running else None,
                },
                "sessions": self.services.sessions.open_count,
                "people": {name: [role.value for role in one.roles] for name, one in state.people.items()},
                "gaps": [*state.gaps, *_present_gaps(self.services)],
                "appliance": self.services.appliance.public.fingerprint,
            }
        )

    async def challenge(self, request: Request) -> Response:
        """``POST /v1/session/challenge``."""
        self.peer(request)
        asked = await read(request, messages.ChallengeRequest)
        return answer(self.services.sessions.challenge(asked.person))

    async def open_session(self, request: Request) -> Response:
        """``POST /v1/session``."""
        uid, _ = self.peer(request)
        asked = await read(request, messages.SessionRequest)
        session, token = self.services.sessions.open(asked.person, asked.challenge, asked.signatures, uid)
        await self.services.recorder.fact(session.visitor(), "session.opened", {"person": asked.person})
        return answer(
            {"token": token, "person": asked.person, "roles": [role.value for role in session.person.roles]}
        )

    async def close_session(self, request: Request) -> Response:
        """``DELETE /v1/session``."""
        session = self.session(request)
        self.services.sessions.close(request.headers["authorization"].partition(" ")[2])
        self.services.uploads.forget(session.name)
        await self.services.recorder.fact(
            session.visitor(), "session.closed", {"person": session.person.name}
        )
        return answer({})

    async def upload(self, request: Request) -> Response:
        """``PUT /v1/uploads``."""
        session = self.session(request)
        name, size = await self.services.uploads.take(session.name, request.stream())
        return answer({"upload": name, "size": size})

    async def import_bundle(self, request: Request) -> Response:
        """``POST /v1/bundles/import``."""
        session = self.session(request)
        asked = await read(request, messages.ImportRequest)
        return started(await bundles.submit(self.services, session, asked.path))

    async def bundles(self, request: Request) -> Response:
        """``GET /v1/bundles``."""
        self.session(request)
        return answer(bundles.listing(self.services))

    async def bundle(self, request: Request) -> Response:
        """``GET /v1/bundles/{request}``."""
        self.session(request)
        return answer(bundles.show(self.services, number(request, "request")))

    async def admit(self, request: Request) -> Response:
        """``POST /v1/bundles/{request}/admit``."""
        session = self.session(request)
        asked = await read(request, messages.ApprovalRequest)
        return answer(await bundles.admit(self.services, session, number(request, "request"), asked))

    async def reject(self, request: Request) -> Response:
        """``POST /v1/bundles/{request}/reject``."""
        session = self.session(request)
        asked = await read(request, messages.RejectRequest)
        return answer(await bundles.reject(self.services, session, number(request, "request"), asked.reason))

    async def rollback(self, request: Request) -> Response:
        """``POST /v1/bundles/rollback``."""
        session = self.session(request)
        asked = await read(request, messages.RollbackRequest)
        return answer(await bundles.roll_back(self.services, session, asked.generation))

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

    async def convert(self, request: Request) -> Response:
        """``POST /v1/models/convert``."""
        session = self.session(request)
        asked = await read(request, messages.ConvertRequest)
        return started(await models.convert(self.services, session, asked))

    async def runs(self, request: Request) -> Response:
        """``GET /v1/runs``."""
        self.session(request)
        return answer({"runs": list(training.summaries(self.services))})

    async def run(self, request: Request) -> Response:
        """``GET /v1/runs/{run}``."""
        self.session(request)
        found, params, result = training.find_run(self.services, request.path_params["run"])
        manifest = canonical.decode(
            (self.services.store.folder(found.digest) / training.RUN_FILE).read_bytes(),
            limit=messages.MAX_BODY,
            what="The run's manifest",
        )
        gate = self.services.state.gates.get(found.digest)
        return answer(
            {
                "artefact": models.shown(self.services, found),
                "params": params,
                "result": {name: value for name, value in result.items() if name != "artefacts"},
                "manifest": manifest,
                "gate": gate,
            }
        )

    async def train(self, request: Request) -> Response:
        """``POST /v1/runs``."""
        session = self.session(request)
        asked = await read(request, messages.TrainRequest)
        return started(await training.submit(self.services, session, asked))

    async def replay(self, request: Request) -> Response:
        """``POST /v1/runs/{run}/replay``."""
        session = self.session(request)
        return started(await training.replay(self.services, session, request.path_params["run"]))

    async def resume(self, request: Request) -> Response:
        """``POST /v1/runs/{run}/resume``."""
        session = self.session(request)
        return started(await training.resume(self.services, session, number(request, "run")))

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
        after = _integer(request.query_params.get("after", "0"), "after")

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
        return answer(await self.services.serving.create_key(self.services, session, asked))

    async def revoke_key(self, request: Request) -> Response:
        """``DELETE /v1/serving/keys/{key}``."""
        session = self.session(request)
        return answer(
            await self.services.serving.revoke_key(self.services, session, request.path_params["key"])
        )

    async def audit_events(self, request: Request) -> Response:
        """``GET /v1/audit/events?before=&limit=&action=&person=``."""
        session = self.session(request)
        query = request.query_params
        before = query.get("before")
        wanted: dict[str, Json] = {
            "op": "page",
            "before": _integer(before, "before") if before else None,
            "limit": min(_integer(query.get("limit", "50"), "limit"), PAGE),
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
        self.session(request).actor("report.residency")
        return answer({"files": list(reports.files(self.services, number(request, "job")))})

    async def report_file(self, request: Request) -> Response:
        """``GET /v1/reports/{job}/{file}``."""
        self.session(request).actor("report.residency")
        name = request.path_params["file"]
        found = reports.files(self.services, number(request, "job")).get(name)
        if found is None:
            raise NotFound(
                "report.file", f"The report has no file {name[:80]!r}.", remedy="List its files first."
            )
        return FileResponse(found)

    async def refused(self, request: Request, error: Exception) -> Response:
        """Answer with an error, and put refused access on the record."""
        if not isinstance(error, HoldfastError):
            raise error
        if isinstance(error, NotAuthenticated | NotPermitted):
            client = request.client
            with contextlib.suppress(NotRecorded):
                await self.services.recorder.fact(
                    DAEMON,
                    "access.denied",
                    {
                        "reason": error.key,
                        "route": request.url.path[:200],
                        "uid": int(client.host) if client else None,
                        "person": error.fields.get("person"),  # type: ignore[dict-item]  # a text or None
                    },
                )
        return JSONResponse({"error": error.to_dict()}, status_code=error.http_status)

    async def no_route(self, request: Request, _error: Exception) -> Response:
        """Answer a call that the contract does not know."""
        error = NotFound(
            "route.unknown",
            f"{request.method} {request.url.path[:200]} is no call of this daemon.",
            remedy="Check that client and daemon are of the same version.",
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
    api = Api(services)
    table: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
        ("GET", "/v1/status", api.status),
        ("POST", "/v1/session/challenge", api.challenge),
        ("POST", "/v1/session", api.open_session),
        ("DELETE", "/v1/session", api.close_session),
        ("PUT", "/v1/uploads", api.upload),
        ("GET", "/v1/bundles", api.bundles),
        ("POST", "/v1/bundles/import", api.import_bundle),
        ("POST", "/v1/bundles/rollback", api.rollback),
        ("GET", "/v1/bundles/{request}", api.bundle),
        ("POST", "/v1/bundles/{request}/admit", api.admit),
        ("POST", "/v1/bundles/{request}/reject", api.reject),
        ("GET", "/v1/artefacts", api.artefacts),
        ("GET", "/v1/artefacts/{name}", api.artefact),
        ("POST", "/v1/models/convert", api.convert),
        ("GET", "/v1/runs", api.runs),
        ("POST", "/v1/runs", api.train),
        ("GET", "/v1/runs/{run}", api.run),
        ("POST", "/v1/runs/{run}/replay", api.replay),
        ("POST", "/v1/runs/{run}/resume", api.resume),
        ("POST", "/v1/runs/{run}/gate", api.gate),
        ("POST", "/v1/evaluations", api.evaluate),
        ("GET", "/v1/jobs/{job}", api.job),
        ("GET", "/v1/jobs/{job}/events", api.job_events),
        ("POST", "/v1/jobs/{job}/cancel", api.cancel),
        ("GET", "/v1/serving", api.serving),
        ("POST", "/v1/serving/start", api.serve),
        ("POST", "/v1/serving/stop", api.stop_serving),
        ("GET", "/v1/serving/keys", api.keys),
        ("POST", "/v1/serving/keys", api.create_key),
        ("DELETE", "/v1/serving/keys/{key}", api.revoke_key),
        ("GET", "/v1/audit/events", api.audit_events),
        ("POST", "/v1/audit/sql", api.audit_sql),
        ("GET", "/v1/audit/proofs/{seq}", api.audit_proof),
        ("POST", "/v1/audit/verify", api.audit_verify),
        ("POST", "/v1/audit/rebuild", api.audit_rebuild),
        ("POST", "/v1/audit/checkpoint", api.audit_checkpoint),
        ("POST", "/v1/reports/residency", api.residency),
        ("GET", "/v1/reports/{job}", api.report),
        ("GET", "/v1/reports/{job}/{file}", api.report_file),
    ]
    return Starlette(
        routes=[Route(path, handler, methods=[method]) for method, path, handler in table],
        exception_handlers={HoldfastError: api.refused, HTTPException: api.no_route, Exception: api.broken},
    )


async def read(request: Request, model: type[M]) -> M:
    """Read a request's message.

    Args:
        request: The request.
        model: What it must be.

    Returns:
        The message.

    Raises:
        UntrustedRequest: Naming every field that is wrong.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > messages.MAX_BODY:
            break
    value = canonical.decode(bytes(body), limit=messages.MAX_BODY, what="The request", error=UntrustedRequest)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        mistakes = "; ".join(
            f"{'.'.join(str(part) for part in one['loc']) or 'message'}: {one['msg']}"
            for one in error.errors()
        )
        raise UntrustedRequest(
            "request.form",
            f"The request is refused: {mistakes}.",
            remedy="Check that client and daemon match.",
        ) from error


def answer(message: dict[str, Json]) -> Response:
    """Make a JSON answer.

    Args:
        message: Plain data.

    Returns:
        The response.
    """
    return JSONResponse(message)


def started(job: Job) -> Response:
    """Answer that a job was started.

    Args:
        job: The job.

    Returns:
        The response, status 202.
    """
    return JSONResponse({"job": job.number}, status_code=202)


def number(request: Request, name: str) -> int:
    """Read a number from the path.

    Args:
        request: The request.
        name: The path parameter.

    Returns:
        The number.
    """
    return _integer(request.path_params[name], name)


def _integer(text: str, name: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 15:  # noqa: PLR2004 - below 2**53
        raise UntrustedRequest(
            "request.number", f"{name} {text[:40]!r} is not a number.", remedy="Give digits only."
        )
    return int(text)


def _present_gaps(services: Services) -> list[str]:
    """Name what this home and host lack now, beyond what was said at the founding."""
    walls = services.launcher.walls()
    return [
        "Service keys lie in files of mode 0600, not in a TPM.",
        *people.shared_uids(list(services.state.people.values())),
        *(
            f"This host does not enforce: {name.replace('_', ' ')}."
            for name, up in walls.items()
            if up is False
        ),
    ]
