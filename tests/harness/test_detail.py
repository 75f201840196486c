"""The detailer over the embedded model: `generate --detailer`, `detail`, and what they say and keep."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image, ImageFilter
from sd_concord.core.detailer import Detections
from sd_concord.core.errors import BadFile, BadValue
from sd_concord.core.image import DetailerUnit, Generation, read_image_info, save_image
from sd_concord.harness import Pipeline, cli
from sd_concord.harness.pipeline import Picture
from sd_concord.harness.stages import detailing
from sd_concord.harness.train.draw import draw
from sd_concord.harness.train.recognise import recognise
from sd_concord.harness.train.scenes import Mix, random_scene

SIDE = 128


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline.load()


class Boxes:
    """A detector that finds what it is told to."""

    name, labels = "boxes.pt", ("face",)

    def __init__(self, *boxes):
        self.boxes = boxes

    def __call__(self, image):
        size = image.shape[1::-1]
        return Detections.of(list(self.boxes), size=size, labels=["face"] * len(self.boxes))


@pytest.fixture
def finds(monkeypatch):
    """Makes the detector of every unit one that finds given boxes."""

    def use(*boxes):
        monkeypatch.setattr(detailing, "find_detector", lambda unit, folders=(): Boxes(*boxes))

    return use


def record(pipeline, **more):
    given = {
        "prompt": "a face with red hair",
        "seed": 3,
        "steps": 8,
        "detailer": (DetailerUnit(model="face"),),
    }
    return pipeline.complete(Generation(**{**given, **more}))


def noise_picture(seed=0, side=SIDE):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def test_only_what_was_found_changes_and_the_record_says_so(pipeline, finds):
    finds((20, 20, 60, 60), (80, 70, 110, 110))
    before = noise_picture()
    done = pipeline.detail(Picture(before, record(pipeline)))
    changed = (done.image != before).any(axis=2)
    assert changed[20:60, 20:60].mean() > 0.9
    assert not changed[:, 124:].any()
    assert [unit.found for unit in done.generation.detailer] == [2]


def test_a_batch_of_crops_is_what_they_are_one_by_one(pipeline, finds):
    finds((10, 10, 40, 40), (80, 70, 110, 110), (10, 84, 40, 114))
    wanted = record(pipeline, detailer=(DetailerUnit(model="face", padding=6),))
    together = detailing.detailed(pipeline, noise_picture(), wanted)
    alone = detailing.detailed(pipeline, noise_picture(), wanted, batch=1)
    difference = np.abs(together.image.astype(int) - alone.image)
    assert difference.max() <= 1
    assert (difference == 0).mean() > 0.999


def test_each_unit_sees_what_the_one_before_it_drew(pipeline, finds):
    finds((20, 20, 60, 60))
    unit = DetailerUnit(model="face", steps=4)
    one = pipeline.detail(Picture(noise_picture(), record(pipeline, detailer=(unit,))))
    two = pipeline.detail(Picture(noise_picture(), record(pipeline, detailer=(unit, replace(unit, seed=9)))))
    again = pipeline.detail(Picture(one.image, record(pipeline, detailer=(replace(unit, seed=9),))))
    assert np.array_equal(two.image, again.image)
    assert not np.array_equal(two.image, one.image)


@pytest.mark.parametrize(
    "options",
    [{"noise_mask": True, "noise_mask_feather": 8}, {"cfg": 1.0}, {"sampler": "euler", "scheduler": "karras"},
     {"prompt": "a face with blue hair"}, {"denoising_strength": 0.9}, {"guide_size": 64}, {"clip_skip": 2},
     {"colour_match": 1.0}, {"cycle": 2}],
    ids=str,
)  # fmt: skip
def test_every_option_reaches_the_model(pipeline, finds, options):
    finds((20, 20, 60, 60))
    plain = pipeline.detail(Picture(noise_picture(), record(pipeline)))
    other = record(pipeline, detailer=(DetailerUnit(model="face", **options),))
    assert not np.array_equal(pipeline.detail(Picture(noise_picture(), other)).image, plain.image)


def test_nothing_found_leaves_the_picture_and_is_said(pipeline, finds):
    finds()
    done = pipeline.detail(Picture(noise_picture(), record(pipeline)))
    assert np.array_equal(done.image, noise_picture())
    assert done.generation.detailer[0].found == 0
    assert any("found nothing to redraw" in line for line in pipeline.warnings)


def test_generate_runs_the_units_after_the_picture(pipeline, finds):
    finds((20, 20, 60, 60))
    wanted = record(pipeline)
    [plain] = pipeline.generate(replace(wanted, detailer=()))
    [done] = pipeline.generate(wanted)
    again = pipeline.detail(Picture(plain.image, wanted))
    assert np.array_equal(done.image, again.image)
    assert done.generation.detailer[0].found == 1


def test_a_batch_of_pictures_is_detailed_as_each_alone(pipeline, finds):
    finds((20, 20, 60, 60))
    wanted = record(pipeline)
    pictures = pipeline.generate(wanted, batch=2)
    [second] = pipeline.generate(replace(wanted, seed=4))
    assert np.abs(pictures[1].image.astype(int) - second.image).max() <= 1


@pytest.mark.parametrize(
    ("unit", "error", "words"),
    [
        (DetailerUnit(model="face_yolov8n.pt"), BadFile, "there is no detector face_yolov8n.pt"),
        (DetailerUnit(model="faces"), BadValue, "unknown detector 'faces'"),
        (DetailerUnit(model="face", model_classes="hand"), BadValue, "face"),
        (DetailerUnit(model="face", restore_face=True), BadValue, "only the web UIs have"),
        (DetailerUnit(model="face", vae="other.vae"), BadValue, "only the web UIs have"),
    ],
)
def test_units_that_cannot_run_stop_before_anything_is_drawn(pipeline, unit, error, words):
    def watch(done, latent):
        pytest.fail("a step was run")

    with pytest.raises(error, match=words):
        pipeline.generate(record(pipeline, detailer=(unit,)), watch=watch)


def test_the_command_reads_the_picture_and_keeps_it(tmp_path, capsys, finds):
    finds((20, 20, 60, 60))
    path = tmp_path / "face.png"
    save_image(path, noise_picture(), Generation(prompt="a face with red hair", seed=3, steps=4, cfg=4.0))
    before = path.read_bytes()
    steps = tmp_path / "steps"
    options = ["--detailer", "face", "--detailer-set", "denoise=0.7", "--save-steps", str(steps)]
    assert cli.main(["detail", str(path), *options]) == 0
    out = tmp_path / "face-detailed.png"
    assert capsys.readouterr().out.strip() == str(out.resolve())
    assert path.read_bytes() == before
    made = read_image_info(out)
    assert (made.prompt, made.seed, made.steps) == ("a face with red hair", 3, 4)
    assert made.detailer[0].denoising_strength == 0.7
    assert made.detailer[0].found == 1
    names = [file.name for file in sorted(steps.iterdir())]
    assert names == ["001-1-before.png", "001-2-detected-1.png", "001-3-detailed-1.png"]
    assert not np.array_equal(np.asarray(Image.open(steps / names[1])), noise_picture())


def test_crops_are_drawn_one_after_the_other_on_demand(tmp_path, monkeypatch, finds):
    finds((10, 10, 40, 40), (80, 70, 110, 110))
    path, batches = tmp_path / "face.png", []
    save_image(path, noise_picture(), Generation(prompt="a face", seed=3, steps=2, cfg=4.0))
    draw_crops = detailing.crops.inpaint_crops
    monkeypatch.setattr(
        detailing.crops,
        "inpaint_crops",
        lambda pipeline, parts, *rest, **more: (
            batches.append(len(parts)) or draw_crops(pipeline, parts, *rest, **more)
        ),
    )
    options = ["--detailer-set", "padding=6", "--out", str(tmp_path / "out.png")]
    for count in ("1", "8"):
        assert cli.main(["detail", str(path), "--detailer", "face", *options, "--detailer-batch", count]) == 0
    assert batches == [1, 1, 2]


def test_the_picture_that_is_read_is_not_written_over(tmp_path, capsys):
    path = tmp_path / "face.png"
    save_image(path, noise_picture(), Generation(prompt="p"))
    assert cli.main(["detail", str(path), "--out", str(path)]) == 1
    assert "is the picture that is read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--detailer-set", "denoise=1", "--detailer", "face"], 2, "--detailer-set stands after"),
        (["--detailer", "face", "--detailer-set", "denoise"], 1, "write NAME=VALUE"),
        (["--detailer", "face", "--detailer-set", "denoise=2"], 1, "denoising_strength is '2'; pass"),
        (["--detailer", "face", "--detailer-set", "paddng=2"], 1, "padding"),
        (["--detailer", "face", "--detailer-batch", "0"], 1, "--detailer-batch is 0; pass 1 or more"),
        (["--detailer", "face", "--detector-dir", "/nowhere"], 1, "--detector-dir /nowhere is not a folder"),
    ],
)
def test_bad_options_are_named(tmp_path, capsys, options, code, words):
    path = tmp_path / "face.png"
    save_image(path, noise_picture(), Generation(prompt="p"))
    try:
        status = cli.main(["detail", str(path), *options])
    except SystemExit as stopped:
        status = stopped.code
    assert status == code
    assert words in capsys.readouterr().err


def test_a_file_that_is_no_picture_is_named(tmp_path, capsys):
    path = tmp_path / "face.png"
    path.write_bytes(b"no picture")
    assert cli.main(["detail", str(path)]) == 1
    assert "cannot read" in capsys.readouterr().err


def trained():
    if find_spec("ultralytics") is None:
        pytest.skip("ultralytics is not installed; `pip install --no-deps ultralytics` brings it")
    from detector_training import is_trained, trained_detector

    if not is_trained() and not os.environ.get("CI") and not os.environ.get("CONCORD_TRAIN"):
        pytest.skip("there is no trained detector yet; CONCORD_TRAIN=1 trains one, in two to five minutes")
    return trained_detector()


def spoilt_face(seed):
    """Return a drawn scene with one face whose inside is a blur, and the colour of its hair."""
    rng = random.Random(f"detail/{seed}")
    while True:
        scene = random_scene(rng, Mix(counts=(1.0, 0.0, 0.0), faces=1.0, styles=0.0))
        [face] = scene.items
        if face.radius > 15:
            break
    image = Image.fromarray(draw(scene))
    box = tuple(round(v) for v in (face.x - 0.7 * face.radius, face.y - 0.1 * face.radius,
                                   face.x + 0.7 * face.radius, face.y + 0.8 * face.radius))  # fmt: skip
    image.paste(image.crop(box).filter(ImageFilter.GaussianBlur(face.radius / 4)), box)
    return np.asarray(image), face.colour


def test_spoilt_faces_are_found_and_redrawn(pipeline, tmp_path):
    """Adherence rises: a face counts when it has eyes and the hair that was asked for."""
    model = trained()
    right = {"before": 0, "after": 0}
    rows = []
    for seed in range(12):
        image, hair = spoilt_face(seed)
        unit = DetailerUnit(model=str(model), model_classes="face", confidence=0.2, denoising_strength=0.6)
        wanted = record(pipeline, prompt=f"a face with {hair} hair", steps=12, detailer=(unit,))
        shown = {}
        done = pipeline.detail(
            Picture(image, wanted), lambda stage, images, shown=shown: shown.update({stage: images[0]})
        )
        for when, one in (("before", image), ("after", done.image)):
            right[when] += any(f.kind == "face" and f.colour == hair for f in recognise(one))
        rows.append(np.concatenate([image, shown["detected 1"], done.image], axis=1))
    print(right)
    folder = os.environ.get("CONCORD_KEEP_PICTURES")
    Image.fromarray(np.concatenate(rows)).save(f"{folder}/detail.png" if folder else tmp_path / "detail.png")
    assert right["after"] > right["before"] + 1
