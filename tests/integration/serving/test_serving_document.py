"""The OpenAPI document, believed: requests made from it, right and wrong, get answers as it says, and each is on the record."""

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
from tests.integration.serving.stack import make_settings

from holdfast.serving.api import openapi

pytestmark = pytest.mark.model

EXAMPLES = 12  # of each operation, right and wrong ones
OK, REFUSED, UNAUTHORIZED, NOT_FOUND = 200, 400, 401, 404
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
VOCABULARY = 262  # tokens of the crafted model
ITSELF = "/openapi.json"  # where the document came from is not among what is asked


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
        deadline=None,
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
    document = schemathesis.openapi.from_url(f"{address}/openapi.json", headers=dict(session.headers))
    recorded = {one.path for one in openapi.OPERATIONS if one.receipt}
    acts, seen = server.recorder.acts, set()

    def judge(case, checks):
        before = len(acts)
        reply = case.call(session=session)
        case.validate_response(reply, checks=checks)
        if case.operation.path in recorded and reply.status_code == OK:
            intent, outcome = acts[before:]
            assert (intent.action, intent.cause) == ("answer", None)
            assert (outcome.action, outcome.cause) == ("answer.done", before)
        else:
            assert acts[before:] == []
        seen.add((case.operation.path, reply.status_code))

    for operation in document.get_all_operations():
        explore(operation.ok(), GenerationMode.POSITIVE, partial(judge, checks=CHECKS))
        explore(
            operation.ok(), GenerationMode.NEGATIVE, partial(judge, checks=[*CHECKS, negative_data_rejection])
        )
    assert {path for path, status in seen if status == OK} == set(document.raw_schema["paths"]) - {ITSELF}
    assert {status for _, status in seen} == {OK, REFUSED, UNAUTHORIZED, NOT_FOUND}
