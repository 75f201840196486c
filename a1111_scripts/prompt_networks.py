"""LoRAs that come and go with the text: put on and off by the host's own machinery.

A1111's extension reads the strengths that are on at every layer's next call, so a change is another activation.  Forge
and reForge lay LoRAs on a patcher of the UNet: each state's patches are made before the run, and put on its own copy of
the patcher at the step.  The host's next activation, or its next loading of the model, undoes either.
"""

from __future__ import annotations

import logging
import sys
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from ..core.errors import BadValue
from ..core.prompt import NetworkTag
from ..core.prompt.networks import strengths_of
from .host import shared
from .prompt_encoders import load

extra_networks: Any = import_module("modules.extra_networks")
log = logging.getLogger(__name__)

KINDS = ("lora", "lyco")
State = tuple[tuple[str, float, float, str], ...]
"""Name, strength for the text encoders and for the UNet, and dyn of each LoRA that is on."""


class Networks:
    """The LoRAs of one pass: ``constant`` are on all the time, others as ``encoders_with`` and ``switch`` say."""

    def __init__(
        self, p: Any, constant: Sequence[NetworkTag], scheduled: Collection[Sequence[NetworkTag]]
    ) -> None:
        """Take the host's request, the tags that are always on, and every set of tags that a step may add."""
        self._p = p
        self._constant = tuple(tag for tag in constant if tag.kind in KINDS)
        self.needed = any(scheduled)
        self._sets = [(), *scheduled]
        self._patches: dict[State, Any] = {}
        self._unet: Any = None
        self._on: State = self.state(())
        self._hashes: dict[str, str] = {}

    def state(self, tags: Sequence[NetworkTag]) -> State:
        """Return what is on while ``tags`` are; one name twice is once with the sum of its strengths."""
        found: dict[str, tuple[float, float, str]] = {}
        for tag in (*self._constant, *tags):
            try:
                name, te, unet, dyn = _read(tag)
            except BadValue as error:
                log.warning("Concord: %s", error)
                continue
            before = found.get(name, (0.0, 0.0, ""))
            found[name] = (before[0] + te, before[1] + unet, dyn or before[2])
        return tuple((name, *numbers) for name, numbers in found.items())

    def lay_on(self) -> None:
        """Lay the constant LoRAs, and no others, on the model that is loaded, as the host does before a batch."""
        model = shared.sd_model
        patched = getattr(model, "forge_objects", None) is not None
        if patched:
            model.forge_objects = model.forge_objects_original.shallow_copy()
        self._activate(self.state(()))
        if patched:
            model.forge_objects = model.forge_objects_after_applying_lora.shallow_copy()

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Let the text encoders be changed inside, and make each state of the UNet; afterwards all is as before."""
        model = shared.sd_model
        objects = getattr(model, "forge_objects", None)
        if not self.needed:
            yield
            return
        if objects is not None:
            model.forge_objects = objects.shallow_copy()
        try:
            for tags in self._sets if objects is not None else ():
                self._activate(self.state(tags))
                self._patches[self.state(tags)] = _patches(model.forge_objects_after_applying_lora.unet)
            yield
        finally:
            self._activate(self.state(()))
            if objects is not None:
                model.forge_objects = objects
                load(model)

    def encoders_with(self, tags: Sequence[NetworkTag]) -> None:
        """Make the text encoders those with the constant LoRAs and ``tags``."""
        self._activate(self.state(tags))
        load(shared.sd_model)

    def switch(self, tags: Sequence[NetworkTag]) -> None:
        """Make the UNet that with the constant LoRAs and ``tags``, for the model calls that follow."""
        if not self.needed:
            return
        objects = getattr(shared.sd_model, "forge_objects", None)
        if objects is not None and objects.unet is not self._unet:
            self._unet, self._on = objects.unet, self.state(())
        wanted = self.state(tags)
        if wanted == self._on:
            return
        if objects is None:
            self._activate(wanted)
        else:
            _put_on(objects.unet, self._patches[wanted])
        self._on = wanted

    def end(self) -> None:
        """Leave the model with the constant LoRAs alone."""
        if self.needed and self._on != self.state(()):
            self.switch(())

    def _activate(self, state: State) -> None:
        network = extra_networks.extra_network_registry.get("lora")
        if network is None:
            return
        asked = [_params(*one) for one in state]
        always = getattr(
            shared.opts, "sd_lora", "None"
        )  # the host would add it to the prompts at every activation
        if always not in ("None", "", None) and all(one.items[0] != always for one in asked):
            strength = shared.opts.extra_networks_default_multiplier
            asked.append(extra_networks.ExtraNetworkParams(items=[always, strength]))
        network.activate(self._p, asked)
        self._keep_hashes()

    def _keep_hashes(self) -> None:
        """Keep the hashes of every LoRA of the pass in the infotext; an activation names its own alone."""
        self._hashes |= getattr(self._p, "lora_hashes", None) or {}
        if self._hashes:
            self._p.lora_hashes = dict(self._hashes)
            words = ", ".join(f"{name}: {one}" for name, one in self._hashes.items())
            self._p.extra_generation_params["Lora hashes"] = words


def tags_as_text(tags: Iterable[NetworkTag]) -> str:
    """Return tags as they are typed."""
    written: list[str] = []
    for tag in tags:
        named = (f"{key}={value}" for key, value in tag.named.items())
        written.append(f"<{':'.join((tag.kind, *tag.positional, *named))}>")
    return "".join(written)


def known_networks() -> list[str] | None:
    """Return the LoRAs that the host's extension knows, or None while it is not there."""
    table = sys.modules.get("networks")
    names = getattr(table, "available_network_aliases", None)
    return None if names is None else list(names)


def _read(tag: NetworkTag) -> tuple[str, float, float, str]:
    """Return the name, both strengths and dyn of a tag; raises ``BadValue`` for one that cannot be obeyed."""
    if tag.kind not in KINDS:
        raise BadValue(
            f"<{tag.kind}:…> cannot come and go with an edit; write it outside, or use <lora:name:0.8>"
        )
    name = tag.positional[0] if tag.positional else ""
    _check(name)
    te, unet = strengths_of(tag)
    dyn = tag.named.get("dyn", tag.positional[3] if len(tag.positional) > 3 else "")
    return name, te * tag.share, unet * tag.share, dyn


def _check(name: str) -> None:
    """Raise ``BadValue`` for a LoRA that the host does not have, after another look into its folder."""
    table = sys.modules.get("networks")
    if table is None or name in (known_networks() or ()):
        return
    table.list_available_networks()
    if name not in (known_networks() or ()):
        raise BadValue(
            f"LoRA {name!r} is not in the host's Lora folder and is left out; put its file there, or mend the name"
        )


def _params(name: str, te: float, unet: float, dyn: str) -> Any:
    items = [name, f"te={te!r}", f"unet={unet!r}", *([f"dyn={dyn}"] if dyn else [])]
    return extra_networks.ExtraNetworkParams(items=items)


def _patches(unet: Any) -> Any:
    """Return the LoRAs on a patcher of the UNet: Forge's or reForge's."""
    return dict(unet.lora_patches if hasattr(unet, "lora_patches") else unet.patches)


def _put_on(unet: Any, patches: Any) -> None:
    """Give a patcher that is loaded other LoRAs."""
    if hasattr(unet, "lora_patches"):
        unet.lora_patches = dict(patches)
        unet.refresh_loras()
        return
    room = unet.loaded_size() if unet.model.model_lowvram else 0
    unet.unpatch_model()
    unet.patches = {key: list(one) for key, one in patches.items()}
    unet.patches_uuid = uuid.uuid4()
    unet.patch_model(unet.load_device, lowvram_model_memory=room)
