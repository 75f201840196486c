"""The example workflows: what is in each, from which its file in ``example_workflows/`` is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sd_concord.comfy_nodes.litegraph import Node, litegraph

SD15 = "v1-5-pruned-emaonly.safetensors"
SDXL = "sd_xl_base_1.0.safetensors"
SDXL_REFINER = "sd_xl_refiner_1.0.safetensors"
V_PREDICTION = "noobaiXLNAIXL_vPred10Version.safetensors"
JUGGERNAUT = "Juggernaut-XL_v9_RunDiffusionPhoto_v2.safetensors"
A, B, C, D, E = 0, 400, 860, 1320, 1780
"""Columns of the page, in pixels."""
CLEAN = "lowres, bad anatomy, bad hands, (worst quality, low quality:1.3), jpeg artifacts"
PORTRAIT = "portrait of a (red-haired:1.2) woman in a rainy street at night, neon signs, [film grain:sharp focus:0.6]"
Made = tuple[list[Node], str]


def _stock(
    required: dict[str, tuple[Any, dict[str, Any]]], outputs: str, optional: dict[str, Any] | None = None
) -> type:
    inputs = {"required": required, "optional": optional or {}}
    of = {"INPUT_TYPES": classmethod(lambda cls: inputs), "RETURN_TYPES": tuple(outputs.split())}
    return type("Stock", (), of)


def _wires(text: str) -> dict[str, tuple[Any, dict[str, Any]]]:
    return {name: (kind, {}) for name, kind in (one.split(":") for one in text.split())}


_RUN = _wires("steps:INT cfg:FLOAT sampler_name:COMBO scheduler:COMBO")
_PROMPTS = _wires("positive:CONDITIONING negative:CONDITIONING")
STOCK: Mapping[str, type] = {
    "CheckpointLoaderSimple": _stock(_wires("ckpt_name:COMBO"), "MODEL CLIP VAE"),
    "EmptyLatentImage": _stock(_wires("width:INT height:INT batch_size:INT"), "LATENT"),
    "ImageBatch": _stock(_wires("image1:IMAGE image2:IMAGE"), "IMAGE"),
    "KSampler": _stock(
        _wires("model:MODEL seed:INT")
        | _RUN
        | _PROMPTS
        | _wires("latent_image:LATENT")
        | {"denoise": ("FLOAT", {"default": 1.0})},
        "LATENT",
    ),
    "ModelSamplingDiscrete": _stock(_wires("model:MODEL sampling:COMBO zsnr:BOOLEAN"), "MODEL"),
    "PreviewAny": _stock(_wires("source:*"), ""),
    "PreviewImage": _stock(_wires("images:IMAGE"), ""),
    "SamplerCustom": _stock(
        _wires("model:MODEL add_noise:BOOLEAN noise_seed:INT cfg:FLOAT")
        | _PROMPTS
        | _wires("sampler:SAMPLER sigmas:SIGMAS latent_image:LATENT"),
        "LATENT LATENT",
    ),
    "VAEDecode": _stock(_wires("samples:LATENT vae:VAE"), "IMAGE"),
}
"""What the workflows use of ComfyUI's own nodes."""


def loader(name: str, y: int = 0) -> Node:
    """Return a loader of a checkpoint."""
    return Node("CheckpointLoaderSimple", (A, y), (340, 100), {"ckpt_name": name})


def wired(one: Node) -> dict[str, Any]:
    """Return a loader's outputs as inputs."""
    return {name: one.output(name.upper()) for name in ("model", "clip", "vae")}


def saved(images: Node, x: int, record: Node | None = None, y: int = 0) -> Node:
    """Return Concord Save Image behind a node with an IMAGE."""
    more = {} if record is None else {"record": record.output("record")}
    return Node("ConcordSaveImage", (x, y), (420, 460), {"images": images.output("IMAGE"), **more})


def encoded(clip: Any, text: Any, y: int, *, negative: bool = False) -> Node:
    """Return Concord Text Encode."""
    given = {"clip": clip, "text": text, "negative": negative}
    return Node("ConcordTextEncode", (B, y), (420, 560), given)


def empty(width: int, height: int, y: int) -> Node:
    """Return an empty latent."""
    return Node("EmptyLatentImage", (A, y), (340, 120), {"width": width, "height": height, "batch_size": 1})


def as_a1111() -> Made:
    """Return text to image with A1111's settings."""
    model = loader(SD15)
    settings = {"profile": "a1111", "seed": 1234, "steps": 28, "cfg": 7.0, "width": 512, "height": 768}
    prompts = {"positive": PORTRAIT, "negative": CLEAN}
    names = {"sampler": "dpmpp_2m", "scheduler": "karras", "clip_skip": 2}
    run = Node("ConcordSampler", (B, 0), (420, 1040), wired(model) | prompts | settings | names)
    note = (
        "**The picture of A1111**, value for value: its noise, its prompt, its steps. Copy your settings from the web "
        "UI into Concord Sampler; *profile* names the program. The saved file reads as A1111's own in its PNG Info."
    )
    return [model, run, saved(run, C, run)], note


def align_your_steps() -> Made:
    """Return a good picture in twelve steps."""
    model = loader(SD15)
    positive = encoded(model.output("CLIP"), PORTRAIT, 0)
    negative = encoded(model.output("CLIP"), CLEAN, 620, negative=True)
    schedule = {"model": model.output("MODEL"), "scheduler": "align_your_steps_sd1", "steps": 12}
    ays = Node("ConcordScheduler", (C, 0), (400, 240), schedule)
    karras = Node("ConcordScheduler", (C, 620), (400, 240), schedule | {"scheduler": "karras"})
    more = Node(
        "ConcordSigmaMultiply",
        (C, 300),
        (400, 140),
        {"sigmas": ays.output("SIGMAS"), "factor": 0.98, "start": 0.3, "end": 0.9},
    )
    how = Node("ConcordSamplerOptions", (C, 490), (400, 90), {"sampler": "dpmpp_2m"})
    latent = empty(512, 768, 160)
    run = Node(
        "SamplerCustom",
        (D, 0),
        (400, 300),
        {
            "model": model.output("MODEL"),
            "add_noise": True,
            "noise_seed": 1234,
            "cfg": 6.0,
            "positive": positive.output("CONDITIONING"),
            "negative": negative.output("CONDITIONING"),
            "sampler": how.output("SAMPLER"),
            "sigmas": more.output("SIGMAS"),
            "latent_image": latent.output("LATENT"),
        },
    )
    decoded = Node(
        "VAEDecode", (D, 350), (220, 60), {"samples": run.output("LATENT"), "vae": model.output("VAE")}
    )
    drawn = {
        "sigmas": more.output("SIGMAS"),
        "sigmas_b": karras.output("SIGMAS"),
        "model": model.output("MODEL"),
    }
    plot = Node("ConcordPlotSigmas", (D, 620), (400, 420), drawn)
    note = (
        "**Align Your Steps in 12 steps.** A table of noise levels that is good where others need twenty. Concord "
        "Sigma Multiply takes 2% off the middle, which the model turns into detail; set it to 1 for the table as it "
        "is. The plot sets it beside Karras. For SDXL choose `align_your_steps`."
    )
    nodes = [model, latent, positive, negative, ays, karras, more, how, run, decoded, plot, saved(decoded, E)]
    return nodes, note


def two_characters() -> Made:
    """Return two characters, parted by BREAK, in the stock KSampler."""
    text = (
        "two friends on a park bench, full body, sunny day BREAK left: a woman with (short white hair:1.1), blue coat "
        "BREAK right: a man with (black curls:1.1), [red:green:0.4] jumper"
    )
    model, latent = loader(SD15), empty(768, 512, 160)
    positive = encoded(model.output("CLIP"), text, 0)
    negative = encoded(model.output("CLIP"), CLEAN, 620, negative=True)
    run = Node(
        "KSampler",
        (C, 0),
        (400, 280),
        {
            "model": model.output("MODEL"),
            "seed": 7,
            "steps": 24,
            "cfg": 7.0,
            "sampler_name": "euler_ancestral",
            "scheduler": "karras",
            "positive": positive.output("CONDITIONING"),
            "negative": negative.output("CONDITIONING"),
            "latent_image": latent.output("LATENT"),
        },
    )
    decoded = Node(
        "VAEDecode", (C, 330), (220, 60), {"samples": run.output("LATENT"), "vae": model.output("VAE")}
    )
    told = Node(
        "ConcordExplain", (C, 460), (400, 460), {"text": text, "steps": 24, "sampler": "euler_ancestral"}
    )
    note = (
        "**BREAK keeps two characters apart**: each gets 75 tokens of its own, so that colours do not run from one to "
        "the other. The sampler is ComfyUI's own KSampler: weights, BREAK and edits travel in the CONDITIONING. "
        "Concord Explain shows the chunks, and what `[red:green:0.4]` does at which step."
    )
    return [model, latent, positive, negative, run, decoded, told, saved(decoded, D)], note


def hires_and_detailer() -> Made:
    """Return a hires pass, and faces drawn anew."""
    model = loader(SD15)
    prompts = {"positive": PORTRAIT, "negative": CLEAN}
    run = {"seed": 42, "steps": 24, "cfg": 7.0, "sampler": "dpmpp_2m", "scheduler": "karras"}
    first = Node(
        "ConcordSampler", (B, 0), (420, 1040), wired(model) | prompts | run | {"width": 512, "height": 768}
    )
    larger = {"upscaler": "Latent", "upscale": 1.5, "steps": 14, "denoise": 0.55}
    passed = {"latent": first.output("LATENT"), "record": first.output("record")}
    second = Node("ConcordHires", (C, 0), (420, 760), wired(model) | passed | larger)
    found = Node("ConcordDetectorLoader", (A, 160), (340, 130), {"detector": "face", "confidence": 0.3})
    unit = Node("ConcordDetailerUnit", (D, 0), (420, 1040), {"detector": found.output("detector")})
    seen = {
        "images": second.output("IMAGE"),
        "detector": found.output("detector"),
        "units": unit.output("units"),
    }
    shown = Node("ConcordDetect", (C, 820), (420, 140), seen)
    preview = Node("PreviewImage", (C, 1010), (420, 300), {"images": shown.output("preview")})
    given = {
        "images": second.output("IMAGE"),
        "units": unit.output("units"),
        "record": second.output("record"),
    }
    detailed = Node("ConcordDetailer", (E, 0), (420, 760), wired(model) | given | prompts | run)
    note = (
        "**Hires fix and ADetailer.** Concord Hires enlarges what Concord Sampler made and draws over it; Concord "
        "Detailer finds faces and draws each anew at 512 x 512. Concord Detect shows which. For hands or another "
        "detector put a YOLO file into `models/ultralytics` and chain a second unit through *before*."
    )
    nodes = [model, found, first, second, unit, shown, preview, detailed]
    return [*nodes, saved(detailed, E + 460, detailed)], note


def base_and_refiner() -> Made:
    """Return SDXL with its refiner."""
    base, other = loader(SDXL), loader(SDXL_REFINER, 160)
    taken = {"model": other.output("MODEL"), "clip": other.output("CLIP"), "switch_at": 0.8}
    refiner = Node("ConcordRefiner", (A, 320), (340, 180), taken)
    settings = {"profile": "a1111", "seed": 5, "steps": 30, "cfg": 6.0, "width": 1024, "height": 1024}
    prompts = {
        "positive": "a lighthouse in a storm, oil painting, thick strokes",
        "negative": "blurry, watermark",
    }
    names = {"sampler": "dpmpp_2m", "scheduler": "karras", "refiner": refiner.output("refiner")}
    run = Node("ConcordSampler", (B, 0), (420, 1040), wired(base) | prompts | settings | names)
    note = (
        "**SDXL and its refiner in one run**: the refiner takes over at 0.8 of it, within the same sampler, so that "
        "multistep samplers keep what they know. The saved picture records it as A1111 does (`Refiner switch at`)."
    )
    return [base, other, refiner, run, saved(run, C, run)], note


def v_prediction() -> Made:
    """Return a v-prediction model with zero terminal SNR."""
    model = loader(V_PREDICTION)
    told = {"model": model.output("MODEL"), "sampling": "v_prediction", "zsnr": True}
    marked = Node("ModelSamplingDiscrete", (A, 160), (340, 90), told)
    settings = {"profile": "forge", "seed": 99, "steps": 28, "cfg": 5.0, "width": 832, "height": 1216}
    prompts = {
        "positive": "masterpiece, best quality, 1girl, standing in a dark forest, lantern, very dark, deep blacks",
        "negative": "worst quality, low quality, signature",
    }
    names = {"sampler": "euler", "scheduler": "sgm_uniform", "cfg_rescale": 0.5}
    wires = wired(model) | {"model": marked.output("MODEL")}
    run = Node("ConcordSampler", (B, 0), (420, 1040), wires | prompts | settings | names)
    note = (
        "**A v-prediction model with zero terminal SNR**: real blacks and whites. *cfg_rescale* keeps colours from "
        "burning. Files that say themselves what they are need no ModelSamplingDiscrete; it does no harm."
    )
    return [model, marked, run, saved(run, C, run)], note


def lcm_draft() -> Made:
    """Return a draft in six steps through an LCM-LoRA."""
    model, latent = loader(SD15), empty(512, 512, 160)
    text = "a fox in the snow, morning light, photo <lora:lcm-lora-sdv1-5:1>"
    wires = {"model": model.output("MODEL"), "clip": model.output("CLIP")}
    lora = Node("ConcordLoraPrompt", (A, 330), (340, 240), wires | {"text": text})
    positive = encoded(lora.output("CLIP"), lora.output("text"), 0)
    negative = encoded(lora.output("CLIP"), "", 620, negative=True)
    run = Node(
        "KSampler",
        (C, 0),
        (400, 280),
        {
            "model": lora.output("MODEL"),
            "seed": 3,
            "steps": 6,
            "cfg": 1.5,
            "sampler_name": "lcm",
            "scheduler": "sgm_uniform",
            "positive": positive.output("CONDITIONING"),
            "negative": negative.output("CONDITIONING"),
            "latent_image": latent.output("LATENT"),
        },
    )
    decoded = Node(
        "VAEDecode", (C, 330), (220, 60), {"samples": run.output("LATENT"), "vae": model.output("VAE")}
    )
    note = (
        "**A draft in six steps.** Put an LCM-LoRA into `models/loras`; the tag in the prompt applies it. Once the "
        "draft is right, take the tag out, and set 25 steps, CFG 7 and `dpmpp_2m`."
    )
    return [model, latent, lora, positive, negative, run, decoded, saved(decoded, D)], note


def settings_from_a_picture() -> Made:
    """Return a picture's settings, used again."""
    model = loader(SD15)
    read = Node("ConcordLoadImageSettings", (A, 160), (340, 560), {"image": "picture.png"})
    wires = wired(model) | {"record": read.output("record")}
    run = Node("ConcordSampler", (B, 0), (420, 1040), wires)
    before = Node("PreviewImage", (C, 520), (420, 420), {"images": read.output("IMAGE")})
    note = (
        "**Any picture again.** Choose one that A1111, Forge, ComfyUI, NovelAI or civitai made: its settings count in "
        "place of Concord Sampler's widgets. Load the checkpoint that it names. Its prompt, seed, size and so on are "
        "outputs too, for stock nodes. *record_seed* off: the same settings with the widget's seed."
    )
    return [model, read, run, before, saved(run, C, run)], note


def reproduce_from_a_picture() -> Made:
    """Return a picture drawn again, and compared with what it was."""
    model = loader(SD15)
    read = Node("ConcordLoadImageSettings", (A, 160), (340, 560), {"image": "picture.png"})
    wires = wired(model) | {"record": read.output("record")}
    run = Node("ConcordSampler", (B, 0), (420, 1040), wires)
    compared = {
        "drawn": run.output("IMAGE"),
        "recorded": read.output("IMAGE"),
        "record": run.output("record"),
    }
    same = Node("ConcordSamePicture", (C, 520), (420, 160), compared)
    before = Node("PreviewImage", (C, 740), (420, 420), {"images": read.output("IMAGE")})
    note = (
        "**The picture of another program, value for value.** Choose a file that A1111, Forge or ComfyUI saved, and "
        "the checkpoint that it names: it is drawn as that program draws, and Concord Same Picture says whether it "
        "is the same. A picture of ComfyUI's batch is drawn with the whole batch."
    )
    return [model, read, run, same, before, saved(run, C, run)], note


def recipe_of_a_card() -> Made:
    """Return the settings of a model's card, its hires pass, and what disagrees with it."""
    model = loader(JUGGERNAUT)
    prompts = {
        "positive": "portrait of an old fisherman, harbour at dawn, 85mm",
        "negative": "blurry, watermark",
    }
    asked = {"recipe": "juggernaut-xl-v9", "own": "cfg=4.5", "model": model.output("MODEL")}
    recipe = Node("ConcordRecipe", (A, 160), (340, 460), prompts | asked)
    told = Node("PreviewAny", (A, 670), (340, 200), {"source": recipe.output("warnings")})
    record = recipe.output("record")
    run = Node("ConcordSampler", (B, 0), (420, 1040), wired(model) | {"seed": 1234, "record": record})
    passed = {"latent": run.output("LATENT"), "record": run.output("record"), "settings": record}
    hires = Node("ConcordHires", (C, 0), (420, 760), wired(model) | passed)
    note = (
        "**What the model's card says.** Concord Recipe fills in sampler, steps, size, CFG and the hires pass of a "
        "published card; what you write under *own* comes first. Below it stands which line of which card your "
        "settings, prompt or model disagree with: nothing, when all is well. Files that are missing are named too."
    )
    return [model, recipe, told, run, hires, saved(hires, D, hires)], note


def grid_and_gallery() -> Made:
    """Return two schedules by four seeds, as one picture with labels and as a gallery."""
    model = loader(SD15)
    prompts = {"positive": PORTRAIT, "negative": CLEAN}
    how = {
        "seed": 1234,
        "steps": 12,
        "cfg": 6.0,
        "width": 512,
        "height": 768,
        "batch_size": 4,
        "sampler": "dpmpp_2m",
    }
    names = ("karras", "align_your_steps_sd1")
    first, second = (
        Node(
            "ConcordSampler",
            (B + i * 460, 0),
            (420, 1040),
            wired(model) | prompts | how | {"scheduler": name},
        )
        for i, name in enumerate(names)
    )
    both = Node(
        "ImageBatch", (D, 0), (220, 60), {"image1": first.output("IMAGE"), "image2": second.output("IMAGE")}
    )
    labels = {"x_labels": "1234\n1235\n1236\n1237", "y_labels": "Karras\nAlign Your Steps"}
    axes = {"x_name": "seed", "y_name": "schedule", "cell_size": 512, "gallery": "Concord/grids/%date%"}
    grid = Node("ConcordGrid", (D, 110), (420, 480), {"images": both.output("IMAGE")} | labels | axes)
    where = Node("PreviewAny", (D, 640), (420, 120), {"source": grid.output("page")})
    note = (
        "**Pictures side by side**: Concord Grid lays a batch, or a list of batches, row by row below its labels. The "
        "gallery is a folder below ComfyUI's output; open its page from the disk: filter, zoom, lay a slider "
        "between two pictures. Wire a record for their settings, one of a batch or one for each."
    )
    return [model, first, second, both, grid, where, saved(first, E, first)], note


EXAMPLES: Mapping[str, Callable[[], Made]] = {
    "1-text-to-image-as-a1111": as_a1111,
    "2-align-your-steps-in-12": align_your_steps,
    "3-two-characters-with-break": two_characters,
    "4-hires-and-detailer": hires_and_detailer,
    "5-base-and-refiner": base_and_refiner,
    "6-v-prediction": v_prediction,
    "7-lcm-draft": lcm_draft,
    "8-settings-from-a-picture": settings_from_a_picture,
    "9-reproduce-from-a-picture": reproduce_from_a_picture,
    "10-recipe-of-a-model-card": recipe_of_a_card,
    "11-grid-and-gallery": grid_and_gallery,
}
"""The workflows by the names of their files."""


def written(made: Made, classes: Mapping[str, Any]) -> str:
    """Return the file of a workflow; ``classes``: node classes by id."""
    nodes, note = made
    workflow, unknown = litegraph(nodes, classes)
    assert not unknown, unknown
    workflow["nodes"].append(_note(len(nodes) + 1, note, nodes))
    workflow["last_node_id"] += 1
    # the widget that a wire comes into holds nothing of its own
    return json.dumps(workflow, indent=1, ensure_ascii=False) + "\n"


def _note(number: int, text: str, nodes: Sequence[Node]) -> dict[str, Any]:
    """Return a note at the top left, above the nodes."""
    top = min(node.place[1] for node in nodes)
    return {
        "id": number,
        "type": "MarkdownNote",
        "pos": [A, top - 200],
        "size": [860, 140],
        "flags": {},
        "order": number - 1,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "properties": {},
        "widgets_values": [text],
        "title": "What this does",
    }
