"""The OpenAPI document, believed: requests made from it, right and wrong, get answers as it says, and each leaves one pair of events."""

from __future__ import annotations

from functools import partial

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation.modes import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.integration.serving.stack import VISITS, make_settings

from holdfast.serving.api import openapi
from holdfast.serving.front.deadline import HEADER
from holdfast.serving.front.gate import WATCHING

pytestmark = pytest.mark.model

EXAMPLES = 24  # of each operation, right and wrong ones
OK, REFUSED, UNAUTHORIZED, NOT_FOUND, TOO_LARGE = 200, 400, 401, 404, 413
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
VOCABULARY = 262  # tokens of the crafted model


def aimed(case):
    """Name a model that is there, unless the case names none or is wrong in its name."""
    if isinstance(case.body, dict):
        named = case.body.get("model")
        if isinstance(named, str) and 1 <= len(named) <= 390:
            case.body["model"] = "base"
    if (case.path_parameters or {}).get("model") and len(case.path_parameters["model"]) % 2:
        case.path_parameters["model"] = "base:one@1"
    return case


def feasible(case):
    """Keep what the document allows within what this model can do: its vocabulary, its time, a grammar that is one."""
    body = aimed(case).body
    if case.headers and HEADER in case.headers:
        case.headers[HEADER] = "999" + case.headers[HEADER][-3:]
    if isinstance(body, dict):
        for name in {"prompt", "input", "tokens"} & set(body):
            body[name] = known(body[name]) or "x"
        if isinstance(body.get("max_tokens"), int | float):
            body["max_tokens"] = 1 + body["max_tokens"] % 4
        if body.get("grammar") is not None:
            body["grammar"] = 'root ::= "a" | "b"'
    return case


def known(value):
    if isinstance(value, list):
        return [known(one) or "x" for one in value]
    return value if isinstance(value, str) else value % VOCABULARY or 1


def explore(operation, mode, judge):
    """Make requests of an operation."""

    @seed(6)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case):
        judge(feasible(case) if mode is GenerationMode.POSITIVE else aimed(case))

    ask()


def test_requests_made_from_the_document(pooled, tmp_path, new_stack):
    limits = {"new_tokens": 8, "queue": 60}
    server = new_stack(make_settings(pooled / "base.gguf", **limits), pooled, tmp_path, tcp=True)
    address = f"http://127.0.0.1:{server.address[1]}"
    session = requests.Session()
    session.headers["authorization"] = f"Bearer {server.cleared_text}"
    config = schemathesis.Config.from_dict(
        {"max-stream-events": 10_000}
    )  # else it goes away in the middle of an answer
    document = schemathesis.openapi.from_dict(session.get(f"{address}/openapi.json").json(), config=config)
    recorded = {one.path for one in openapi.OPERATIONS if one.receipt}
    acts, visits, seen = server.recorder.acts, server.recorder.visits, []
    acts.clear()
    visits.clear()  # of the request for the document

    def judge(case, checks):
        before = len(acts), len(visits)
        reply = case.call(base_url=address, session=session)
        if reply.status_code == TOO_LARGE:  # right or wrong, it was not read to its end
            checks = CHECKS
        case.validate_response(reply, checks=checks)
        path = case.operation.path
        seen.append((path, reply.status_code))
        pair = [*acts[before[0] :], *visits[before[1] :]]
        if path in WATCHING or reply.status_code == UNAUTHORIZED:
            assert pair == []
            return
        begun, ended = pair
        assert ended.cause == (before[0] if len(acts) > before[0] else VISITS + before[1])
        if path in recorded and reply.status_code == OK:
            assert (begun.action, ended.action) == ("answer", "answer.done")
        elif begun.action == "answer":
            assert (ended.action, reply.status_code) == ("answer.failed", REFUSED)
        else:
            told = {"route": path, "status": reply.status_code, "method": case.method}
            assert told.items() <= ended.params.items()
            assert ended.action == f"serve.request.{'done' if reply.status_code == OK else 'failed'}"

    for operation in document.get_all_operations():
        explore(operation.ok(), GenerationMode.POSITIVE, partial(judge, checks=CHECKS))
        explore(
            operation.ok(), GenerationMode.NEGATIVE, partial(judge, checks=[*CHECKS, negative_data_rejection])
        )
    assert {path for path, status in seen if status == OK} == set(document.raw_schema["paths"])
    assert {status for _, status in seen} - {TOO_LARGE} == {OK, REFUSED, UNAUTHORIZED, NOT_FOUND}
    authenticated = [path for path, status in seen if path not in WATCHING and status != UNAUTHORIZED]
    assert len(acts) + len(visits) == 2 * len(authenticated)
    assert len(server.recorder.requests) == len(visits) / 2
