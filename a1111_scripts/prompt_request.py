"""A request in a dialect of ours, from its prompts to what the model is given at each call.

The host is left to its work with prompts of no words that have the AND parts and weights of the real ones, and the
callback that it offers before each model call puts the real conditionings in their place.  All of it hangs on the
host's request object, so that nothing is left when that is gone.
"""

from __future__ import annotations

import logging
import weakref
from typing import Any

from ..core.errors import BadValue
from ..core.prompt import extract_networks
from ..core.prompt.constant_tags import constant_tags
from ..core.prompt.dialect import Dialect
from ..core.version import VERSION
from .host import shared
from .prompt_combine import Parts, combined
from .prompt_encoders import embedding_hashes
from .prompt_networks import extra_networks, tags_as_text
from .prompt_passes import PromptPass, Texts, dialect_here, shaped

log = logging.getLogger(__name__)

KEY = "Concord prompt dialect"
HOST = "host"
"""The choice under which nothing is touched."""
_HERE = "concord_prompt"


class Request:
    """The state of one request of the host, changed by each of its batches."""

    def __init__(self, p: Any, name: str) -> None:
        """Note the dialect in the infotext; raises ``BadValue`` for an unknown one."""
        self.name = name
        self.dialect: Dialect = dialect_here(name)
        self._owner = weakref.ref(p)
        self._typed: Texts | None = None
        self._first: PromptPass | None = None
        self._hires: PromptPass | None = None
        self._parts: Parts | None = None
        self.modifier = _modifier(self)
        p.extra_generation_params[KEY] = name
        p.extra_generation_params.setdefault("Concord version", VERSION)

    def belongs_to(self, p: Any) -> bool:
        """Tell whether it was made for this very object, not for one that this is a copy of."""
        return self._owner() is p

    def read(self, p: Any) -> None:
        """Take the prompts of a batch, and leave the host those network tags that are on all the time."""
        found = _texts(p.prompts, p.negative_prompts, self.dialect)
        self._typed = found
        p.prompts = [_without(text) + tags_as_text(found.constant) for text in found.positive]

    def prepare(self, p: Any) -> None:
        """Lay out and encode the prompts of a batch, then give the host stand-ins to count.

        Raises ``BadValue`` or ``BadType`` with the host's own prompts untouched.
        """
        typed = self._typed
        if typed is None:
            raise BadValue("the host began a batch without its prompts; set the dialect to host")
        self._first = PromptPass.of(p, typed, self.dialect, hires=False)
        self._hires = self._hires_pass(p)
        self._first.encoded()
        if self._hires is not None and getattr(p, "hr_checkpoint_info", None) is None:
            self._hires.encoded()
        self._note(p, self._first)
        p.prompts = self._first.stand_ins()
        p.negative_prompts = [""] * len(p.prompts)
        if self._hires is not None:
            p.hr_prompts = self._hires.stand_ins()
            p.hr_negative_prompts = [""] * len(p.hr_prompts)

    def _hires_pass(self, p: Any) -> PromptPass | None:
        if not getattr(p, "enable_hr", False):
            return None
        here = slice(p.iteration * p.batch_size, (p.iteration + 1) * p.batch_size)
        found = _texts(p.all_hr_prompts[here], p.all_hr_negative_prompts[here], self.dialect)
        p.hr_extra_network_data = extra_networks.parse_prompts([tags_as_text(found.constant)])[1]
        return PromptPass.of(p, found, self.dialect, hires=True)

    def _note(self, p: Any, done: PromptPass) -> None:
        """Write what the host writes into an infotext when it encodes."""
        params, opts = p.extra_generation_params, shared.opts
        texts = [one.text for one in (*done.positive, *done.negative)]
        if opts.emphasis != "Original" and any("(" in text or "[" in text for text in texts):
            params["Emphasis"] = opts.emphasis
        names = dict.fromkeys(name for side in done.encoded() for one in side for name in one.embeddings)
        if not names:
            return
        hashes = embedding_hashes(shared.sd_model, names)
        if hashes and getattr(opts, "textual_inversion_add_hashes_to_infotext", False):
            params["TI hashes"] = ", ".join(f"{name}: {one}" for name, one in hashes.items())
        elif not hashes:
            params["TI"] = ", ".join(name.replace(":", "").replace(",", "") for name in names)

    def serve(self, params: Any) -> None:
        """Put the conditionings of this model call in the place of the host's, and the LoRAs of this call on."""
        denoiser = params.denoiser
        one = self._hires if getattr(denoiser.p, "is_hr_pass", False) else self._first
        if one is None:
            return
        positive, negative = one.at(denoiser.step)
        rows = params.text_cond["crossattn"] if isinstance(params.text_cond, dict) else params.text_cond
        if len(rows) != len(positive.hidden):
            raise BadValue(
                f"the host has {len(rows)} parts of prompts and Concord {len(positive.hidden)}: another script changed "
                "the prompts; set the dialect to host, or turn that script off"
            )
        like = params.text_cond if params.text_uncond is None else params.text_uncond
        params.text_cond = shaped(params.text_cond, positive)
        uncond = shaped(like, negative)
        if params.text_uncond is not None:
            params.text_uncond = uncond
        self._parts = Parts(positive=params.text_cond, negative=uncond, images=positive.images)
        one.networks.switch(one.tags_at(denoiser.step))

    def take_unet(self, p: Any) -> None:
        """Give this pass a patcher of its own on Forge and its kin, with what combines AND parts rightly."""
        unet = p.sd_model.forge_objects.unet.clone()
        if self.modifier not in unet.model_options.get("conditioning_modifiers", []):
            unet.add_conditioning_modifier(self.modifier)
        p.sd_model.forge_objects.unet = unet

    def end_pass(self) -> None:
        """Leave the model as the host had it."""
        for one in (self._first, self._hires):
            if one is not None:
                one.networks.end()

    def combine(self, cond: list[Any], uncond: list[Any] | None, x: Any, scale: float) -> list[Any]:
        """Return the entries that the host is to combine at this call."""
        return cond if self._parts is None else combined(self._parts, cond, uncond, x, scale)


def begin(p: Any, name: str) -> None:
    """Begin a request of the host's in the dialect ``name``, and forget what one before it left on ``p``."""
    if getattr(p, _HERE, None) is not None:
        forget(p)
    if name != HOST:
        setattr(p, _HERE, Request(p, name))


def request_of(p: Any) -> Request | None:
    """Return what was begun for the host's request ``p``, or None."""
    found = getattr(p, _HERE, None)
    return found if isinstance(found, Request) and found.belongs_to(p) else None


def forget(p: Any) -> None:
    """Leave the request to the host."""
    setattr(p, _HERE, None)
    p.extra_generation_params.pop(KEY, None)


def on_denoiser(params: Any) -> None:
    """Serve the host's callback before each model call; requests in the host's dialect are passed over."""
    found = request_of(getattr(params.denoiser, "p", None))
    if found is None:
        return
    try:
        found.serve(params)
    except Exception as error:
        log.error(
            "Concord: the picture is given up, its prompt cannot be encoded: %s", " ".join(str(error).split())
        )
        shared.state.interrupt()


def _texts(prompts: list[str], negatives: list[str], dialect: Dialect) -> Texts:
    """Part tags that are on all the time from those that come and go; the first image's count, as in the host."""
    parted = [constant_tags(text, dialect) for text in prompts]
    constant = tuple(parted[0][1]) if parted else ()
    return Texts(positive=tuple(text for text, _ in parted), negative=tuple(negatives), constant=constant)


def _without(text: str) -> str:
    return extract_networks(text)[0]


def _modifier(request: Request) -> Any:
    """Return Forge's conditioning modifier of a request: a plain function, which copies of a patcher share."""
    held = weakref.ref(request)

    def modify(
        model: Any, x: Any, timestep: Any, uncond: Any, cond: Any, scale: float, options: Any, seed: Any
    ) -> Any:
        request = held()
        if request is not None:
            cond = request.combine(cond, uncond, x, scale)
        return model, x, timestep, uncond, cond, scale, options, seed

    return modify
