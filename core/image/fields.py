"""The dict that a web UI makes of an infotext when it is pasted."""

from __future__ import annotations

import logging
import math
import re
from typing import Any, Literal, get_args

from ..errors import unknown
from ..prompt import parse_weights
from .pairs import host_pairs, split_text, unquote
from .versions import version_key

Host = Literal["a1111", "forge", "reforge"]
Fields = dict[str, Any]

_log = logging.getLogger(__name__)
_SAME_CHOICES = "Use same choices"
_SIZE = re.compile(r"(\d+)x(\d+)$")
_WEIGHT = re.compile(r":\s*([+-]?[.\d]+)\s*\)")

_DEFAULTS: Fields = {
    "Clip skip": "1",
    "Hires sampler": "Use same sampler",
    "Hires schedule type": "Use same scheduler",
    "Hires checkpoint": "Use same checkpoint",
    "Hires prompt": "",
    "Hires negative prompt": "",
    "Mask mode": "Inpaint masked",
    "Masked content": "original",
    "Inpaint area": "Whole picture",
    "Masked area padding": 32,
    "RNG": "GPU",
    "Schedule type": "Automatic",
    "Schedule max sigma": 0,
    "Schedule min sigma": 0,
    "Schedule rho": 0,
    "VAE Encoder": "Full",
    "VAE Decoder": "Full",
    "FP8 weight": "Disable",
    "Refiner switch by sampling steps": False,
}
_HIRES_RESIZE: Fields = {"Hires resize-1": 0, "Hires resize-2": 0}


def infotext_fields(text: str, host: Host = "a1111", checkpoint: str = "") -> Fields:
    """Return the dict that ``host`` makes of ``text``, with the defaults that it fills in.

    Values of the text stay text; ``WxH`` becomes ``<key>-1`` and ``<key>-2``; defaults are numbers or
    booleans where the host has them so.  ``checkpoint``: title of the one that a Forge has loaded; it leaves
    ``Model`` out when that is part of it.  Where a host raises (a malformed number in the prompt) the reading
    goes on.  Never raises but for an unknown ``host``.

    Source: A1111 1.9.4, Forge f2.0.1, reForge (as A1111); tests/golden/infotext/parse.jsonl.gz.
    """
    if host not in get_args(Host):
        raise unknown("host", host, get_args(Host))
    forge = host == "forge"
    prompt, negative, line = split_text(text)
    if forge:
        line = _flux_line(line)
        prompt, negative = _without_comments(prompt), _without_comments(negative)
    fields = _written(line)
    if forge:
        _name_modules(fields, checkpoint)
    fields |= {"Prompt": prompt, "Negative prompt": negative}
    if "Hypernet" in fields:
        fields["Prompt"] += f"<hypernet:{fields['Hypernet']}:{fields.get('Hypernet strength', '1.0')}>"
    if "Hires resize-1" not in fields:
        fields |= _HIRES_RESIZE
    fields |= {key: value for key, value in _DEFAULTS.items() if key not in fields}
    _restore_first_pass(fields)
    if fields["FP8 weight"] != "Disable":
        fields.setdefault("Cache FP16 weight for LoRA", False)
    if "Emphasis" not in fields and (_is_emphasised(prompt) or _is_emphasised(negative)):
        fields["Emphasis"] = "Original"
    _restore_old_behaviour(fields)
    return fields


def _written(line: str) -> Fields:
    """Return the values that a line of settings holds; an empty one is lost, as in the hosts."""
    fields: Fields = {}
    for key, raw in host_pairs(line):
        if not raw:
            _log.info("the value of %r is empty; the web UIs leave the key out", key)
            continue
        value = unquote(raw)
        size = _SIZE.match(value)
        if size:
            fields[f"{key}-1"], fields[f"{key}-2"] = size.groups()
        else:
            fields[key] = value
    return fields


def _is_emphasised(prompt: str) -> bool:
    """Tell whether a weight in ``prompt`` is not 1; warns of weights that make the hosts fail."""
    for number in _WEIGHT.findall(prompt):
        try:
            float(number)
        except ValueError:
            _log.warning("the weight %r in the prompt is no number; the web UIs fail on it", number)
    return any(weight != 1.0 and text != "BREAK" for text, weight in parse_weights(prompt))


def _restore_first_pass(fields: Fields) -> None:
    """Turn the old ``First pass size`` round: it is the size, and what was the size is the hires target.

    0 stands for the largest multiples of 64 that 512² pixels ask for.
    """
    first = [_number(fields.get(f"First pass size-{i}")) for i in (1, 2)]
    if None in first:
        return
    size = [_number(fields.get(f"Size-{i}", 512)) or 0 for i in (1, 2)]
    if 0 in first and 0 not in size:
        scale = math.sqrt(512 * 512 / (size[0] * size[1]))
        first = [math.ceil(scale * side / 64) * 64 for side in size]
    for i in (1, 2):
        fields[f"Size-{i}"], fields[f"Hires resize-{i}"] = first[i - 1], size[i - 1]


def _number(text: object) -> int | None:
    """Return a length in pixels; None when it is missing, or no length that a picture can have."""
    digits = str(text)
    return int(digits) if digits.isdecimal() and len(digits) < 10 else None


def _restore_old_behaviour(fields: Fields) -> None:
    """Switch on what the versions of A1111 before 1.6, 1.7 and 1.8 did otherwise."""
    version = version_key(str(fields.get("Version", "")))
    if version is None:
        return

    def before(text: str) -> bool:
        limit = version_key(text)
        return limit is not None and version < limit

    if before("1.6.0") and "[" in fields["Prompt"]:
        fields["Old prompt editing timelines"] = True
    if before("1.6.0") and fields.get("Sampler") in ("DDIM", "PLMS"):
        fields["Pad conds v0"] = True
    if before("1.7.0-225"):
        fields["Downcast alphas_cumprod"] = True
    if before("1.8.0") and fields.get("Refiner"):
        fields["Refiner switch by sampling steps"] = True


def _flux_line(line: str) -> str:
    """Rewrite civitai's line of a FLUX picture as Forge does: its guidance is the distilled one."""
    if "Civitai" not in line or "FLUX" not in line:
        return line
    line = line.replace("Sampler: Undefined, ", "Sampler: Euler, Schedule type: Simple, ")
    line = re.sub(r"Clip skip: [0-8], ", "", line)
    return re.sub(r"CFG scale: ([0-9.]+),", r"CFG scale: 1, Distilled CFG Scale: \1,", line)


def _without_comments(prompt: str) -> str:
    """Drop what follows ``#`` on each line; of a whole-line comment the line end before it goes too."""
    prompt = re.sub(r"(^|\n)#[^\n]*(\n|$)", "\n", prompt)
    return re.sub(r"#[^\n]*(\n|$)", "\n", prompt)


def _name_modules(fields: Fields, checkpoint: str) -> None:
    """Gather VAE and text encoders as Forge does, and leave out the model that is loaded.

    For the hires pass Forge drops the modules that it has no file of; this is a Forge without files.
    """
    modules = [value for key, value in fields.items() if key.startswith("Module ")]
    if "VAE" in fields:
        modules = [fields.pop("VAE")]
    if modules:
        fields["VAE/TE"] = modules
    same = fields.get("Hires Module 1", _SAME_CHOICES) == _SAME_CHOICES
    fields["Hires VAE/TE"] = [_SAME_CHOICES] if same else []
    if fields.get("Model", "\0") in checkpoint:
        del fields["Model"]
