"""Infotexts as workflows: which nodes, what their widgets hold, where wires run, and what is said of the rest."""

import pytest
from sd_concord.comfy_nodes.litegraph import Node, litegraph
from sd_concord.comfy_nodes.workflow import opened
from sd_concord.core.errors import BadValue

SIZES = {"width": ("INT", {"default": 0}), "height": ("INT", {"default": 0})}
PROMPTS = {"positive": ("STRING", {"multiline": True}), "negative": ("STRING", {"multiline": True})}
WIRED = {"model": ("MODEL",), "clip": ("CLIP",)}


def node(required, returns, names=None, optional=None):
    inputs = {"required": required, "optional": optional or {}, "hidden": {"prompt": "PROMPT"}}
    of = {"INPUT_TYPES": classmethod(lambda cls: inputs), "RETURN_TYPES": returns, "RETURN_NAMES": names}
    return type("Stub", (), of)


PASS = ("LATENT", "CONCORD_RECORD", "IMAGE"), ("LATENT", "record", "IMAGE")
NODES = {
    "CheckpointLoaderSimple": node(
        {"ckpt_name": (["sub/Model.safetensors", "other.ckpt"], {})}, ("MODEL", "CLIP", "VAE")
    ),
    "ConcordSampler": node(
        {
            **WIRED,
            **PROMPTS,
            "seed": ("INT", {"default": 0, "control_after_generate": True}),
            "steps": ("INT", {"default": 20}),
            "sampler": ("COMBO", {"options": ["euler", "dpmpp_2m", "dpmpp_sde"]}),
            "scheduler": ("COMBO", {"options": ["automatic", "karras", "normal"]}),
            "profile": ("COMBO", {"options": ["a1111", "forge"]}),
            **SIZES,
            "denoise": ("FLOAT", {"default": 0.75}),
            "noise": ("COMBO", {"options": ["as the profile", "CPU", "graphics card"]}),
            "options": ("STRING", {"default": ""}),
        },
        *PASS,
        {"vae": ("VAE",), "refiner": ("CONCORD_REFINER",)},
    ),
    "ConcordHires": node(
        {
            **WIRED,
            "latent": ("LATENT",),
            "record": ("CONCORD_RECORD",),
            "upscaler": (["Latent"], {}),
            "upscale": ("FLOAT", {"default": 2.0}),
            **SIZES,
            "denoise": ("FLOAT", {"default": 0.7}),
            "sampler": (["as the first pass", "euler"], {}),
        },
        *PASS,
        {"vae": ("VAE",), "refiner": ("CONCORD_REFINER",)},
    ),
    "ConcordRefiner": node(
        {**WIRED, "switch_at": ("FLOAT", {"default": 0.8})}, ("CONCORD_REFINER",), ("refiner",)
    ),
    "ConcordDetectorLoader": node(
        {"detector": (["face", "bbox/Face_yolo.pt"], {}), "confidence": ("FLOAT", {"default": 0.3})},
        ("CONCORD_DETECTOR",),
        ("detector",),
    ),
    "ConcordDetailerUnit": node(
        {
            "detector": ("CONCORD_DETECTOR",),
            "prompt": ("STRING", {}),
            "denoising_strength": ("FLOAT", {"default": 0.4}),
            "sampler": (["as the picture", "euler"], {}),
        },
        ("CONCORD_DETAILER_UNITS",),
        ("units",),
        {"before": ("CONCORD_DETAILER_UNITS",), **WIRED},
    ),
    "ConcordDetailer": node(
        {"images": ("IMAGE",), **WIRED, "vae": ("VAE",), "units": ("CONCORD_DETAILER_UNITS",)},
        ("IMAGE", "CONCORD_RECORD"),
        ("IMAGE", "record"),
        {"record": ("CONCORD_RECORD",)},
    ),
    "ConcordSaveImage": node(
        {"images": ("IMAGE",)}, ("STRING",), ("infotext",), {"record": ("CONCORD_RECORD",)}
    ),
}
TEXT = (
    "a (cat:1.2)\nNegative prompt: dog\nSteps: 12, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 5, "
)
BASE = TEXT + "Seed: 7, Size: 64x128, Model: model"


def workflow(more="", text=BASE):
    found = opened(text + more, NODES, ["other.ckpt", "sub/Model.safetensors"])
    return found["workflow"], found["notes"]


def values(flow, kind):
    """Return the widgets of the first node of a kind, by name."""
    [one, *_] = [one for one in flow["nodes"] if one["type"] == kind]
    names = [entry["name"] for entry in one["inputs"] if "widget" in entry]
    if "seed" in names:
        names.insert(names.index("seed") + 1, "control")
    return dict(zip(names, one["widgets_values"], strict=True))


def wires(flow):
    kinds = {one["id"]: one for one in flow["nodes"]}
    return {
        (kinds[a]["type"], kinds[a]["outputs"][i]["name"], kinds[b]["type"], kinds[b]["inputs"][j]["name"])
        for _, a, i, b, j, _ in flow["links"]
    }


def test_the_settings_are_in_the_widgets():
    flow, notes = workflow()
    found = values(flow, "ConcordSampler")
    assert (
        found
        | {
            "positive": "a (cat:1.2)",
            "negative": "dog",
            "seed": 7,
            "control": "fixed",
            "steps": 12,
            "sampler": "dpmpp_2m",
            "scheduler": "karras",
            "profile": "a1111",
            "width": 64,
            "height": 128,
            "denoise": 0.75,
            "noise": "as the profile",
            "options": "",
        }
        == found
    )
    assert values(flow, "CheckpointLoaderSimple") == {"ckpt_name": "sub/Model.safetensors"}
    assert notes == []


def test_the_nodes_are_wired_to_a_saved_picture():
    assert wires(workflow()[0]) == {
        ("CheckpointLoaderSimple", "MODEL", "ConcordSampler", "model"),
        ("CheckpointLoaderSimple", "CLIP", "ConcordSampler", "clip"),
        ("CheckpointLoaderSimple", "VAE", "ConcordSampler", "vae"),
        ("ConcordSampler", "IMAGE", "ConcordSaveImage", "images"),
        ("ConcordSampler", "record", "ConcordSaveImage", "record"),
    }


def test_every_link_is_known_to_both_its_ends():
    flow, _ = workflow(", Denoising strength: 0.5, Hires upscale: 2, Hires upscaler: Latent")
    nodes = {one["id"]: one for one in flow["nodes"]}
    assert [link[0] for link in flow["links"]] == list(range(1, flow["last_link_id"] + 1))
    for number, a, i, b, j, kind in flow["links"]:
        assert number in nodes[a]["outputs"][i]["links"]
        assert nodes[b]["inputs"][j]["link"] == number
        assert nodes[a]["outputs"][i]["type"] == nodes[b]["inputs"][j]["type"] == kind


def test_a_hires_pass_follows():
    flow, notes = workflow(", Denoising strength: 0.4, Hires upscale: 1.5, Hires upscaler: Latent")
    found = values(flow, "ConcordHires")
    assert (found["upscale"], found["denoise"], found["sampler"]) == (1.5, 0.4, "as the first pass")
    assert values(flow, "ConcordSampler")["denoise"] == 0.75
    assert ("ConcordHires", "IMAGE", "ConcordSaveImage", "images") in wires(flow)
    assert ("ConcordSampler", "LATENT", "ConcordHires", "latent") in wires(flow)
    assert notes == []


def test_a_refiner_is_loaded_and_wired():
    flow, _ = workflow(", Refiner: other [abc], Refiner switch at: 0.6")
    assert values(flow, "ConcordRefiner") == {"switch_at": 0.6}
    assert ("ConcordRefiner", "refiner", "ConcordSampler", "refiner") in wires(flow)
    loaders = [one["widgets_values"] for one in flow["nodes"] if one["type"] == "CheckpointLoaderSimple"]
    assert ["other.ckpt"] in loaders


UNITS = (
    ', ADetailer model: face_yolo.pt, ADetailer prompt: "a, b", ADetailer confidence: 0.5,'
    " ADetailer denoising strength: 0.3, ADetailer model 2nd: bbox/Face_yolo.pt,"
    " ADetailer sampler 2nd: Use same sampler"
)


def test_the_detailers_units_are_chained():
    flow, notes = workflow(UNITS)
    assert values(flow, "ConcordDetectorLoader") == {"detector": "bbox/Face_yolo.pt", "confidence": 0.5}
    assert values(flow, "ConcordDetailerUnit") == {
        "prompt": "a, b",
        "denoising_strength": 0.3,
        "sampler": "as the picture",
    }
    assert wires(flow) >= {
        ("ConcordDetectorLoader", "detector", "ConcordDetailerUnit", "detector"),
        ("ConcordDetailerUnit", "units", "ConcordDetailerUnit", "before"),
        ("ConcordDetailerUnit", "units", "ConcordDetailer", "units"),
        ("ConcordSampler", "IMAGE", "ConcordDetailer", "images"),
        ("ConcordSampler", "record", "ConcordDetailer", "record"),
        ("ConcordDetailer", "IMAGE", "ConcordSaveImage", "images"),
    }
    assert ("ConcordSampler", "IMAGE", "ConcordSaveImage", "images") not in wires(flow)
    assert notes == []


def test_without_a_detailer_the_rest_is_made():
    nodes = {name: one for name, one in NODES.items() if name != "ConcordDetailer"}
    found = opened(BASE + UNITS, nodes, ["sub/Model.safetensors", "other.ckpt"])
    assert "Concord Detailer is not there" in found["notes"][0]
    assert ("ConcordSampler", "IMAGE", "ConcordSaveImage", "images") in wires(found["workflow"])


def test_options_and_the_source_of_noise_are_kept():
    flow, _ = workflow(", Eta: 0.5, Version: f2.0.1", BASE.replace("DPM++ 2M,", "DPM++ SDE,"))
    found = values(flow, "ConcordSampler")
    assert (found["options"], found["profile"]) == ("eta=0.5", "forge")
    assert values(workflow(", RNG: CPU")[0], "ConcordSampler")["noise"] == "CPU"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (", Denoising strength: 0.5", "made of another one, at strength 0.5"),
        (", ADetailer model: hand.pt", "'hand.pt' here: choose another detector"),
        (", ADetailer model: face, ADetailer checkpoint: x", "its own x"),
        (", Face restoration: GFPGAN", "GFPGAN"),
        (", Tiling: True", "tiles"),
        (
            ", Denoising strength: 0.5, Hires upscale: 2, Hires upscaler: 4x",
            "'4x' here: choose another upscaler",
        ),
    ],
)
def test_what_is_left_out_is_said_and_noted(more, said):
    flow, notes = workflow(more)
    [note] = [one for one in notes if said in one]
    [drawn] = [one for one in flow["nodes"] if one["type"] == "Note"]
    assert note in drawn["widgets_values"][0]


def test_a_model_that_is_not_there_is_named():
    flow, notes = workflow(text=BASE.replace("Model: model", "Model: gone"))
    assert values(flow, "CheckpointLoaderSimple") == {"ckpt_name": "gone.safetensors"}
    assert "'gone.safetensors'" in notes[0]


def test_without_a_model_the_first_is_taken():
    flow, notes = workflow(text=BASE.partition(", Model")[0])
    assert values(flow, "CheckpointLoaderSimple") == {"ckpt_name": "other.ckpt"}
    assert notes == []


def test_another_samplers_place_is_taken_by_a_known_one():
    flow, notes = workflow(text=BASE.replace("DPM++ 2M", "Nobody knows"))
    assert values(flow, "ConcordSampler")["sampler"] == "dpmpp_2m"
    assert "unknown sampler 'Nobody knows'" in notes[0]


@pytest.mark.parametrize("text", ["", "a cat", "a cat\nNegative prompt: dog"])
def test_a_text_without_settings_is_refused(text):
    with pytest.raises(BadValue, match="no settings"):
        workflow(text=text)


def test_a_node_that_is_not_there_is_named():
    with pytest.raises(BadValue, match="no node ConcordSampler"):
        opened(BASE, {name: one for name, one in NODES.items() if name != "ConcordSampler"}, [])


def test_a_wire_from_no_output_is_refused():
    first = Node("CheckpointLoaderSimple", (0, 0), (1, 1))
    with pytest.raises(BadValue, match="no output 'record'"):
        litegraph(
            [first, Node("ConcordSaveImage", (0, 0), (1, 1), {"images": first.output("record")})], NODES
        )
