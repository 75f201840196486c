"""One request in every program: which are asked, and how each of the programs is asked for it."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import os
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from comfy_graphs import DETAILER_WIDGETS, UNIT_WIDGETS, WIDGETS
from comfy_host import Graph, Node
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from sd_concord.core.image import ConcordSettings, DetailerUnit, Generation, Hires, Refiner
from sd_concord.core.sampling import SAMPLERS
from sd_concord.core.sigmas import SCHEDULERS
from torch import Tensor

PROFILES = ("forge", "a1111", "comfyui")
SAMPLER_NAMES = (
    *("euler", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_3m_sde"),
    *("heun", "ipndm", "deis", "lcm", "uni_pc"),
)
SCHEDULES = ("karras", "normal", "sgm_uniform", "exponential", "ays", "beta")
_WORDS = "a red cat on a mat, oil painting"
_NEGATIVE = "blurry, low quality"
PROMPTS: Mapping[str, tuple[str, str]] = {
    "plain": (_WORDS, _NEGATIVE),
    "weights": ("a (red:1.3) cat on a ((mat)), (oil:0.7) painting", "(blurry:1.2), low quality"),
    "BREAK": ("a red cat BREAK on a mat, oil painting", _NEGATIVE),
    "edits": ("a [red:blue:0.5] cat [on a mat::4], [oil:2] painting", "[blurry:bad:3], low quality"),
    "alternation": ("a [red|blue|green] cat on a mat", _NEGATIVE),
    "AND": ("a red cat AND a blue dog on a mat :0.6", _NEGATIVE),
    "200 tokens": (", ".join(["a red cat on a mat, oil painting, soft light"] * 18), _NEGATIVE),
    "empty negative": (_WORDS, ""),
    "LoRA": ("a red cat on a mat <lora:ink:0.6>", _NEGATIVE),
    "embedding": ("a red cat, onepicture, oil painting", _NEGATIVE),
}
SHAPES = ("single", "batch 3", "hires", "img2img", "refiner", "detailer")
WEB_SYNTAX = ("BREAK", "edits", "alternation", "AND")
"""Prompts that ComfyUI's own nodes read as plain words."""
STEPS, SIDE, CFG = 6, 64, 7.0
LACKS: Mapping[str, frozenset[str]] = {
    "forge": frozenset(),
    "a1111": frozenset({"ipndm", "deis", "ays", "beta"}),
    "comfyui": frozenset({"detailer"}),
}
"""What a program has not got by itself: its samplers, schedules and shapes."""
LORA, EMBEDDING, SECOND = "ink", "onepicture", "one-picture-second"
DETECTOR = "one-picture.pt"
SMALL_MODELS = ("mini-sdxl", "mini-sdxl-v", "demo")
"""SDXL and SDXL with v-prediction and zero terminal SNR in small, with random weights, and the embedded model."""
TAKES: Mapping[str, tuple[str, ...]] = {"forge": ("demo",), "a1111": ("demo",), "comfyui": SMALL_MODELS}
"""Which of them a program loads."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A request: the names of a sampler, a schedule, a prompt and a shape."""

    sampler: str
    schedule: str
    prompt: str
    shape: str

    def __str__(self) -> str:
        """Return the request's name in tests and tables."""
        return f"{self.sampler}, {self.schedule}, {self.prompt}, {self.shape}"

    @property
    def seed(self) -> int:
        """The seed, the request's own, of 16 bits."""
        return int.from_bytes(hashlib.sha256(str(self).encode()).digest()[:2], "big")

    @property
    def text(self) -> tuple[str, str]:
        """Both prompts in the web UIs' syntax."""
        return PROMPTS[self.prompt]

    def lacks(self, profile: str) -> str:
        """Return the first thing that the program of ``profile`` has not got for this, or nothing."""
        missing = [
            one for one in (self.sampler, self.schedule, self.prompt, self.shape) if one in LACKS[profile]
        ]
        if profile == "comfyui" and self.schedule == "ays" and self.shape in ("hires", "img2img"):
            missing.append("ays in part of a run")
        return missing[0] if missing else ""


def pairwise(seed: int = 9) -> list[Cell]:
    """Return requests in which every two values of two factors meet, by a greedy search from ``seed``."""
    factors = {"sampler": SAMPLER_NAMES, "schedule": SCHEDULES, "prompt": tuple(PROMPTS), "shape": SHAPES}
    order = random.Random(seed)
    open_pairs = pairs_of(factors)
    cells: list[Cell] = []
    while open_pairs:
        best, most = Cell(**{name: values[0] for name, values in factors.items()}), -1
        for _ in range(60):
            fixed = dict(order.choice(sorted(open_pairs)))
            one = Cell(**{name: fixed.get(name) or order.choice(values) for name, values in factors.items()})
            covered = len(pairs_in(one) & open_pairs)
            if covered > most:
                best, most = one, covered
        cells.append(best)
        open_pairs -= pairs_in(best)
    return cells


Pair = tuple[tuple[str, str], tuple[str, str]]


def pairs_of(factors: Mapping[str, Sequence[str]]) -> set[Pair]:
    """Return all that two factors can be."""
    return {
        ((first, one), (second, other))
        for first, second in itertools.combinations(factors, 2)
        for one in factors[first]
        for other in factors[second]
    }


def pairs_in(cell: Cell) -> set[Pair]:
    """Return the pairs of values that are in a request."""
    return set(itertools.combinations(asdict(cell).items(), 2))


def source() -> NDArray[np.uint8]:
    """Return the picture that image to image begins with, (64, 64, 3)."""
    small = np.random.default_rng(5).integers(0, 256, (8, 8, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def write_networks(loras: Path, embeddings: Path) -> None:
    """Write the LoRA and the embedding that prompts name, for the golden checkpoint."""
    loras.mkdir(parents=True, exist_ok=True)
    embeddings.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(3)
    block = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2"
    shapes = {
        f"{block}_to_q": (320, 320),
        f"{block}_to_v": (320, 768),
        "lora_te_text_model_encoder_layers_5_mlp_fc1": (3072, 768),
    }
    tensors: dict[str, Tensor] = {}
    for name, (out, into) in shapes.items():
        tensors[f"{name}.lora_up.weight"] = 0.2 * torch.randn(out, 4, generator=generator)
        tensors[f"{name}.lora_down.weight"] = torch.randn(4, into, generator=generator) / into**0.5
        tensors[f"{name}.alpha"] = torch.tensor(4.0)
    save_file(tensors, loras / f"{LORA}.safetensors")
    vectors = torch.randn(2, 768, generator=generator)
    save_file({"emb_params": vectors}, embeddings / f"{EMBEDDING}.safetensors")


def second_checkpoint(golden: Path) -> Path:
    """Return a checkpoint beside the golden one whose UNet answers the same text differently."""
    path = golden.with_name(f"{SECOND}.safetensors")
    if not path.is_file():
        tensors = load_file(golden)
        for name, value in tensors.items():
            if name.startswith("model.diffusion_model.") and "attn2.to_v" in name:
                tensors[name] = (-value).contiguous()
        part = path.with_suffix(f".{os.getpid()}.part")
        save_file(tensors, part, metadata={"format": "pt"})
        part.replace(path)
    return path


UNIT: Mapping[str, Any] = {
    "model": DETECTOR,
    "confidence": 0.0,
    "denoising_strength": 0.5,
    "mask_blur": 2,
    "dilate_erode": 4,
    "padding": 16,
    "mask_k": 1,
    "mask_max_ratio": 0.3,
}
_UNIT_WORDS = {"padding": "ad_inpaint_only_masked_padding"}


def record(cell: Cell, profile: str) -> Generation:
    """Return the request as a record under ``profile``."""
    shape = cell.shape
    positive, negative = cell.text
    own = ConcordSettings(profile=profile)
    if profile == "comfyui" and cell.prompt == "LoRA":
        own = replace(own, dialect="a1111")  # whose tags stand for the stock loader
    if profile == "comfyui" and cell.prompt == "embedding":
        positive = positive.replace(EMBEDDING, f"embedding:{EMBEDDING}")
    by_size = Hires(resize=(96, 96), steps=4, upscaler="Latent")
    hires = by_size if profile == "comfyui" else Hires(upscale=1.5, steps=4, upscaler="Latent")
    return Generation(
        prompt=positive,
        negative_prompt=negative,
        steps=STEPS,
        cfg=CFG,
        sampler=cell.sampler,
        scheduler=cell.schedule,
        seed=cell.seed,
        size=(SIDE, SIDE),
        rng=None if profile == "comfyui" else "CPU",
        hires=hires if shape == "hires" else None,
        denoising_strength=0.6 if shape in ("hires", "img2img") else None,
        refiner=Refiner(model=SECOND, switch_at=0.5) if shape == "refiner" else None,
        detailer=(DetailerUnit(**UNIT),) if shape == "detailer" else (),
        concord=own,
    )


def web_request(cell: Cell, kind: str, common: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a request to a web UI of that ``kind``; ``common``: the settings of all of them."""
    positive, negative = cell.text
    label = SAMPLERS["uni_pc_timesteps" if cell.sampler == "uni_pc" else cell.sampler].label
    schedule = "Uniform" if (kind, cell.schedule) == ("a1111", "normal") else SCHEDULERS[cell.schedule].label
    body: dict[str, Any] = {
        "prompt": positive,
        "negative_prompt": negative,
        "steps": STEPS,
        "cfg_scale": CFG,
        "sampler_name": label,
        "scheduler": schedule,
        "seed": cell.seed,
        "width": SIDE,
        "height": SIDE,
        "batch_size": 3 if cell.shape == "batch 3" else 1,
        "override_settings": dict(common),
    }
    if cell.shape == "hires":
        body |= {"enable_hr": True, "hr_scale": 1.5, "hr_second_pass_steps": 4, "denoising_strength": 0.6}
        body |= {"hr_upscaler": "Latent"} | ({"hr_cfg": CFG} if kind == "forge" else {})
    if cell.shape == "img2img":
        file = io.BytesIO()
        Image.fromarray(source()).save(file, "png")
        body |= {
            "init_images": [base64.b64encode(file.getvalue()).decode()],
            "denoising_strength": 0.6,
        }
    if cell.shape == "refiner":
        body |= {"refiner_checkpoint": f"{SECOND}.safetensors", "refiner_switch_at": 0.5}
    if cell.shape == "detailer":
        unit = {_UNIT_WORDS.get(name, f"ad_{name}"): value for name, value in UNIT.items()}
        body |= {"alwayson_scripts": {"Concord Detailer": {"args": [True, False, unit]}}}
    return body


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a program made of a request: pictures, uint8 (H, W, 3), and what it was at, where it lets itself be seen.

    ``noise``: the start noise before it is scaled, ``x0``: what the first model call is given, both (B, 4, h, w);
    ``sigmas``: of the calls, ``timesteps``: as the model is told them; ``cond``, ``uncond``: of the first call,
    (rows, tokens, width).
    """

    pictures: list[NDArray[np.uint8]]
    noise: NDArray[np.float32] | None = None
    x0: NDArray[np.float32] | None = None
    sigmas: NDArray[np.float32] | None = None
    timesteps: NDArray[np.float32] | None = None
    cond: NDArray[np.float32] | None = None
    uncond: NDArray[np.float32] | None = None

    def save(self, path: Path) -> None:
        """Write it to ``path``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {f"picture{i}": one for i, one in enumerate(self.pictures)}
        names = ("noise", "x0", "sigmas", "timesteps", "cond", "uncond")
        more = {name: getattr(self, name) for name in names}
        np.savez(path, **arrays, **{name: value for name, value in more.items() if value is not None})

    @classmethod
    def load(cls, path: Path) -> Seen:
        """Read what `save` wrote."""
        with np.load(path) as file:
            arrays = dict(file)
        names = sorted(name for name in arrays if name.startswith("picture"))
        pictures = [arrays.pop(name) for name in names]
        return cls(pictures=pictures, **arrays)


def kept(profile: str, cell: Cell) -> Path:
    """Return where the picture of a program's own is kept, so that programs can be run one after the other.

    The folder is the one that CONCORD_ONE_PICTURE names, or one in the temporary folder.
    """
    named = os.environ.get("CONCORD_ONE_PICTURE")
    folder = Path(named) if named else Path(tempfile.gettempdir()) / "concord-one-picture"
    request = json.dumps([str(cell), cell.text, STEPS, SIDE, CFG, dict(UNIT)])
    return folder / profile / f"{hashlib.sha256(request.encode()).hexdigest()[:16]}.npz"


def stock_graph(cell: Cell, loader: Node, second: Node | None, graph: Graph) -> None:
    """Add ComfyUI's own nodes for the request to ``graph``; ``loader``, ``second``: (model, clip, vae).

    The probe saves what it begins with: noise, sigmas and conditionings.
    """
    model, clip = loader[0], loader[1]
    positive, negative = record(cell, "comfyui").prompt, cell.text[1]
    if cell.prompt == "LoRA":
        positive = positive.partition(" <lora")[0]
        with_lora = _with_lora(graph, loader)
        model, clip = with_lora[0], with_lora[1]
        second = second and _with_lora(graph, second)
    texts = _texts(graph, clip, positive, negative)
    graph.add("ConcordProbeConditioning", conditioning=texts["positive"], name="one-cond")
    graph.add("ConcordProbeConditioning", conditioning=texts["negative"], name="one-uncond")
    latent = graph.add(
        "EmptyLatentImage", width=SIDE, height=SIDE, batch_size=3 if cell.shape == "batch 3" else 1
    )[0]
    if cell.shape == "img2img":
        pixels = graph.add("LoadImage", image="one-picture.png")
        latent = graph.add("VAEEncode", pixels=pixels[0], vae=loader[2])[0]
    _probe_start(graph, cell, model, latent)
    drawn = _drawn(graph, cell, model, texts, latent, second, positive)
    image = graph.add("VAEDecode", samples=drawn, vae=loader[2])
    graph.add("SaveImage", images=image[0], filename_prefix="test")


def _probe_start(graph: Graph, cell: Cell, model: Any, latent: Any) -> None:
    """Add the node that saves the start noise and the sigmas of the first sampler node."""
    settings = {
        "seed": cell.seed,
        "steps": STEPS,
        "denoise": 0.6 if cell.shape == "img2img" else 1.0,
        "sampler": cell.sampler,
        "scheduler": cell.schedule,
    }
    more = {"sigmas": _ays(graph)} if cell.schedule == "ays" else {}
    given = {"model": model, "latent": latent, "name": "one-start"}
    graph.add("ConcordProbeStart", settings=json.dumps(settings), **given, **more)


def _ays(graph: Graph) -> Any:
    return graph.add("AlignYourStepsScheduler", model_type="SD1", steps=STEPS, denoise=1.0)[0]


def _with_lora(graph: Graph, loaded: Node) -> Node:
    """Add the node that lays the LoRA on a model and its text encoder."""
    strengths = {"strength_model": 0.6, "strength_clip": 0.6}
    file = f"{LORA}.safetensors"
    return graph.add("LoraLoader", model=loaded[0], clip=loaded[1], lora_name=file, **strengths)


def _texts(graph: Graph, clip: Any, positive: str, negative: str) -> dict[str, Any]:
    return {
        name: graph.add("CLIPTextEncode", clip=clip, text=text)[0]
        for name, text in (("positive", positive), ("negative", negative))
    }


def _drawn(
    graph: Graph,
    cell: Cell,
    model: Any,
    texts: dict[str, Any],
    latent: Any,
    second: Node | None,
    positive: str,
) -> Any:
    """Add the samplers; return the clean latent."""
    common = {"cfg": CFG, "sampler_name": cell.sampler, "scheduler": cell.schedule}
    if cell.schedule == "ays":
        return _drawn_ays(graph, cell, model, texts, latent, second, positive)
    if cell.shape == "refiner":
        assert second
        common |= {"noise_seed": cell.seed, "steps": STEPS}
        half = graph.add(
            "KSamplerAdvanced",
            model=model,
            latent_image=latent,
            **texts,
            **common,
            add_noise="enable",
            start_at_step=0,
            end_at_step=STEPS // 2,
            return_with_leftover_noise="enable",
        )
        other = _texts(graph, second[1], positive, cell.text[1])
        return graph.add(
            "KSamplerAdvanced",
            model=second[0],
            latent_image=half[0],
            **other,
            **common,
            add_noise="disable",
            start_at_step=STEPS // 2,
            end_at_step=10000,
            return_with_leftover_noise="disable",
        )[0]
    common |= {"model": model, "seed": cell.seed, **texts}
    denoise = 0.6 if cell.shape == "img2img" else 1.0
    first = graph.add("KSampler", **common, latent_image=latent, steps=STEPS, denoise=denoise)[0]
    if cell.shape != "hires":
        return first
    large = graph.add(
        "LatentUpscale", samples=first, upscale_method="bilinear", width=96, height=96, crop="disabled"
    )
    return graph.add("KSampler", **common, latent_image=large[0], steps=4, denoise=0.6)[0]


def _drawn_ays(
    graph: Graph,
    cell: Cell,
    model: Any,
    texts: dict[str, Any],
    latent: Any,
    second: Node | None,
    positive: str,
) -> Any:
    """Add the nodes of custom sampling, which have the schedule that KSampler has not."""
    sigmas = _ays(graph)
    common = {
        "sampler": graph.add("KSamplerSelect", sampler_name=cell.sampler)[0],
        "cfg": CFG,
        "noise_seed": cell.seed,
    }
    if cell.shape != "refiner":
        given = {**common, **texts, "model": model, "latent_image": latent, "sigmas": sigmas}
        return graph.add("SamplerCustom", **given, add_noise=True)[0]
    assert second
    parts = graph.add("SplitSigmas", sigmas=sigmas, step=STEPS // 2)
    half = graph.add(
        "SamplerCustom",
        **common,
        **texts,
        model=model,
        latent_image=latent,
        sigmas=parts[0],
        add_noise=True,
    )
    other = _texts(graph, second[1], positive, cell.text[1])
    given = {**common, **other, "model": second[0], "latent_image": half[0], "sigmas": parts[1]}
    return graph.add("SamplerCustom", **given, add_noise=False)[0]


def concord_graph(
    cell: Cell, profile: str, loader: Node, second: Node | None, graph: Graph, boxes: Sequence[Any] = ()
) -> None:
    """Add Concord's nodes for the request under ``profile`` to ``graph``; ``boxes``: what a detector finds."""
    wanted = record(cell, profile)
    by_web_ui = profile != "comfyui"
    widgets = WIDGETS | {
        "positive": wanted.prompt,
        "negative": wanted.negative_prompt,
        "profile": profile,
        "seed": cell.seed,
        "steps": STEPS,
        "cfg": CFG,
        "sampler": cell.sampler,
        "scheduler": cell.schedule,
        "width": SIDE,
        "height": SIDE,
        "batch_size": 3 if cell.shape == "batch 3" else 1,
        "noise": "CPU" if by_web_ui else "as the profile",
        "dialect": "a1111" if wanted.concord and wanted.concord.dialect else "as the profile",
    }
    more: dict[str, Any] = {}
    if cell.shape == "img2img":
        pixels = graph.add("LoadImage", image="one-picture.png")
        more["latent"] = graph.add("VAEEncode", pixels=pixels[0], vae=loader[2])[0]
        widgets["denoise"] = 0.6
    if cell.shape == "refiner":
        assert second
        given = {"aesthetic_score": 6.0, "negative_aesthetic_score": 2.5, "counted_in": "as the profile"}
        refiner = graph.add("ConcordRefiner", model=second[0], clip=second[1], switch_at=0.5, **given)
        more["refiner"] = refiner[0]
    parts = {"model": loader[0], "clip": loader[1], "vae": loader[2]}
    node = graph.add("ConcordSampler", **parts, **widgets, **more)
    picture = node[2]
    if cell.shape == "hires":
        sized = {"upscale": 1.5, "width": 0, "height": 0} if by_web_ui else {"width": 96, "height": 96}
        given = {"upscaler": "Latent", "upscale": 1.5, "steps": 4, "denoise": 0.6, "cfg": 0.0, **sized}
        same = {"sampler": "as the first pass", "scheduler": "as the first pass"}
        texts = {"positive": "", "negative": ""}
        picture = graph.add(
            "ConcordHires", **parts, latent=node[0], record=node[1], **given, **same, **texts
        )[2]
    if cell.shape == "detailer":
        picture = _detailed(graph, widgets, {**parts, "images": picture, "record": node[1]}, boxes)
    graph.add("SaveImage", images=picture, filename_prefix="test")


def _detailed(
    graph: Graph, widgets: Mapping[str, Any], given: Mapping[str, Any], boxes: Sequence[Any]
) -> Any:
    """Add Concord's detailer; ``given``: the model's parts, the pictures and their record."""
    own = {name: value for name, value in UNIT.items() if name in UNIT_WIDGETS}
    told = graph.add("ConcordProbeBoxes", boxes=json.dumps(boxes))
    sized = {"inpaint_width": 0, "inpaint_height": 0}
    unit = graph.add("ConcordDetailerUnit", detector=told[0], **{**UNIT_WIDGETS, **own, **sized})
    run = {name: widgets.get(name, value) for name, value in DETAILER_WIDGETS.items()}
    return graph.add("ConcordDetailer", **given, units=unit[0], **run)[0]


def far(found: Sequence[NDArray[np.uint8]], wanted: Sequence[NDArray[np.uint8]]) -> tuple[int, float]:
    """Return by how many levels pictures differ at most, and the least share of equal values in one of them."""
    assert len(found) == len(wanted), f"{len(found)} pictures for {len(wanted)}"
    gaps = [np.abs(one.astype(int) - other) for one, other in zip(found, wanted, strict=True)]
    return max(int(gap.max()) for gap in gaps), min(float((gap == 0).mean()) for gap in gaps)
