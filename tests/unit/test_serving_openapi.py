"""The OpenAPI document and the page of the API say what the code does."""

from __future__ import annotations

import json

import jsonschema
import pytest
from scripts import api_page

from holdfast.serving.api import openapi, refusals
from holdfast.serving.api.routes import ROUTES
from holdfast.serving.front import gate

DOCUMENT = openapi.document()


def test_the_page_holds_the_tables_of_the_classes_that_read_requests():
    assert api_page.tables() in api_page.PAGE.read_text()


def test_every_route_is_in_the_document_and_the_gate_and_no_other():
    documented = {(path, method) for path, item in DOCUMENT["paths"].items() for method in item}
    assert documented == {(path, method.lower()) for path, (method, _) in ROUTES.items()}
    assert {path.replace("{model}", "x") for path in DOCUMENT["paths"]} == {*gate.NEEDED, "/v1/models/x"}
    assert gate.needed("/v1/models/base:adapter@2") == gate.NEEDED["/v1/models"]


def test_every_status_has_a_type_and_a_reason():
    assert set(openapi.REASONS) | {405, 409} == set(refusals.STATUSES)
    for item in DOCUMENT["paths"].values():
        for operation in item.values():
            assert {"200", "401", "403", "429", "500", "503"} <= set(operation["responses"])


@pytest.mark.parametrize("name", DOCUMENT["components"]["schemas"])
def test_every_schema_is_one_and_every_reference_leads_somewhere(name):
    schemas = DOCUMENT["components"]["schemas"]
    jsonschema.Draft202012Validator.check_schema(schemas[name])
    found = json.dumps(schemas[name]).split('"$ref": "')[1:]
    assert all(one.split('"')[0].removeprefix("#/components/schemas/") in schemas for one in found)


@pytest.mark.parametrize("name", ["ChatRequest", "CompletionRequest", "EmbeddingRequest", "TokenizeRequest"])
def test_what_the_document_calls_unsupported_is_null_or_absent(name):
    schema = DOCUMENT["components"]["schemas"][name] | {"components": DOCUMENT["components"]}
    given = {
        "ChatRequest": {"model": "a", "messages": [{"role": "user", "content": "b"}]},
        "CompletionRequest": {"model": "a", "prompt": "b"},
        "EmbeddingRequest": {"model": "a", "input": "b"},
        "TokenizeRequest": {"content": "b"},
    }[name]
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(given)
    assert validator.is_valid(given | {"model": "x" * 390})
    assert not validator.is_valid(given | {"model": "x" * 391})
    assert not validator.is_valid(given | {"nonsense": 1})
    for parameter, field in schema["properties"].items():
        if field.get("type") == "null":
            assert validator.is_valid(given | {parameter: None})
            assert not validator.is_valid(given | {parameter: 1})
