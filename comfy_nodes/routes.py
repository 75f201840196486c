"""What the pack's page asks the server: what a prompt means, and a workflow of an infotext.

Both take a small JSON object and answer with JSON; whatever else comes is answered with 400 and one line.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from bisect import bisect_left
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

from ..core.errors import BadType, BadValue, ConcordError, unknown
from ..core.profiles import profile
from ..core.prompt import DIALECTS, Known, RunShape, plan
from ..core.prompt.marks import marks

MOST_TEXT = 65536
"""Characters of a prompt or an infotext."""
MOST_BYTES = 8 * MOST_TEXT
"""Of a body: JSON may write a character in six bytes, one beyond the first plane in twelve."""
MOST_STEPS = 1000
MOST_SHOWN = 2000
"""Chunks and weights in an answer."""
Answer = Mapping[str, Any]


def register() -> None:
    """Add the routes to ComfyUI's server, once; where its nodes run without a server, nothing is done."""
    try:
        server = import_module("server").PromptServer.instance
    except (ImportError, AttributeError):
        return
    known = {(route.method, route.path) for route in server.routes if hasattr(route, "path")}
    worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="concord")
    for path, answer in (("/concord/explain", explained), ("/concord/workflow", opened)):
        if ("POST", path) not in known:
            server.routes.post(path)(handler(answer, worker))


def handler(answer: Callable[[Mapping[str, Any]], Answer], worker: ThreadPoolExecutor) -> Any:
    """Return aiohttp's handler that gives ``answer`` of a request's JSON object, worked out by ``worker``."""
    web = import_module("aiohttp.web")

    async def handle(request: Any) -> Any:
        try:
            asked = asked_in(request.content_type, await _body(request.content))
            found = await asyncio.get_running_loop().run_in_executor(worker, answer, asked)
        except ConcordError as error:
            return web.json_response({"error": " ".join(str(error).split())}, status=400)
        return web.json_response(found)

    return handle


async def _body(content: Any) -> bytes:
    """Return what a request sends; raises ``BadValue`` for more than ``MOST_BYTES``."""
    body = b""
    while block := await content.read(MOST_BYTES + 1 - len(body)):
        body += block
        if len(body) > MOST_BYTES:
            raise BadValue(f"the request has more than {MOST_BYTES} bytes; send a shorter text")
    return body


def asked_in(kind: str, body: bytes) -> dict[str, Any]:
    """Return the JSON object in ``body``; raises ``BadValue`` where there is none.

    ``kind``: the content type; pages of other sites cannot send JSON's.
    """
    if kind != "application/json":
        raise BadValue(f"the request is {kind[:80]!r}; send application/json")
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadValue(f"the request is no JSON ({str(error)[:80]}); send an object with 'text'") from error
    if not isinstance(asked, dict):
        raise BadValue(f"the request is a JSON {type(asked).__name__}; send an object with 'text'")
    return asked


def explained(asked: Mapping[str, Any]) -> Answer:
    """Return what the page shows of a prompt; columns count UTF-16 units, as JavaScript does.

    ``asked``: ``text``; ``steps`` (20), ``dialect`` or the ``profile`` whose dialect it is (a1111), ``negative``.
    Raises ``BadValue`` or ``BadType`` that names what is wrong.
    """
    _check_keys(asked, ("text", "steps", "dialect", "profile", "negative"))
    text = _text(asked)
    steps = asked.get("steps", 20)
    if type(steps) is not int or not 1 <= steps <= MOST_STEPS:
        raise BadValue(f"steps is {str(steps)[:40]}; send a whole number from 1 to {MOST_STEPS}")
    negative = asked.get("negative", False)
    if not isinstance(negative, bool):
        raise BadType(f"negative is {str(negative)[:40]}; send true or false")
    dialect = _dialect(asked)
    known = Known(embeddings=_embeddings(text))
    found = marks(plan(text, steps, dialect=dialect, run=RunShape(negative=negative), known=known))
    column = _utf16(text)
    return {
        "tokens": found.tokens,
        "texts": found.texts,
        "chunks": [_placed(one, column) for one in found.chunks[:MOST_SHOWN]],
        "weights": [_placed(one, column) for one in found.weights[:MOST_SHOWN]],
        "warnings": [_placed(one, column) for one in found.warnings],
    }


def opened(asked: Mapping[str, Any]) -> Answer:
    """Return the workflow of an infotext, ``asked["text"]``, and notes on what it leaves out.

    Raises ``BadValue`` for a text without settings.
    """
    _check_keys(asked, ("text",))
    text = _text(asked)
    workflow = import_module(".workflow", __package__)
    nodes, folders = import_module("nodes"), import_module("folder_paths")
    return workflow.opened(text, nodes.NODE_CLASS_MAPPINGS, folders.get_filename_list("checkpoints"))


def _check_keys(asked: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name in asked:
        if name not in known:
            raise unknown("key", name[:40], known)


def _text(asked: Mapping[str, Any]) -> str:
    text = asked.get("text")
    if not isinstance(text, str):
        raise BadType(f"text is {str(text)[:40]}; send the text")
    if len(text) > MOST_TEXT:
        raise BadValue(f"the text has {len(text)} characters; send at most {MOST_TEXT}")
    return text


def _dialect(asked: Mapping[str, Any]) -> str:
    given = {name: asked[name] for name in ("dialect", "profile") if asked.get(name) is not None}
    for name, value in given.items():
        if not isinstance(value, str):
            raise BadType(f"{name} is {str(value)[:40]}; send a name")
    if "dialect" in given:
        if given["dialect"] not in DIALECTS:
            raise unknown("dialect", given["dialect"][:40], DIALECTS)
        return given["dialect"]
    return profile(given["profile"][:40]).dialect if "profile" in given else "a1111"


def _embeddings(text: str) -> dict[str, int]:
    """Return how many tokens each embedding takes that is named in ``text``."""
    clip = import_module(".clip", __package__)
    return {name: one.n for name, one in clip.embeddings_in(text).items()}


def _utf16(text: str) -> Callable[[int], int]:
    """Return what turns a column of ``text`` into one in UTF-16 units."""
    wide = [i for i, char in enumerate(text) if char > "\uffff"]
    return lambda column: column + bisect_left(wide, column)


def _placed(mark: Any, column: Callable[[int], int]) -> dict[str, Any]:
    """Return a mark as JSON, its columns as ``column`` counts them."""
    return dataclasses.asdict(mark) | {"start": column(mark.start), "end": column(mark.end)}
