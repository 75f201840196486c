"""The pack's routes: what they answer, and that nothing else than what they expect gets in."""

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sd_concord.core.errors import BadValue, ConcordError

JSON = "application/json"
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def routes():
    from sd_concord.comfy_nodes import routes

    return routes


@pytest.fixture
def explained(routes, monkeypatch):
    monkeypatch.setattr(routes, "_embeddings", lambda _: {})
    return routes.explained


def test_a_prompt_is_explained(explained):
    found = explained({"text": "a (red:1.3) cat (open", "steps": 10, "dialect": "a1111", "negative": False})
    assert found["tokens"] == 4
    assert found["texts"] == 1
    assert found["chunks"] == [{"start": 0, "end": 21, "tokens": 4, "part": 0}]
    assert found["weights"] == [
        {"start": 3, "end": 6, "weight": 1.3},
        {"start": 17, "end": 21, "weight": 1.1},
    ]
    [warning] = found["warnings"]
    assert warning["code"] == "open-bracket"
    assert set(warning) == {"start", "end", "code", "message", "suggestion"}
    json.dumps(found)


def test_columns_count_as_javascript_does(explained):
    [weight] = explained({"text": "😀😀 (cat:1.2)"})["weights"]
    assert (weight["start"], weight["end"]) == (6, 9)


def test_the_dialect_is_that_of_the_profile(explained):
    text = "[a:bb cc dd:0.5]"
    assert explained({"text": text, "profile": "forge"})["texts"] == 2
    assert explained({"text": text, "profile": "comfyui"})["texts"] == 1
    assert explained({"text": text, "profile": "forge", "dialect": "comfyui"})["texts"] == 1


def test_embeddings_take_their_tokens(routes, monkeypatch):
    monkeypatch.setattr(routes, "_embeddings", lambda _: {"easynegative": 8})
    assert routes.explained({"text": "easynegative, a"})["tokens"] == 10


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "text is None"),
        ({"text": 3}, "text is 3"),
        ({"text": "a" * 65537}, "65537 characters"),
        ({"text": "a", "steps": 0}, "steps is 0"),
        ({"text": "a", "steps": 1001}, "steps is 1001"),
        ({"text": "a", "steps": True}, "steps is True"),
        ({"text": "a", "steps": 2.0}, "steps is 2.0"),
        ({"text": "a", "negative": 1}, "negative is 1"),
        ({"text": "a", "dialect": "c++"}, "unknown dialect 'c\\+\\+'"),
        ({"text": "a", "dialect": []}, "dialect is"),
        ({"text": "a", "profile": "x"}, "unknown profile 'x'"),
        ({"text": "a", "path": "/etc"}, "unknown key 'path'"),
    ],
)
def test_what_is_wrong_is_named(explained, asked, said):
    with pytest.raises(ConcordError, match=said):
        explained(asked)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/plain", b'{"text": "a"}'),
        (JSON, b""),
        (JSON, b"{"),
        (JSON, b"[1]"),
        (JSON, b'"a"'),
        (JSON, b"\xff"),
        (JSON, b"[" * 100_000),
        (JSON, b'{"steps": ' + b"9" * 10_000 + b"}"),
    ],
)
def test_only_a_json_object_is_read(routes, kind, body):
    with pytest.raises(BadValue):
        routes.asked_in(kind, body)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(["text", "steps", "dialect", "negative", "x"], JUNK)))
def test_whatever_is_sent_is_answered_or_refused(explained, asked):
    with suppress(ConcordError):
        assert explained(asked)["tokens"] >= 0


class Content:
    """A body that comes in blocks."""

    def __init__(self, *blocks):
        self.blocks = list(blocks)

    async def read(self, most):
        return self.blocks.pop(0)[:most] if self.blocks else b""


def test_a_body_that_is_too_long_is_not_read_to_its_end(routes):
    content = Content(*[b"a" * 100_000] * 50)
    with pytest.raises(BadValue, match="more than"):
        asyncio.run(routes._body(content))
    assert len(content.blocks) > 40


@pytest.fixture
def web(monkeypatch):
    """aiohttp's answers, in a few lines."""
    aiohttp, web = ModuleType("aiohttp"), ModuleType("aiohttp.web")
    web.json_response = lambda data, status=200: SimpleNamespace(data=data, status=status)
    monkeypatch.setitem(sys.modules, "aiohttp", aiohttp)
    monkeypatch.setitem(sys.modules, "aiohttp.web", web)
    return web


def handled(routes, answer, body, kind=JSON):
    handle = routes.handler(answer, ThreadPoolExecutor(1))
    return asyncio.run(handle(SimpleNamespace(content_type=kind, content=Content(body))))


def test_an_answer_is_json_and_an_error_one_line_of_it(routes, explained, web):
    assert handled(routes, explained, b'{"text": "a cat"}').data["tokens"] == 2
    refused = handled(routes, explained, b'{"text": 1}')
    assert refused.status == 400
    assert refused.data == {"error": "text is 1; send the text"}


def test_the_work_leaves_the_event_loop_free(routes, web):
    import threading

    seen = []
    handled(routes, lambda _: seen.append(threading.current_thread()) or {}, b"{}")
    assert seen != [threading.main_thread()]


class Table(list):
    """aiohttp's table of routes."""

    def post(self, path):
        return lambda handler: (
            self.append(SimpleNamespace(method="POST", path=path, handler=handler)) or handler
        )


def test_the_routes_are_added_once(routes, web, monkeypatch):
    server = ModuleType("server")
    server.PromptServer = SimpleNamespace(instance=SimpleNamespace(routes=Table()))
    monkeypatch.setitem(sys.modules, "server", server)
    routes.register()
    routes.register()
    assert [one.path for one in server.PromptServer.instance.routes] == [
        "/concord/explain",
        "/concord/workflow",
    ]


def test_without_a_server_nothing_is_added(routes, monkeypatch):
    monkeypatch.setitem(sys.modules, "server", None)
    routes.register()
    server = ModuleType("server")
    server.PromptServer = type("PromptServer", (), {})
    monkeypatch.setitem(sys.modules, "server", server)
    routes.register()
