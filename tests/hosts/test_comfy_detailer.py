"""Concord Detect, Detailer Unit and Detailer in the real ComfyUI, against the harness's detailer."""

import json

import pytest

pytest.importorskip("diffusers", reason="diffusers is not installed, which runs the model to compare with")
import numpy as np
from comfy_graphs import DETAILER_WIDGETS, UNIT_WIDGETS, gap, loaded
from comfy_host import Graph
from detector_training import is_trained, scene_with_faces, trained_detector
from miniatures import miniature
from PIL import Image
from sd_concord.core.detailer import Detections
from sd_concord.core.image import ConcordSettings, DetailerUnit, Generation
from sd_concord.harness import Pipeline
from sd_concord.harness.stages import detailing

pytestmark = pytest.mark.hosts
SIZE = (160, 128)
BOXES = [[16, 16, 56, 64], [96, 40, 136, 88]]


class Told:
    name, labels = "told", ("thing",)

    def __init__(self, boxes):
        self._boxes = boxes

    def __call__(self, image):
        return Detections.of(self._boxes, size=SIZE, labels=["thing"] * len(self._boxes))


@pytest.fixture(scope="module")
def image(comfy):
    picture = np.kron(np.random.default_rng(2).integers(0, 256, (8, 10, 3)), np.ones((16, 16, 1))).astype(
        np.uint8
    )
    Image.fromarray(picture).save(comfy.folder / "input" / "scene.png")
    return picture


def unit(graph, boxes=BOXES, **given):
    told = graph.add("ConcordProbeBoxes", boxes=json.dumps(boxes))
    return graph.add("ConcordDetailerUnit", detector=told[0], **UNIT_WIDGETS | given)


def detailer(graph, images, units, **given):
    loader = loaded(graph, "mini-sd15")
    nodes = {"model": loader[0], "clip": loader[1], "vae": loader[2], "images": images, "units": units[0]}
    return graph.add("ConcordDetailer", **nodes | DETAILER_WIDGETS | given)


def result(comfy, graph, node, output=0):
    graph.add("SaveImage", images=node[output], filename_prefix="test")
    return comfy.queue(graph)


UNITS = {
    "two crops at once": {},
    "its own settings": {
        "prompt": "a dog [SEP] a [fish:bird:0.5]",
        "steps": 4,
        "cfg": 6.0,
        "sampler": "dpmpp_2m",
        "scheduler": "karras",
        "seed": 99,
    },
    "differential": {"noise_mask": True, "noise_mask_feather": 8},
    "twice, colours matched": {"cycle": 2, "colour_match": 0.5},
    "a guide size": {"guide_size": 64, "inpaint_width": 0, "inpaint_height": 0, "crop_factor": 2.0},
    "one of two": {"mask_k": 1, "denoising_strength": 0.3},
}


def wanted_unit(given):
    off = {
        "steps": 0,
        "cfg": 0.0,
        "seed": -1,
        "inpaint_width": 0,
        "inpaint_height": 0,
        "feather": -1,
        "guide_size": 0,
    }
    off |= {"crop_factor": 0.0, "sampler": "as the picture", "scheduler": "as the picture"}
    return DetailerUnit(
        **{name: value for name, value in (UNIT_WIDGETS | given).items() if value != off.get(name)}
    )


@pytest.mark.parametrize("profile", ["comfyui", "concord"])
@pytest.mark.parametrize("case", UNITS)
def test_it_draws_what_the_harness_draws(comfy, checkpoints, image, monkeypatch, case, profile):
    graph = Graph()
    picture = graph.add("LoadImage", image="scene.png")
    node = detailer(graph, picture[0], unit(graph, **UNITS[case]), profile=profile)
    [found] = result(comfy, graph, node).pictures
    monkeypatch.setattr(detailing, "detectors_of", lambda record, folders=(): [Told(BOXES)])
    pipeline = Pipeline(miniature("sd15"))
    record = Generation(
        prompt="a cat",
        seed=7,
        steps=6,
        cfg=4.0,
        sampler="euler",
        scheduler="normal",
        size=SIZE,
        detailer=(wanted_unit(UNITS[case]),),
        concord=ConcordSettings(profile=profile),
    )
    made = detailing.detailed(pipeline, image, pipeline.complete(record))
    assert gap(found, made.image) <= 1
    assert gap(found, image) > 20
    assert np.array_equal(found[:4], image[:4])


def test_a_batch_is_its_pictures_one_by_one_and_units_follow_one_another(comfy, checkpoints, image):
    Image.fromarray(image[::-1].copy()).save(comfy.folder / "input" / "other.png")

    def run(names, seed):
        graph = Graph()
        loads = [graph.add("LoadImage", image=name) for name in names]
        whole = (
            loads[0] if len(loads) == 1 else graph.add("ImageBatch", image1=loads[0][0], image2=loads[1][0])
        )
        first = unit(graph, BOXES[:1])
        both = unit(graph, BOXES[1:], before=first[0])
        return result(comfy, graph, detailer(graph, whole[0], both, profile="concord", seed=seed)).pictures

    together = run(["scene.png", "other.png"], 7)
    for one, name, seed in zip(together, ("scene.png", "other.png"), (7, 8), strict=True):
        [alone] = run([name], seed)
        assert gap(one, alone) <= 1
        assert all(gap(alone[y1:y2, x1:x2], image[y1:y2, x1:x2]) > 20 for x1, y1, x2, y2 in BOXES)


def test_boxes_and_masks_are_shown_and_counted(comfy, image):
    graph = Graph()
    picture = graph.add("LoadImage", image="scene.png")
    told = graph.add("ConcordProbeBoxes", boxes=json.dumps(BOXES))
    node = graph.add("ConcordDetect", images=picture[0], detector=told[0])
    graph.add("SaveImage", images=node[1], filename_prefix="test")
    mask = graph.add("MaskToImage", mask=node[2])
    graph.add("SaveImage", images=mask[0], filename_prefix="test")
    shown, masks = comfy.queue(graph).pictures
    x1, y1, x2, y2 = BOXES[0]
    assert (shown[y1, x1:x2] != image[y1, x1:x2]).any()
    assert masks[y1:y2, x1:x2].min() == 255
    assert masks.mean() / 255 == pytest.approx(
        2 * 41 * 49 / (160 * 128)
    )  # as in ADetailer, right and bottom edge too


def test_detections_and_a_mask_say_where(comfy, checkpoints, image):
    painted = np.zeros(image.shape[:2], np.uint8)
    painted[:, :80] = 255
    Image.fromarray(painted).save(comfy.folder / "input" / "left.png")
    graph = Graph()
    picture = graph.add("LoadImage", image="scene.png")
    told = graph.add("ConcordProbeBoxes", boxes=json.dumps(BOXES))
    found = graph.add("ConcordDetect", images=picture[0], detector=told[0])
    mask = graph.add("LoadImageMask", image="left.png", channel="red")
    units = unit(graph, [])
    node = detailer(graph, picture[0], units, detections=found[0], mask=mask[0])
    [drawn] = result(comfy, graph, node).pictures
    assert gap(drawn[:, :70], image[:, :70]) > 20
    assert np.array_equal(drawn[:, 90:], image[:, 90:])


def test_nothing_found_leaves_the_picture_and_says_so(comfy, checkpoints, image):
    graph = Graph()
    node = detailer(graph, graph.add("LoadImage", image="scene.png")[0], unit(graph, []))
    done = result(comfy, graph, node)
    assert np.array_equal(done.pictures[0], image)
    assert "told found nothing to redraw" in done.outputs[node.id]["text"][0]


def test_errors_stand_on_the_node_and_the_queue_goes_on(comfy, checkpoints, image):
    graph = Graph()
    picture = graph.add("LoadImage", image="scene.png")
    found = graph.add(
        "ConcordDetect", images=picture[0], detector=graph.add("ConcordProbeBoxes", boxes="[]")[0]
    )
    both = graph.add("ImageBatch", image1=picture[0], image2=picture[0])
    node = detailer(graph, both[0], unit(graph), detections=found[0])
    with pytest.raises(RuntimeError, match="ConcordDetailer: there are detections of 1 pictures for 2"):
        result(comfy, graph, node)
    graph = Graph()
    loader = graph.add("ConcordDetectorLoader", detector="face", classes="dog", confidence=0.3)
    graph.add(
        "PreviewImage",
        images=graph.add(
            "ConcordDetect", images=graph.add("LoadImage", image="scene.png")[0], detector=loader[0]
        )[1],
    )
    with pytest.raises(RuntimeError, match=r"ConcordDetectorLoader: .*dog"):
        comfy.queue(graph)
    graph = Graph()
    assert result(comfy, graph, graph.add("LoadImage", image="scene.png")).pictures


@pytest.mark.skipif(not is_trained(), reason="there is no trained detector yet; CONCORD_TRAIN=1 trains one")
def test_a_trained_detector_finds_faces(comfy):
    folder = comfy.folder / "models" / "ultralytics" / "bbox"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "faces.pt").write_bytes(trained_detector().read_bytes())
    picture, scene = scene_with_faces(0)
    Image.fromarray(picture).save(comfy.folder / "input" / "faces.png")
    graph = Graph()
    loader = graph.add("ConcordDetectorLoader", detector="bbox/faces.pt", classes="face", confidence=0.5)
    node = graph.add("ConcordDetect", images=graph.add("LoadImage", image="faces.png")[0], detector=loader[0])
    graph.add("SaveImage", images=node[1], filename_prefix="test")
    words = ""
    try:
        [picture_shown] = comfy.queue(graph).pictures
    except RuntimeError as error:
        words = str(error).splitlines()[0]
    if words:  # a host without the package: its node says what to do, and the others go on
        assert "YOLO detectors need ultralytics" in words
        assert "pip install" in words
    else:
        assert (picture_shown != picture).any() == any(item.kind == "face" for item in scene.items)
