"""The detailer's panel on every shape of host: its components, ADetailer beside it, pasted texts and X/Y/Z axes."""

from types import ModuleType, SimpleNamespace

import pytest
from sd_concord.core.detailer import DEFAULTS, unit_from_args
from sd_concord.core.detailer.arguments import _ARGS as ARGS
from sd_concord.core.detailer_fields import BY_NAME, FIELDS
from sd_concord.core.image import DetailerUnit, Generation, format_infotext
from sd_concord.core.image.keys import KEYS, UNIT
from sd_concord.core.image.pairs import read_pairs, split_text
from webui_detailer import bench

SIZE = len(FIELDS) + 1
BOX = (8, 8, 40, 48)


@pytest.fixture
def host(webui_fake, tmp_path, monkeypatch):
    made = bench(webui_fake, tmp_path)
    made.finds(monkeypatch, BOX)
    return made


def panel_values(script, **given):
    """Return a script's values with the panel on and fields of the first unit set."""
    values = list(script.values)
    values[0] = True
    names = [field.name for field in FIELDS]
    for name, value in {"model": "face", **given}.items():
        values[4 + names.index(name)] = value
    return values


def test_the_table_has_every_option_of_a_unit_once():
    fields = [key.path for key in UNIT if key.path != "found"]
    assert sorted(field.name for field in FIELDS) == sorted(fields)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_the_table_agrees_with_the_defaults_and_adetailers_arguments(field):
    wanted = getattr(DEFAULTS, field.name)
    assert field.default == wanted or wanted is None or field.kind == "name"
    if field.arg:
        assert ARGS[field.arg].field == field.name
        assert field.low >= ARGS[field.arg].low or field.kind not in ("whole", "number")
    if field.kind in ("whole", "number"):
        assert field.low <= field.default <= field.high
        assert isinstance(field.default, float) == (field.kind == "number")


@pytest.mark.parametrize("img2img", [False, True], ids=["txt2img", "img2img"])
def test_the_panel_has_every_option_of_every_unit(host, img2img):
    script, controls = host.webui.make_ui(type(host.script()), img2img=img2img)
    assert len(controls) == 3 + 4 * SIZE
    ids = [one.elem_id for one in controls]
    assert len(set(ids)) == len(ids)
    tab = "img2img" if img2img else "txt2img"
    assert all(one.startswith(f"concord_{tab}_detailer_") for one in ids)
    assert {one for one, _ in script.infotext_fields} == set(controls)
    assert all(one.value is not None for one in controls)


def test_the_count_of_units_is_a_setting(host):
    host.script()
    for add in host.webui.callbacks["ui_settings"]:
        add()
    assert host.webui.opts.data_labels["concord_detailer_units"].section == ("concord", "Concord")
    host.webui.opts.data["concord_detailer_units"] = 2
    assert len(host.script().values) == 3 + 2 * SIZE


def test_making_the_page_again_and_again_leaves_nothing_behind(host):
    script = type(host.script())
    before = {name: len(found) for name, found in host.webui.callbacks.items()}
    for _ in range(3):
        host.webui.make_ui(script)
    assert {name: len(found) for name, found in host.webui.callbacks.items()} == before


def test_loading_brings_the_scripts_and_not_the_detailer_itself(webui_fake):
    import sys

    for name in [name for name in sys.modules if name.startswith("sd_concord.core.detailer.")]:
        del sys.modules[name]
    classes = webui_fake.load()
    assert {"ConcordDetailer", "ConcordAsADetailer"} <= set(classes)
    assert not [name for name in sys.modules if name.startswith("sd_concord.core.detailer.")]


def adetailer(host, **given):
    """Return ADetailer's script as the host has it, loaded and with arguments."""

    class AfterDetailerScript(host.webui.scripts.Script):
        def title(self):
            return "ADetailer"

    made = AfterDetailerScript()
    made.filename = "/extensions/adetailer/scripts/!adetailer.py"
    data = SimpleNamespace(
        script_class=AfterDetailerScript, path=made.filename, module=ModuleType("!adetailer.py")
    )
    host.webui.scripts.scripts_data.append(data)
    made.args_from, made.args_to = 0, 3
    return made


def test_adetailers_name_is_answered_to_where_it_is_not_there(host):
    script = host.script("ConcordAsADetailer")
    assert script.title() == "ADetailer"
    assert script.show(False) is host.webui.scripts.AlwaysVisible
    p = host.request()
    host.run(script, p, [{"ad_model": "face"}])
    assert len(host.passes) == 1
    adetailer(host)
    assert script.show(False) is False


def test_the_panel_says_when_adetailer_is_there_too(host):
    def notes():
        host.webui.gradio.made.clear()
        host.script()
        return [one.value for one in host.webui.gradio.made if one.kind == "Markdown"]

    assert notes() == []
    adetailer(host)
    [note] = notes()
    assert "both redraw" in note


@pytest.mark.parametrize("on", [True, False], ids=["on", "off"])
def test_both_on_is_said_and_both_are_in_the_infotext(host, on):
    other = adetailer(host)
    script, p = host.script(), host.request()
    p.scripts = SimpleNamespace(alwayson_scripts=[other], selectable_scripts=[], scripts=[])
    p.script_args = (on, False, {"ad_model": "hand.pt"})
    args = host.placed(script, [True, False, {"ad_model": "face"}])
    script.before_process(p, *args)
    script.process(p, *args)
    if on:
        p.extra_generation_params |= {"ADetailer model": "hand.pt", "ADetailer model classes": "hand"}
    script.before_process_batch(p, *args)
    script.before_process_batch(p, *args)
    models = {
        key: value for key, value in p.extra_generation_params.items() if key.startswith("ADetailer model")
    }
    if on:
        assert models == {
            "ADetailer model": "hand.pt",
            "ADetailer model classes": "hand",
            "ADetailer model 2nd": "face",
        }
        assert "ADetailer is on too" in next(iter(p.comments))
    else:
        assert models == {"ADetailer model": "face"}
        assert p.comments == {}


ARGS_AND_VALUES = {
    "plain": ({}, {}),
    "numbers": (
        {"ad_confidence": 0.5, "ad_mask_k": 2, "ad_x_offset": -3},
        {"confidence": 0.5, "mask_k": 2.0, "x_offset": -3},
    ),
    "texts": ({"ad_prompt": "a: b, (c)\nd"}, {"prompt": "a: b, (c)\nd"}),
    "switched": (
        {"ad_use_sampler": True, "ad_sampler": "Euler a", "ad_scheduler": "Karras"},
        {"use_sampler": True, "sampler": "Euler a", "scheduler": "Karras"},
    ),
    "not switched": ({"ad_steps": 9}, {"steps": 9}),
    "ours": (
        {"crop_factor": 2.5, "noise_mask": True, "feather": -1, "seed": 5},
        {"crop_factor": 2.5, "noise_mask": True, "feather": -1, "seed": 5.0},
    ),
}


@pytest.mark.parametrize("case", ARGS_AND_VALUES)
def test_the_panel_and_adetailers_arguments_ask_for_the_same(host, case):
    args, values = ARGS_AND_VALUES[case]
    script = host.script()
    reader = host.webui.part("detailer_units")
    as_dict = reader.asked_of(host.placed(script, [True, False, {"ad_model": "face", **args}]))
    assert reader.asked_of(panel_values(script, **values)) == as_dict
    assert len(as_dict.units) == 1
    assert as_dict.units[0].model == "face"


def params_of(text):
    """Return what the host reads from a text's settings."""
    return dict(read_pairs(split_text(text)[2], KEYS))


UNITS = {
    "as it comes": (DetailerUnit(model="face"),),
    "much": (
        unit_from_args(
            {
                "ad_model": "face",
                "ad_prompt": 'a "b": c, d',
                "ad_use_sampler": True,
                "ad_sampler": "DPM++ 2M",
                "ad_scheduler": "Karras",
                "ad_use_inpaint_width_height": True,
                "ad_inpaint_width": 640,
                "ad_mask_merge_invert": "Merge",
                "ad_inpaint_only_masked": False,
            }
        ),
    ),
    "one off between": (
        unit_from_args({"ad_model": "face"}),
        DetailerUnit(),
        unit_from_args({"ad_model": "face-lbp", "ad_use_steps": True, "ad_steps": 7}),
    ),
    "ours": (
        DetailerUnit(
            model="face", cycle=2, crop_factor=2.0, seed=3, feather=5, sort_order="Area (large to small)"
        ),
    ),
}


@pytest.mark.parametrize("case", UNITS)
def test_a_pasted_text_fills_the_panel_and_the_panel_asks_for_the_same(host, case):
    text = format_infotext(
        Generation(prompt="a cat", steps=5, sampler="euler", cfg=7.0, detailer=UNITS[case])
    )
    script = host.script()
    values = {id(one): one.value for one, _ in script.infotext_fields}
    for component, read in script.infotext_fields:
        value = read(params_of(text))
        if value is not None:
            assert isinstance(value, (type(component.value), int, float))
            values[id(component)] = value
    reader = host.webui.part("detailer_units")
    pasted = reader.asked_of([values[id(one)] for one, _ in script.infotext_fields])
    wanted = [one for one in UNITS[case] if one.model]
    found = [one for one in pasted.units if one.model]
    texts = [format_infotext(Generation(detailer=(one,))) for one in wanted]
    assert [_without_defaults(format_infotext(Generation(detailer=(one,)))) for one in found] == [
        _without_defaults(text) for text in texts
    ]


def _without_defaults(text):
    """Return the keys of a unit that say something: a panel writes the defaults that a bare record leaves out."""
    silent = {
        f"{key.label}: {key.rule.write(getattr(DEFAULTS, key.path))}" for key in UNIT if key.path in BY_NAME
    }
    return [pair for pair in text.split(", ") if pair not in silent]


def test_a_text_without_a_detailer_turns_the_panel_off_and_leaves_the_rest(host):
    script = host.script()
    params = {"Steps": "5", "Sampler": "Euler"}
    (_, enable), *rest = script.infotext_fields
    assert enable(params) is False
    assert [read(params) for _, read in rest] == [None] * len(rest)


def test_a_text_of_an_adetailer_that_is_there_is_left_to_it(host):
    script = host.script()
    enable = script.infotext_fields[0][1]
    params = {
        "ADetailer model": "face_yolov8n.pt",
        "ADetailer confidence": "0.3",
        "ADetailer version": "25.3.0",
    }
    assert enable(params) is True
    adetailer(host)
    assert enable(params) is False


def axes(host):
    """Return the detailer's axes, as they stand in the host's plot."""
    module = ModuleType("xyz_grid.py")
    module.axis_options = [SimpleNamespace(label="Nothing")]
    module.AxisOption = lambda label, kind, apply, **more: SimpleNamespace(
        label=label, type=kind, apply=apply, **more
    )
    data = SimpleNamespace(script_class=type("Script", (), {}), path="xyz_grid.py", module=module)
    host.webui.scripts.scripts_data += [data, data]
    for _ in range(2):
        for add in host.webui.callbacks["before_ui"]:
            add()
    return module.axis_options


AXES = {
    "Denoising strength 1st": (0.7, {"denoising_strength": 0.7}),
    "Steps 1st": (12, {"use_steps": True, "steps": 12}),
    "Sampler 1st": ("DPM++ 2M", {"use_sampler": True, "sampler": "dpmpp_2m"}),
    "CFG scale 1st": (3.0, {"use_cfg": True, "cfg": 3.0}),
    "Schedule type 1st": (
        "Karras",
        {"use_sampler": True, "sampler": "Use same sampler", "scheduler": "karras"},
    ),
    "Inpaint width 1st": (256, {"use_inpaint_size": True, "inpaint_width": 256, "inpaint_height": 256}),
    "Noise mask 1st": ("True", {"noise_mask": True}),
    "Seed 1st": (-1, {"seed": None}),
}


@pytest.mark.parametrize("label", AXES)
def test_an_axis_reaches_its_unit_and_turns_on_what_it_needs(host, label):
    host.script()
    [axis] = [one for one in axes(host) if one.label == f"[Concord Detailer] {label}"]
    value, wanted = AXES[label]
    p = host.request()
    axis.apply(p, axis.type(value), [value])
    job = host.webui.part("detailer_job").job_of(p, (True, False, {"ad_model": "face"}, {"ad_model": "face"}))
    first, second = job.asked.units
    assert {name: getattr(first, name) for name in wanted} == wanted
    assert second == unit_from_args({"ad_model": "face"})


def test_a_second_load_leaves_one_of_each_axis(host):
    host.script()
    host.script()
    labels = [one.label for one in axes(host)]
    assert len(set(labels)) == len(labels)
    assert labels[0] == "Nothing"
    assert "[Concord Detailer] Mask blur 4th" in labels


def test_cells_do_not_share_their_values(host):
    import copy

    host.script()
    [axis] = [one for one in axes(host) if one.label == "[Concord Detailer] Denoising strength 1st"]
    p = host.request()
    cells = [copy.copy(p) for _ in range(2)]
    for cell, value in zip(cells, (0.1, 0.9), strict=True):
        axis.apply(cell, value, [0.1, 0.9])
    job = host.webui.part("detailer_job")
    units = [job.job_of(cell, (True, False, {"ad_model": "face"})).asked.units[0] for cell in cells]
    assert [unit.denoising_strength for unit in units] == [0.1, 0.9]


def test_search_and_replace_reaches_the_prompts(host):
    script, p = host.script(), host.request()
    [axis] = [one for one in axes(host) if one.label == "[Concord Detailer] Prompt S/R"]
    axis.apply(p, "dog", ["cat", "dog"])
    host.run(script, p, [True, False, {"ad_model": "face", "ad_prompt": "a cat"}])
    assert host.passes[0].prompt == ["a dog"]
