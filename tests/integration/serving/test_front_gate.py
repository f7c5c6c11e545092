"""The gate: every route is in its table, every scope counts, pages of other origins only where a site lets them."""

from __future__ import annotations

import pytest
from starlette.routing import Route
from tests.integration.serving.stack import BODY, LABEL, make_settings

from holdfast.audit.registry import serving
from holdfast.errors import UntrustedRequest
from holdfast.serving import keys
from holdfast.serving.api.routes import Endpoint
from holdfast.serving.front import deadline
from holdfast.serving.front.gate import NEEDED, WATCHING, needed, route
from holdfast.serving.front.visits import METHODS, OTHER

ORIGIN = "https://portal.example"


def test_the_table_holds_exactly_the_routes(front):
    house = front.house
    app = Endpoint(house.routing, house.desk, house.refused, house.metrics, house.healthy, lambda: 0.0).app()
    paths = {route.path for route in app.routes if isinstance(route, Route)}
    assert paths - {"/v1/models/{model:path}"} == set(NEEDED)
    assert needed("/v1/models/base:one@1") == keys.INFERENCE
    assert {needed(path) for path in ("/v1/models/", "/V1/models", "//health", "/docs", "")} == {None}
    assert {*serving.ROUTES} == {route(path) for path in (*NEEDED, "/v1/models/base", "/docs")} - WATCHING
    assert {*serving.HTTP_METHODS} == METHODS | {OTHER}


def test_a_key_passes_only_to_what_it_is_for(new_front):
    watcher = keys.mint("monitoring", [keys.ANY], LABEL, [keys.METRICS])
    front = new_front(more_keys=[watcher.key])
    with front.http(watcher.secret) as client:
        assert client.get("/metrics").status_code == 200
        assert client.get("/health").status_code == 503  # no engine, but that it may know
        for path in ("/v1/models", "/v1/models/base", "/openapi.json", "/tokenize"):
            assert client.get(path).status_code == 403
    with front.http() as client:
        refused = client.get("/metrics")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "insufficient_scope")
        assert client.get("/openapi.json").status_code == 200
    front.until(lambda: any(params["reasons"].get("serve.scope") for _, params in front.recorder.facts))
    assert [params["keys"] for _, params in front.recorder.facts] == [{front.key.id: 1}]  # /metrics alone
    paths = ["/v1/models", "/v1/models/{model}", "/openapi.json", "/tokenize"]
    refused = [(path, 403, "serve.scope") for path in paths]
    assert front.recorder.requests == [*refused, ("/openapi.json", 200, None)]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("limit=3", "limit"),
        ("temperature=0&n=2", "temperature"),
        ("%ff", "�"),
        ("=", ""),
        ("&", ""),
        ("x" * 999, "x" * 200),
    ],
)
def test_a_parameter_of_a_query_is_refused_by_its_name(front, query, name):
    with front.http() as client:
        for path in ("/v1/models", "/openapi.json"):
            reply = client.get(f"{path}?{query}")
            told = reply.json()["error"]
            assert (reply.status_code, told["code"], told["param"]) == (400, "unsupported_parameter", name)
        assert client.post(f"/v1/chat/completions?{query}", json=BODY).status_code == 400
    with front.http("hf-nobody") as client:
        assert client.get(f"/v1/models?{query}").status_code == 401
    assert front.recorder.acts == []


def test_two_keys_at_once_are_none(front):
    with front.http() as client:
        twice = [("authorization", f"Bearer {front.text}"), ("authorization", f"Bearer {front.cleared_text}")]
        assert client.get("/v1/models", headers=twice).status_code == 401
        assert client.get("/v1/models").status_code == 200


@pytest.mark.parametrize("opened", [True, False])
def test_health_is_open_only_where_a_site_opens_it(new_front, opened):
    front = new_front(make_settings(access={"open_health": opened}))
    with front.http("hf-nobody") as client:
        assert client.get("/health").status_code == (503 if opened else 401)
        assert client.get("/metrics").status_code == 401


def test_pages_of_other_origins_may_call_only_where_a_site_lets_them(new_front):
    asked = {"origin": ORIGIN, "access-control-request-method": "POST"}
    closed = new_front()
    with closed.http("hf-nobody") as client:
        reply = client.options("/v1/models", headers=asked)
        assert reply.status_code == 401
        assert not [name for name in reply.headers if name.startswith("access-control")]
    front = new_front(make_settings(access={"origins": (ORIGIN,)}), tcp=True)
    with front.http() as client:
        reply = client.options("/v1/models", headers=asked)
        assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (200, ORIGIN)
        assert (
            client.options("/v1/models", headers=asked | {"origin": "https://evil.example"}).status_code
            == 400
        )
        assert (
            client.get("/v1/models", headers={"origin": ORIGIN}).headers["access-control-allow-origin"]
            == ORIGIN
        )


def test_metrics_name_models_and_no_tenant(front, new_puppet):
    from tests.integration.serving.stack import BODY, CHAT

    new_puppet(front, by_itself=3)
    with front.http() as client, front.http(front.cleared_text) as watcher:
        assert client.post(CHAT, json=BODY).status_code == 200
        assert client.post(CHAT, json=BODY | {"model": "no such\nmodel"}).status_code == 404
        reply = watcher.get("/metrics")
        assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
        shown = reply.text
        front.call(front.house.settings, make_settings(adapters=()).model_copy(update={"models": ()}), {})
        after = watcher.get("/metrics").text
    for line in (
        'holdfast_answers_total{end="done",model="base"} 1.0',
        'holdfast_completion_tokens_total{model="base"} 3.0',
        'holdfast_cached_tokens_total{model="base"} 1.0',
        'holdfast_engine_up{model="base"} 1.0',
        'holdfast_responses_total{status="404"} 1.0',
        'holdfast_first_token_seconds_count{model="base"} 1.0',
    ):
        assert line in shown
    assert not {"tax-office", "no such", front.key.id} & set(shown.split())
    assert "tax-office" not in shown
    assert 'model="base"' not in after


@pytest.mark.parametrize("text", ["0", "-1", "1e3", "soon", "", "0.0", "1234567", "\u0661", "1 "])
def test_a_deadline_is_a_plain_number_of_seconds(text):
    with pytest.raises(UntrustedRequest):
        deadline.read({deadline.HEADER: text})
    assert deadline.read({deadline.HEADER: "1.5"}) == 1.5
    assert deadline.read({}) is None
