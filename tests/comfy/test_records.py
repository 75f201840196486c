"""From the widgets of Concord's sampling nodes to records, over the stand-in of ComfyUI."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from comfy_fake import FakeComfy
from sd_concord.core.detailer import with_defaults
from sd_concord.core.errors import BadValue
from sd_concord.core.image import (
    ConcordSettings,
    DetailerUnit,
    Generation,
    Hires,
    ModelRef,
    Refiner,
    SamplerOptions,
    ScheduleOptions,
    Variation,
)

MODULES = ("images", "sampling", "hires", "refiner", "detailer")
WIDGETS: dict[str, Any] = {
    "profile": "a1111",
    "seed": 3,
    "steps": 20,
    "cfg": 7.0,
    "sampler": "euler",
    "scheduler": "karras",
    "width": 512,
    "height": 640,
    "denoise": 0.5,
}


@pytest.fixture
def records(fake_comfy: FakeComfy) -> ModuleType:
    return fake_comfy.module("records")


def asked(records: ModuleType, **given: Any) -> Generation:
    return records.record_of(records.Asked(**WIDGETS | given))


def test_widgets_left_alone_leave_the_profile_its_choices(records: ModuleType) -> None:
    assert asked(records, positive="a", negative="b") == Generation(
        prompt="a",
        negative_prompt="b",
        steps=20,
        sampler="euler",
        scheduler="karras",
        cfg=7.0,
        seed=3,
        size=(512, 640),
        concord=ConcordSettings(profile="a1111"),
    )


@pytest.mark.parametrize(
    ("given", "field", "wanted"),
    [
        ({"noise": "CPU"}, "rng", "CPU"),
        ({"noise": "graphics card"}, "rng", "NV"),
        ({"ensd": 31337}, "ensd", 31337),
        ({"clip_skip": 2}, "clip_skip", 2),
        ({"sgm_noise": "off"}, "schedule_options", ScheduleOptions(sgm_noise=False)),
        ({"variation": 0.5, "variation_seed": 9}, "variation", Variation(seed=9, strength=0.5)),
        ({"variation_seed": 9}, "variation", None),
        ({"emphasis": "No norm"}, "emphasis", "No norm"),
        ({"sampler": "concord_restart"}, "sampler", "restart"),
        ({"cfg_rescale": 0.7}, "concord", ConcordSettings(profile="a1111", cfg_rescale=0.7)),
        ({"dialect": "concord"}, "concord", ConcordSettings(profile="a1111", dialect="concord")),
    ],
)
def test_each_widget_has_its_place(records: ModuleType, given: Any, field: str, wanted: Any) -> None:
    assert getattr(asked(records, **given), field) == wanted


def test_options_are_read_and_unknown_ones_refused(records: ModuleType) -> None:
    record = asked(records, sampler="euler_ancestral", options="eta=0.7, rho=5\n")
    assert record.sampler_options == SamplerOptions(eta=0.7)
    assert record.schedule_options == ScheduleOptions(rho=5.0)
    with pytest.raises(BadValue, match="eta"):
        asked(records, sampler="euler_ancestral", options="etta=0.7")
    with pytest.raises(BadValue, match="write NAME=VALUE"):
        asked(records, options="eta")


def test_a_record_counts_where_it_says_something(records: ModuleType) -> None:
    picture = Generation(
        prompt="cat",
        seed=9,
        steps=5,
        sampler="heun",
        hires=Hires(upscale=2.0),
        denoising_strength=0.3,
        refiner=Refiner(model="x"),
        detailer=(DetailerUnit(model="face"),),
        version="v1.9.4",
    )
    widgets = asked(records, positive="dog")
    found = records.merged(picture, widgets, own_seed=True)
    assert (found.prompt, found.seed, found.steps, found.sampler) == ("cat", 9, 5, "heun")
    assert (found.scheduler, found.cfg, found.size) == (None, 7.0, (512, 640))
    assert (found.hires, found.refiner, found.detailer, found.denoising_strength) == (None, None, (), None)
    assert records.merged(picture, widgets, own_seed=False).seed == 3
    assert records.merged(None, widgets, own_seed=False) is widgets


def test_wildcards_are_chosen_by_the_seed_and_the_template_is_kept(
    records: ModuleType, tmp_path: Path
) -> None:
    pytest.importorskip("dynamicprompts")
    (tmp_path / "hue.txt").write_text("red\ngreen\nblue\n")
    record = Generation(prompt="a {big|small} __hue__ cat", seed=4)
    made, problems = records.expanded(record, tmp_path)
    assert (made.template, problems) == (record.prompt, [])
    assert made.prompt.split()[1] in ("big", "small")
    assert made.prompt.split()[2] in ("red", "green", "blue")
    assert records.expanded(record, tmp_path)[0] == made


def test_what_cannot_be_chosen_is_said(
    records: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dynamicprompts.generators", None)
    made, problems = records.expanded(Generation(prompt="a {b|c}", negative_prompt="d", seed=4), tmp_path)
    assert (made.prompt, made.template) == ("a {b|c}", None)
    assert ["dynamicprompts is not installed" in one for one in problems] == [True]


def test_the_model_is_named_by_its_file(records: ModuleType) -> None:
    made = records.finished_record(Generation(seed=1), "sub\\My Model.safetensors")
    assert made.model == ModelRef(name="My Model")
    assert made.version.startswith("Concord ")
    known = ModelRef(name="My Model", hash="0123456789")
    assert records.finished_record(Generation(seed=1, model=known), "My Model.safetensors").model == known


def test_hires_widgets_say_what_differs(fake_comfy: FakeComfy) -> None:
    hires = fake_comfy.module("hires")
    same = {"upscaler": "Latent", "upscale": 1.5, "width": 0, "height": 0, "steps": 0, "cfg": 0.0}
    same |= {"sampler": hires.SAME, "scheduler": hires.SAME, "positive": "", "negative": ""}
    assert hires.hires_of(**same) == Hires(upscale=1.5, upscaler="Latent")
    own = hires.hires_of(**same | {"width": 96, "steps": 4, "sampler": "heun", "positive": "a", "cfg": 2.0})
    assert own == Hires(resize=(96, 0), upscaler="Latent", steps=4, sampler="heun", prompt="a", cfg=2.0)


@pytest.mark.parametrize(
    ("first", "second", "passes"),
    [(True, True, "both passes"), (True, False, "first pass"), (False, True, "second pass")],
)
def test_the_passes_of_the_refiner_are_recorded(
    fake_comfy: FakeComfy, first: bool, second: bool, passes: str
) -> None:
    hires, own = fake_comfy.module("hires"), Refiner(model="r", switch_at=0.5)
    record = Generation(model=ModelRef(name="m"), refiner=own if first else None)
    other = fake_comfy.module("passes").Second(rig=None, settings=own) if second else None
    made = hires.with_hires(record, Hires(upscale=2.0), 0.4, "m.safetensors", other)
    assert made.refiner.passes == passes
    assert made.hires.checkpoint is None
    assert hires.with_hires(record, Hires(), 0.4, "other.safetensors", other).hires == Hires(
        upscale=2.0, upscaler="Latent", checkpoint="other"
    )


def test_a_unit_left_alone_is_adetailers(fake_comfy: FakeComfy) -> None:
    widgets = fake_comfy.module("detailer_widgets")
    given = {one.name: one.default for one in (*widgets.MAIN, *widgets.MORE)}
    unit = with_defaults(widgets.unit_of(given | {"inpaint_width": 0, "inpaint_height": 0}, "face"))
    assert unit == with_defaults(DetailerUnit(model="face"))


def test_each_widget_of_a_unit_has_its_place(fake_comfy: FakeComfy) -> None:
    widgets = fake_comfy.module("detailer_widgets")
    given = {one.name: one.default for one in (*widgets.MAIN, *widgets.MORE)}
    given |= {"seed": 5, "steps": 7, "cfg": 3.0, "scheduler": "karras", "inpaint_height": 0, "feather": 0}
    unit = widgets.unit_of(given, "face")
    assert (unit.seed, unit.use_steps, unit.steps, unit.use_cfg, unit.cfg) == (5, True, 7, True, 3.0)
    assert (unit.use_sampler, unit.sampler, unit.scheduler) == (True, "Use same sampler", "karras")
    assert (unit.inpaint_width, unit.inpaint_height, unit.feather) == (512, 512, 0)


@pytest.mark.parametrize("name", MODULES)
def test_every_input_is_explained_and_every_id_ours(fake_comfy: FakeComfy, name: str) -> None:
    module = fake_comfy.module(name)
    folders = module.__dict__.get("folder_paths") or fake_comfy.module("host").folder_paths
    folders.models_dir = str(fake_comfy.folder)
    folders.filter_files_content_types = lambda files, kinds: files
    (fake_comfy.folder / "upscale_models").mkdir()
    for node in module.NODES:
        schema = node.define_schema()
        assert schema.node_id.startswith("Concord")
        assert schema.category.startswith("Concord/")
        assert schema.description
        ids = [port.id for port in (*schema.inputs, *schema.outputs)]
        assert len(set(ids)) == len(ids)
        assert all(port.given.get("tooltip", "").endswith((".", "4")) for port in schema.inputs)
