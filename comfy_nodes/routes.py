"""What the pack's page asks the server: what a prompt means, and a workflow of an infotext.

Both take a small JSON object and answer with JSON; whatever else comes is answered with 400 and one line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

from ..core.errors import BadValue, ConcordError
from ..core.prompt import Known, page
from ..core.prompt.page import MOST_BYTES, Answer, asked_in, check_keys, text_of


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


def explained(asked: Mapping[str, Any]) -> Answer:
    """Return what the page shows of a prompt, as ``core.prompt.page`` does, with ComfyUI's embeddings."""
    return page.explained(asked, lambda text: Known(embeddings=_embeddings(text)))


def opened(asked: Mapping[str, Any]) -> Answer:
    """Return the workflow of an infotext, ``asked["text"]``, and notes on what it leaves out.

    Raises ``BadValue`` for a text without settings.
    """
    check_keys(asked, ("text",))
    text = text_of(asked)
    workflow = import_module(".workflow", __package__)
    nodes, folders = import_module("nodes"), import_module("folder_paths")
    return workflow.opened(text, nodes.NODE_CLASS_MAPPINGS, folders.get_filename_list("checkpoints"))


def _embeddings(text: str) -> dict[str, int]:
    """Return how many tokens each embedding takes that is named in ``text``."""
    clip = import_module(".clip", __package__)
    return {name: one.n for name, one in clip.embeddings_in(text).items()}
