"""The panel "Concord Explain": what the prompts mean, shown as they are typed.

The page asks ``POST /concord/explain`` for it (javascript/concord_prompt.js), with a small JSON object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any

from ..core.errors import BadValue, ConcordError
from ..core.prompt import DIALECTS, Dialect, Known, page
from .gradio_parts import elem_id
from .host import gr, listen, shared
from .panel import Panel
from .prompt_encoders import known_embeddings
from .prompt_networks import known_networks
from .prompt_passes import calls_of, with_settings
from .prompt_request import HOST

TITLE = "Concord Explain"
PATH = "/concord/explain"
OPENING = '<div class="concord-explain"><i>Chunks, tokens, timeline and warnings of both prompts appear here.</i></div>'


class ConcordExplain(Panel):
    """Shows both prompts' chunks, timeline and warnings; it takes no part in a request."""

    label = TITLE

    def ui(self, is_img2img: bool) -> list[Any]:
        """Make the panel; the page fills it."""
        with gr.Accordion(TITLE, open=False, elem_id=elem_id("explain", img2img=is_img2img)):
            gr.HTML(OPENING, elem_id=elem_id("explain_shown", img2img=is_img2img))
        return []


def register() -> list[type]:
    """Add the route when the host's server begins, and return the panel's class."""
    listen("app_started", add_route)
    return [ConcordExplain]


def add_route(_demo: Any, app: Any) -> None:
    """Add ``PATH`` to the host's server, in the place of that of an earlier load."""
    routes = app.router.routes
    routes[:] = [one for one in routes if getattr(one, "path", None) != PATH]
    app.add_route(PATH, answered, methods=["POST"])


async def answered(request: Any) -> Any:
    """Return what a request asks for, or 400 and one line that says what is wrong with it."""
    responses, concurrency = import_module("starlette.responses"), import_module("starlette.concurrency")
    try:
        asked = page.asked_in(request.headers.get("content-type", ""), await _body(request))
        found = await concurrency.run_in_threadpool(explained, asked)
    except ConcordError as error:
        return responses.JSONResponse({"error": " ".join(str(error).split())}, status_code=400)
    return responses.JSONResponse(found)


def explained(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what ``core.prompt.page`` says of a prompt, with the host's embeddings, LoRAs and settings.

    ``asked``: as there; the dialect may be ``host``, and ``sampler``, the host's name of one, tells the calls a step.
    Raises ``BadValue`` or ``BadType``.
    """
    asked = dict(asked)
    if asked.get("dialect") == HOST:
        asked["dialect"] = "a1111"
    sampler, steps, name = asked.pop("sampler", None), asked.get("steps", 20), asked.get("dialect", "a1111")
    if isinstance(sampler, str) and type(steps) is int and 1 <= steps <= page.MOST_STEPS:
        rules = DIALECTS.get(name) if isinstance(name, str) else None
        asked.setdefault("calls_per_step", calls_of(sampler, steps, rules or Dialect.a1111()))
    return page.explained(asked, _known, _settings)


async def _body(request: Any) -> bytes:
    """Return what a request sends; raises ``BadValue`` for more than a page sends."""
    body = b""
    async for block in request.stream():
        body += block
        if len(body) > page.MOST_BYTES:
            raise BadValue(f"the request has more than {page.MOST_BYTES} bytes; send a shorter text")
    return body


def _known(_text: str) -> Known:
    return Known(networks=known_networks(), embeddings=known_embeddings(shared.sd_model))


def _settings(dialect: Dialect) -> Dialect:
    """Return ``dialect`` with the host's settings, comments too, which the host takes out of what it draws."""
    if dialect.syntax == "comfyui":
        return dialect
    comments = bool(getattr(shared.opts, "enable_prompt_comments", True))
    return replace(with_settings(dialect, shared.opts), comments=comments)
