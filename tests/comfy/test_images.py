"""Concord Load Image Settings and Concord Save Image over the stand-in of ComfyUI."""

from __future__ import annotations

import gzip
import json
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from comfy_fake import FakeComfy
from golden import golden_dir
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from sd_concord.core.errors import BadValue
from sd_concord.core.image import Generation, Hires, ModelRef, parse_infotext, read_image_info
from sd_concord.core.sampling import SAMPLERS


@pytest.fixture
def images(fake_comfy: FakeComfy, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, with ComfyUI's command line and the folders that it asks for."""
    module = fake_comfy.module("images")
    arguments = SimpleNamespace(disable_metadata=False)
    own = ModuleType("comfy.cli_args")
    own.args = arguments  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "comfy.cli_args", own)
    folders: Any = module.folder_paths
    folders.get_annotated_filepath = lambda name: str(fake_comfy.folder / "input" / name)
    folders.exists_annotated_filepath = lambda name: (fake_comfy.folder / "input" / name).is_file()
    folders.filter_files_content_types = lambda files, kinds: [one for one in files if one.endswith(".png")]
    module.arguments = arguments
    return module


@pytest.mark.golden
def test_every_infotext_of_the_web_uis_gives_values_that_nodes_take(images: ModuleType) -> None:
    with gzip.open(golden_dir("infotext") / "create.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [row[host] for row in map(json.loads, lines) for host in ("a1111", "forge")]
    assert len(texts) > 100
    for text in texts:
        record = images.with_profile(parse_infotext(text))
        found = images.settings_of(record, (64, 64), [])
        assert found.sampler_name in SAMPLERS
        assert found.steps == record.steps
        assert found.cfg == record.cfg
        assert found.clip_layer == -(record.clip_skip or 1)


@pytest.mark.golden
def test_the_picture_of_a_comfyui_graph_is_read(images: ModuleType, fake_comfy: FakeComfy) -> None:
    graph = (golden_dir("pictures") / "comfyui" / "126.json").read_text(encoding="utf-8")
    info = PngInfo()
    info.add_text("prompt", graph)
    Image.new("RGB", (64, 48), "red").save(fake_comfy.folder / "input" / "a.png", pnginfo=info)
    out = images.LoadImageSettings.execute("a.png")
    picture, record, *values, text = out.args
    assert picture.shape == (1, 48, 64, 3)
    assert record.concord.profile == "comfyui"
    assert values[4] == json.loads(graph)["6"]["inputs"]["seed"]
    assert values[5] == json.loads(graph)["6"]["inputs"]["sampler_name"]
    assert out.ui == {"text": [text]}


def test_names_are_those_of_the_dropdowns(images: ModuleType, fake_comfy: FakeComfy) -> None:
    fake_comfy.samplers.KSampler.SAMPLERS.append("concord_restart")
    text = "a\nSteps: 5, Sampler: Restart, Schedule type: Karras, CFG scale: 4, Seed: 7, Model: my model"
    files = ["x/other.safetensors", "x/My Model.safetensors"]
    found = images.settings_of(images.with_profile(parse_infotext(text)), (48, 64), files)
    assert (found.sampler_name, found.scheduler) == ("concord_restart", "karras")
    assert found.model_name == "x/My Model.safetensors"
    assert (found.width, found.height) == (48, 64)


@pytest.mark.parametrize(
    ("version", "profile"),
    [("v1.9.4", "a1111"), ("f2.0.1v1.10.1", "forge"), ("ComfyUI", "comfyui"), (None, None)],
)
def test_the_profile_is_that_of_the_program(
    images: ModuleType, version: str | None, profile: str | None
) -> None:
    record = images.with_profile(Generation(version=version))
    assert (record.concord and record.concord.profile) == profile


def save(images: ModuleType, record: Generation | None = None, **given: Any) -> Any:
    pictures = torch.rand(2, 8, 16, 3)
    images.SaveImage.hidden = SimpleNamespace(
        prompt={"1": {"class_type": "x", "inputs": {}}}, extra_pnginfo={"workflow": {"a": 1}, "more": 2}
    )
    return images.SaveImage.execute(
        **{"images": pictures, "filename": "%seed%", "format": "png", "workflow": True, "record": record}
        | given
    )


def test_a_batch_is_saved_each_with_its_seed_and_comfyuis_texts(
    images: ModuleType, fake_comfy: FakeComfy
) -> None:
    out = save(images, Generation(prompt="a", seed=5, steps=3, cfg=2.0))
    names = [one["filename"] for one in out.ui["images"]]
    assert names == ["5_00001.png", "6_00001.png"]
    path = fake_comfy.folder / "output" / names[1]
    assert read_image_info(path).seed == 6
    assert {"prompt", "workflow", "more"} <= Image.open(path).text.keys()  # type: ignore[attr-defined]
    assert out.args[0].endswith("Steps: 3, CFG scale: 2.0, Seed: 5")
    assert save(images, Generation(seed=5)).ui["images"][0]["filename"] == "5_00002.png"


def test_without_metadata_nothing_is_written_beside_the_pixels(
    images: ModuleType, fake_comfy: FakeComfy
) -> None:
    images.arguments.disable_metadata = True
    out = save(images, Generation(prompt="a", seed=5))
    assert Image.open(fake_comfy.folder / "output" / out.ui["images"][0]["filename"]).info == {}


def test_other_formats_hold_what_they_can(images: ModuleType) -> None:
    more = {"workflow": {"a": 1}, "more": 2}
    assert set(images.chunks_of({}, more, "png")) == {"prompt", "workflow", "more"}
    assert set(images.chunks_of({}, more, "webp")) == {"prompt", "workflow"}


def test_a_record_is_read_from_the_graph_where_none_is_wired(images: ModuleType) -> None:
    assert images.records_of(None, 2, {"1": {"class_type": "x", "inputs": {}}}) == [
        Generation(),
        Generation(),
    ]
    assert images.records_of(Generation(seed=1), 2)[1].seed == 2


def test_pixels_are_cut_to_levels_and_come_back_whole(fake_comfy: FakeComfy) -> None:
    wires = fake_comfy.module("wires")
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, -1)
    assert np.array_equal(wires.pixels_of(wires.image_of(levels))[0], levels[0])
    assert wires.pixels_of(torch.full((1, 1, 1, 4), 0.999))[0].tolist() == [[[254] * 3]]
    assert wires.pixels_of(torch.tensor([[[[float("nan")]]]]))[0].tolist() == [[[0] * 3]]
    with pytest.raises(BadValue, match="wire an IMAGE"):
        wires.pixels_of(torch.zeros(0, 8, 8, 3))


def test_the_models_file_is_found_up_the_wires(fake_comfy: FakeComfy) -> None:
    wires = fake_comfy.module("wires")
    graph = {
        "1": {"inputs": {"ckpt_name": "clip.safetensors"}},
        "2": {"inputs": {"ckpt_name": "model.safetensors"}},
        "3": {"inputs": {"model": ["2", 0]}},
        "4": {"inputs": {"clip": ["1", 1], "model": ["3", 0], "seed": 1}},
        "5": {"inputs": {"image": ["4", 2]}},
    }
    assert wires.upstream_value(graph, "4", ("ckpt_name",)) == "model.safetensors"
    assert wires.upstream_value(graph, "9", ("ckpt_name",)) is None
    assert wires.upstream_value(None, "4", ("ckpt_name",)) is None
    assert wires.is_wired(graph, "4", 2)
    assert not wires.is_wired(graph, "4", 0)


def test_hires_strength_is_the_records(images: ModuleType) -> None:
    record = Generation(seed=1, denoising_strength=0.4, hires=Hires(upscale=2.0), model=ModelRef(name="m"))
    assert images.settings_of(record, (64, 64), []).denoise == 0.4
