"""``sd-concord reproduce``: pictures drawn again from their files, and the setting to blame named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sd_concord.core.image import (
    ConcordSettings,
    Generation,
    Hires,
    ModelRef,
    ScheduleOptions,
    Variation,
    format_infotext,
    save_image,
)
from sd_concord.core.image.parts import Inpaint, Networks
from sd_concord.core.same_picture import Difference, difference, is_same, nearest
from sd_concord.harness import Pipeline
from sd_concord.harness.cli import main
from sd_concord.harness.reproduce.case import Case
from sd_concord.harness.reproduce.changes import walked
from sd_concord.harness.reproduce.finding import Files, with_network_names
from sd_concord.harness.reproduce.neighbours import neighbours
from sd_concord.harness.reproduce.recorded import picture_files, read_recorded
from sd_concord.harness.reproduce.reproducing import Places, Reproducer
from sd_concord.harness.reproduce.sources import PictureShelf, possible_sources

PROMPT = "a (red:1.5) circle left of a [blue|green] square"
VERSIONS = {
    "a1111": "v1.9.4",
    "forge": "f2.0.1v1.10.1-previous-669-gdfdcbab6",
    "a1111-1.10": "v1.10.1",
}


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline.load()


def drawn(pipeline: Pipeline, profile: str, /, **fields: Any) -> Any:
    """Return a small picture of the embedded model, drawn as a web UI does."""
    given = fields.pop("given", {})
    own = replace(fields.pop("concord", None) or ConcordSettings(), profile=profile)
    base: dict[str, Any] = {
        "prompt": PROMPT,
        "negative_prompt": "text",
        "steps": 4,
        "cfg": 4.0,
        "sampler": "euler",
        "scheduler": "normal",
        "seed": 7,
        "size": (32, 32),
        "rng": "CPU",
    }
    return pipeline.generate(Generation(**{**base, **fields}, concord=own), **given)[0]


def as_web_ui(picture: Any, profile: str) -> str:
    """Return the text that the web UI would write: without anything of Concord's."""
    record = replace(picture.generation, concord=None, version=VERSIONS[profile], source="")
    return format_infotext(record)


def written(path: Path, picture: Any, text: str) -> Path:
    from PIL import PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", text)
    Image.fromarray(picture.image).save(path, pnginfo=info)
    return path


_PLAIN = Reproducer(Places())
"""Keeps the embedded model loaded."""


def judged(path: Path, **places: Any) -> Any:
    return (Reproducer(Places(**places)) if places else _PLAIN).judge(path)


EDITS = {
    "clip skip": (
        {"clip_skip": 1},
        ("Size", "Clip skip: 2, Size"),
        "Clip skip: 1 gives this picture, the text says 2",
    ),
    "noise source": ({}, ("RNG: CPU", "RNG: NV"), "RNG: CPU gives this picture, the text says NV"),
    "noise source that the text leaves out": (
        {},
        ("RNG: CPU, ", ""),
        "RNG: CPU gives this picture, the text names no RNG, so A1111 1.9.4's default, NV, was taken",
    ),
    "seed": ({}, ("Seed: 7", "Seed: 6"), "Seed: 7 gives this picture, the text says 6"),
    "seed below": ({}, ("Seed: 7", "Seed: 8"), "Seed: 7 gives this picture, the text says 8"),
    "size": (
        {},
        ("Size: 32x32", "Size: 40x32"),
        "Size: 32x32 gives this picture, the text says a size that gives 40x32",
    ),
    "ENSD": (
        {"sampler": "euler_ancestral", "ensd": 31337},
        ("ENSD: 31337, ", ""),
        "ENSD: 31337 gives this picture, the text does not say",
    ),
    "steps": ({}, ("Steps: 4", "Steps: 6"), "Steps: 4 gives this picture, the text says 6"),
    "CFG": (
        {"cfg": 4.5},
        ("CFG scale: 4.5", "CFG scale: 6"),
        "CFG scale: 4.5 gives this picture, the text says 6",
    ),
    "sampler": (
        {"prompt": "a red circle"},
        ("Sampler: Euler", "Sampler: DPM++ 2M"),
        "Sampler: Euler gives this picture, the text says DPM++ 2M",
    ),
    "schedule": (
        {"scheduler": "karras", "prompt": "a red circle"},
        ("Schedule type: Karras", "Schedule type: Exponential"),
        "Schedule type: Karras gives this picture, the text says Exponential",
    ),
    "emphasis": (
        {"emphasis": "Ignore"},
        ("Emphasis: Ignore, ", ""),
        "Emphasis: Ignore gives this picture, the text does not say",
    ),
    "hires strength": (
        {"denoising_strength": 0.5, "hires": Hires(upscale=1.5, steps=4, upscaler="Latent")},
        ("Denoising strength: 0.5", "Denoising strength: 0.6"),
        "Denoising strength: 0.5 gives this picture, the text says 0.6",
    ),
    "variation": (
        {"variation": Variation(seed=3, strength=0.3)},
        ("strength: 0.3", "strength: 0.2"),
        "Variation seed strength: 0.3 gives this picture, the text says 0.2",
    ),
    "word wrap": (
        {
            "prompt": "a red circle, " * 18 + "a big blue square and a green star",
            "concord": ConcordSettings(comma_backtrack=0),
        },
        ("", ""),
        "prompt word wrap: 0 tokens gives this picture, the text does not say",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_setting_changed_by_hand_is_named(name: str, pipeline: Pipeline, tmp_path: Path) -> None:
    fields, (old, new), words = EDITS[name]
    picture = drawn(pipeline, "a1111", **fields)
    text = as_web_ui(picture, "a1111")
    assert old in text
    verdict = judged(written(tmp_path / "a.png", picture, text.replace(old, new)))
    assert not verdict.same
    assert verdict.blamed == words


def tried(record: Generation, **fields: Any) -> list[str]:
    """Return the changes that are tried for a record, when none of them helps."""
    own = replace(record.concord or ConcordSettings(), profile="a1111")
    size = record.size or (32, 32)
    case = Case(
        record=replace(record, concord=own),
        pixels=np.zeros((32, 32, 3), np.uint8),
        **{"distance": 10.0, "drawn_size": size, **fields},
    )
    search, found = neighbours(case), list[str]()
    change = next(search)
    while True:
        found.append(f"{change.label}: {change.value}")
        try:
            change = search.send(100.0)
        except StopIteration:
            return found


def other_model(pipeline: Pipeline, folder: Path) -> Path:
    """Write the embedded model with another UNet."""
    from copy import deepcopy

    from sd_concord.harness.models import export_ldm

    weights = pipeline.model.unet.conv_out.bias
    before = deepcopy(weights.data)
    weights.data += 0.3
    try:
        export_ldm(pipeline.model, folder / "other.safetensors", clip_folder="")
    finally:
        weights.data = before
    return folder / "other.safetensors"


def test_the_right_checkpoint_is_named(pipeline: Pipeline, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    path = other_model(pipeline, folder)
    picture = drawn(Pipeline.load(path), "a1111", prompt="a circle", sampler="euler", steps=2)
    text = as_web_ui(picture, "a1111")
    text = text.replace("Model: other", "Model: demo").replace(
        f"Model hash: {picture.generation.model.hash}, ", ""
    )
    file = written(tmp_path / "a.png", picture, text)
    verdict = judged(file, models=[folder])
    assert not verdict.same
    assert verdict.blamed == "Model: other gives this picture, the text says demo"
    assert verdict.as_json()["tries"] > 1
    assert list(verdict.lines())[1].endswith(f"(tries: {verdict.as_json()['tries']})")


def test_how_many_were_tried_in_vain_is_said(pipeline: Pipeline, tmp_path: Path) -> None:
    picture = drawn(pipeline, "a1111")
    text = as_web_ui(picture, "a1111").replace("Seed: 7", "Seed: 7000")
    verdict = Reproducer(Places(), tries=3).judge(written(tmp_path / "a.png", picture, text))
    assert (verdict.blamed, verdict.as_json()["tries"]) == (None, 3)
    assert "  no other single setting gives this picture (tries: 3)" in list(verdict.lines())


@pytest.mark.parametrize(
    ("record", "change"),
    [
        (Generation(sampler="euler_ancestral"), "Eta: 0.5"),
        (Generation(sampler="uni_pc_timesteps"), "UniPC variant: bh1 of order 2"),
        (Generation(scheduler="karras"), "Discard penultimate sigma: True"),
        (Generation(schedule_options=ScheduleOptions(sgm_noise=True)), "SGM noise multiplier: False"),
        (Generation(), "Noise Schedule: Zero Terminal SNR"),
        (Generation(hires=Hires(upscaler="Latent")), "Hires upscaler: Latent (nearest)"),
        (Generation(hires=Hires(steps=5), steps=9), "Hires steps: 4"),
        (Generation(prompt="[a:b:5]"), "Old prompt editing timelines: True"),
        (Generation(prompt="a" * 200), "Pad conds: True"),
        (Generation(size=(40, 40)), "Size: 32x32"),
        (Generation(hires=Hires(upscale=1.5), size=(40, 40)), "Hires resize: 32x32"),
        (Generation(steps=4), "Steps: 20"),
        (Generation(sampler="euler"), "Sampler: Euler a"),
        (Generation(steps=3), "Steps: 1"),
        (Generation(seed=5), "Seed: 6"),
        (Generation(seed=5), "Seed: 4"),
        (Generation(scheduler="beta", steps=3), "Schedule type: Karras"),
    ],
)
def test_a_setting_is_among_those_that_are_tried(record: Generation, change: str) -> None:
    assert change in tried(record)


def test_what_cannot_matter_is_not_tried() -> None:
    found = tried(Generation(prompt="a cat", sampler="euler", steps=2))
    for label in ("ENSD", "Emphasis", "Old prompt", "Pad conds", "Hires", "Denoising", "resize mode", "Eta"):
        assert not [one for one in found if one.startswith(label)], label
    assert "Steps: 0" not in found
    assert len(found) == len(set(found))


def test_a_number_is_walked_along_downhill() -> None:
    def far(value: float) -> float:
        return abs(value - 5.5)

    search = walked("CFG scale", 8.0, lambda value: Generation(cfg=value), far(8.0), steps=(1, 0.5), low=1)
    change, seen = next(search), list[float]()
    while change.record.cfg != 5.5:
        assert change.record.cfg is not None
        seen.append(change.record.cfg)
        change = search.send(far(change.record.cfg))
    assert seen == [9, 7, 6, 5, 6.5]


def test_the_settings_as_they_were_give_the_picture(pipeline: Pipeline, tmp_path: Path) -> None:
    picture = drawn(pipeline, "a1111", sampler="dpmpp_2m_sde", scheduler="karras")
    verdict = judged(written(tmp_path / "a.png", picture, as_web_ui(picture, "a1111")))
    assert (verdict.same, verdict.profile, verdict.blamed) == (True, "a1111", None)
    assert verdict.found == Difference(most=0, mean=0.0, equal=1.0)


def test_the_version_chooses_the_profile_and_a_wrong_one_is_named(pipeline: Pipeline, tmp_path: Path) -> None:
    """LCM off the grid is where the two differ most."""
    picture = drawn(pipeline, "forge", sampler="lcm", scheduler="karras", steps=4)
    right = judged(written(tmp_path / "a.png", picture, as_web_ui(picture, "forge")))
    assert (right.same, right.profile) == (True, "forge")
    wrong = judged(written(tmp_path / "b.png", picture, as_web_ui(picture, "a1111")))
    assert (wrong.same, wrong.profile) == (False, "a1111")
    assert wrong.blamed == "profile: forge gives this picture, the text says Version: v1.9.4"


def own_schedule(path: Path, pipeline: Pipeline, text: str) -> Path:
    """Write a picture of our Beta under Forge's profile, with ``text`` for the schedule's name."""
    own = ConcordSettings(own=("scheduler",))
    picture = drawn(pipeline, "forge", prompt="a red circle", scheduler="beta", concord=own)
    record = replace(picture.generation, concord=own, version=VERSIONS["forge"], source="")
    whole = format_infotext(record)
    assert "Schedule type: Beta (Concord)" in whole
    return written(path, picture, whole.replace("Schedule type: Beta (Concord)", f"Schedule type: {text}"))


def test_a_schedule_that_is_ours_by_its_name_has_our_sigmas(pipeline: Pipeline, tmp_path: Path) -> None:
    verdict = judged(own_schedule(tmp_path / "a.png", pipeline, "Beta (Concord)"))
    assert (verdict.same, verdict.profile) == (True, "forge")
    said = "schedule Beta: Concord's own sigmas, as its name in the text says"
    assert verdict.as_json()["own"] == [said]
    assert f"  {said}" in list(verdict.lines())


def test_that_a_schedule_is_ours_is_found_out(pipeline: Pipeline, tmp_path: Path) -> None:
    verdict = judged(own_schedule(tmp_path / "a.png", pipeline, "Beta"))
    assert verdict.blamed == "Schedule type: Beta (Concord) gives this picture, the text says Beta"
    assert "own" not in verdict.as_json()


def test_a_schedule_that_the_program_lacks_is_ours(pipeline: Pipeline, tmp_path: Path) -> None:
    picture = drawn(pipeline, "a1111", scheduler="beta57")
    verdict = judged(written(tmp_path / "a.png", picture, as_web_ui(picture, "a1111")))
    assert verdict.same
    assert verdict.borrowed == ("schedule Beta57: Concord's own sigmas, as A1111 1.9.4 has no such schedule",)


def test_one_of_forges_batch_is_found_by_its_place(pipeline: Pipeline, tmp_path: Path) -> None:
    """DDPM draws for the whole batch there, which no text says."""
    fields = {"sampler": "ddpm", "given": {"batch": 2}}
    picture = drawn(pipeline, "forge", **fields)
    verdict = judged(written(tmp_path / "a.png", picture, as_web_ui(picture, "forge")))
    assert verdict.blamed == "place in the batch: 1 of 2 gives this picture, the text does not say"


def test_a_picture_made_from_another_wants_that(pipeline: Pipeline, tmp_path: Path) -> None:
    source = np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    other = np.zeros_like(source)
    picture = drawn(pipeline, "a1111", denoising_strength=0.6, given={"init_image": source})
    path = written(tmp_path / "a.png", picture, as_web_ui(picture, "a1111"))
    missing = judged(path)
    assert missing.error is not None
    assert "--init" in missing.error
    folder = tmp_path / "sources"
    folder.mkdir()
    Image.fromarray(other).save(folder / "1.png")
    Image.fromarray(source).save(folder / "2.png")
    found = judged(path, images=[folder])
    assert found.same
    assert found.as_json()["source"] == "2.png"


def test_a_mask_that_was_named_is_used_although_the_text_has_no_key_of_it(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    source = np.full((32, 32, 3), 200, np.uint8)
    mask = np.zeros((32, 32), np.uint8)
    mask[8:24, 8:24] = 255
    given = {"init_image": source, "mask": mask}
    picture = drawn(pipeline, "a1111", denoising_strength=0.6, inpaint=Inpaint(mask_blur=0), given=given)
    text = as_web_ui(picture, "a1111").replace("Mask blur: 0, ", "")
    path = written(tmp_path / "a.png", picture, text)
    for name, pixels in (("source.png", source), ("mask.png", mask)):
        Image.fromarray(pixels).save(tmp_path / name)
    assert judged(path, images=[tmp_path / "source.png"], masks=[tmp_path / "mask.png"]).same
    assert not Reproducer(Places(images=[tmp_path / "source.png"]), tries=0).judge(path).same


def test_what_nothing_here_draws_with_is_said(pipeline: Pipeline, tmp_path: Path) -> None:
    picture = drawn(pipeline, "a1111")
    text = as_web_ui(picture, "a1111").replace(
        "Version", "Token merging ratio: 0.5, FP8 weight: Enable, Version"
    )
    verdict = Reproducer(Places(), tries=0).judge(written(tmp_path / "a.png", picture, text))
    assert "Token merging ratio: 0.5 is not drawn here" in verdict.notes
    assert "FP8 weight: Enable is not drawn here" in verdict.notes


def test_a_text_that_says_tiling_is_drawn_so(pipeline: Pipeline, tmp_path: Path) -> None:
    picture = drawn(pipeline, "a1111", tiling=True)
    text = as_web_ui(picture, "a1111")
    assert "Tiling: True" in text
    assert judged(written(tmp_path / "a.png", picture, text)).same
    without = text.replace("Tiling: True, ", "")
    assert not Reproducer(Places(), tries=0).judge(written(tmp_path / "b.png", picture, without)).same


def test_a_jpeg_is_the_same_as_far_as_it_can_tell(pipeline: Pipeline, tmp_path: Path) -> None:
    picture = drawn(pipeline, "concord")
    path = save_image(tmp_path / "a.jpg", picture.image, picture.generation)
    verdict = judged(path)
    assert verdict.same
    assert verdict.found.most > 1


def test_the_command_prints_a_line_each_and_fails_when_one_differs(
    pipeline: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    picture = drawn(pipeline, "a1111")
    text = as_web_ui(picture, "a1111")
    written(folder / "1.png", picture, text)
    written(folder / "2.png", picture, text.replace("Seed: 7", "Seed: 8"))
    Image.new("RGB", (8, 8)).save(folder / "3.png")
    assert main(["reproduce", str(folder), "--json", "--tries", "2"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [list(line)[:6] for line in lines] == [["file", "same", "max", "equal", "profile", "blame"]] * 3
    assert [line["same"] for line in lines] == [True, False, False]
    assert (lines[0]["max"], lines[0]["equal"], lines[0]["profile"]) == (0, 1.0, "a1111")
    assert lines[2]["max"] is None
    assert "no generation settings" in lines[2]["error"]
    assert main(["reproduce", str(folder / "1.png")]) == 0
    assert "same: 100.00% of values equal" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nowhere.safetensors"], "--model nowhere.safetensors is not there"),
        (["--lora-dir", "nowhere"], "--lora-dir nowhere is not a folder"),
        (["--profile", "forg"], "forge"),
        (["--tries", "-1"], "pass 0 or more"),
    ],
)
def test_wrong_options_are_refused_in_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert main(["reproduce", str(tmp_path / "a.png"), *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_model_that_is_nowhere_is_named(pipeline: Pipeline, tmp_path: Path) -> None:
    picture = drawn(pipeline, "a1111")
    text = as_web_ui(picture, "a1111").replace("Model: demo", "Model: dreamshaper")
    verdict = judged(written(tmp_path / "a.png", picture, text))
    assert verdict.error is not None
    assert "dreamshaper" in verdict.error
    assert "--model-dir" in verdict.error


def tensors(path: Path, value: float) -> Path:
    save_file({"weight": torch.full((400, 1000), value)}, path, metadata={"name": path.stem})
    return path


def test_files_are_found_by_hash_whatever_they_are_called(tmp_path: Path) -> None:
    files = Files([tmp_path])
    one, two = tensors(tmp_path / "one.safetensors", 1.0), tensors(tmp_path / "two.safetensors", 2.0)
    from hashlib import sha256

    from sd_concord.core.networks.tensor_files import file_hashes

    hashes = file_hashes(two)
    old = sha256(two.read_bytes()[0x100000:0x110000]).hexdigest()[:8]
    for digits in (hashes.autov2, hashes.autov3, hashes.sha256[:10].upper(), old):
        found = files.find(ModelRef(name="renamed", hash=digits))
        assert found is not None
        assert (found.path, found.certain) == (two, True)
    by_name = files.find(ModelRef(name="one"))
    assert by_name is not None
    assert (by_name.path, by_name.certain) == (one, None)
    doubtful = files.find(ModelRef(name="one", hash="0123456789"))
    assert doubtful is not None
    assert (doubtful.path, doubtful.certain) == (one, False)
    assert files.find(ModelRef(name="three", hash="0123456789")) is None


def test_networks_found_under_another_name_are_called_by_it(tmp_path: Path) -> None:
    from sd_concord.core.networks.tensor_files import file_hashes

    path = tensors(tmp_path / "newer.safetensors", 3.0)
    refs = Networks(
        loras=(
            ModelRef(name="style", hash=file_hashes(path).autov3),
            ModelRef(name="gone", hash="abcdefabcdef"),
        ),
        embeddings=(ModelRef(name="bad-hands", hash=file_hashes(path).sha256[:12]),),
    )
    record = Generation(
        prompt="<lora:style:0.8> a lora:style, <lora:styles:1>",
        negative_prompt="bad-hands, bad-handsome",
        networks=refs,
    )
    files = Files([tmp_path])
    renamed, notes = with_network_names(record, files, files)
    assert renamed.prompt == "<lora:newer:0.8> a lora:style, <lora:styles:1>"
    assert renamed.negative_prompt == "newer, bad-handsome"
    assert notes == ("LoRA 'gone' is not there",)


def test_what_counts_as_the_same() -> None:
    plain, chaotic = Generation(sampler="euler"), Generation(sampler="dpmpp_sde")
    two = Difference(most=2, mean=0.0, equal=0.995)
    assert not is_same(two, plain)
    assert is_same(two, chaotic)
    assert not is_same(replace(two, equal=0.98), chaotic)
    assert not is_same(replace(two, most=1, equal=0.98), plain)
    assert is_same(Difference(most=90, mean=1.5, equal=0.2), plain, lossy=True)


def test_the_nearest_of_a_batch_counts_and_other_sizes_do_not() -> None:
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    found = nearest([white, black], black)
    assert found == (1, Difference(most=0, mean=0.0, equal=1.0))
    assert difference(np.zeros((4, 8, 3), np.uint8), black) is None
    assert difference(white, black) == Difference(most=255, mean=255.0, equal=0.0)


def test_folders_hold_their_pictures_by_name(tmp_path: Path) -> None:
    for name in ("b.png", "a.webp", "c.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in picture_files([tmp_path, tmp_path / "b.png"])] == [
        "a.webp",
        "b.png",
        "b.png",
    ]


def test_sources_are_found_by_hash_and_by_the_name_in_a_graph(tmp_path: Path) -> None:
    from sd_concord.harness.stages.canvas import picture_hash

    pixels = [np.full((8, 8, 3), level, np.uint8) for level in (10, 20)]
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    [found] = possible_sources([tmp_path], [], hash_=picture_hash(pixels[1]))
    assert found.name == "1.png"
    assert [one.name for one in possible_sources([tmp_path], [], hash_="0" * 32)] == ["0.png", "1.png"]
    graph = {"1": {"class_type": "LoadImage", "inputs": {"image": "sub/0.png [input]"}}}
    assert [one.name for one in possible_sources([tmp_path], [], graph=json.dumps(graph))] == ["0.png"]
    shelf = PictureShelf(paths=[tmp_path])
    assert np.array_equal(shelf("1.png", ""), pixels[1])
    assert np.array_equal(shelf("1.png", "red"), pixels[1][..., 0])


def test_an_old_text_of_inpainting_without_blur_has_none(pipeline: Pipeline, tmp_path: Path) -> None:
    text = (
        "a cat\nSteps: 5, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x64, Denoising strength: 0.5, "
        "Masked content: latent noise, Version: v1.9.4"
    )
    recorded = read_recorded(written(tmp_path / "a.png", drawn(pipeline, "a1111"), text))
    assert recorded.record.inpaint == Inpaint(mask_blur=0, content="latent noise")
    assert recorded.wants_picture
    assert recorded.wants_mask
