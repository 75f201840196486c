"""How the pack gets into a host: by one file, as often as the host likes, whatever else is on the path."""

import logging
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from webui_fake import PACKAGE, ROOT

NAMES = ("core", "tests", "utils", "scripts", "samplers")


def tables(webui):
    """Return the names in all tables that the pack may touch."""
    found = {
        "samplers": [one.name for one in webui.sd_samplers.all_samplers],
        "samplers by name": sorted(webui.sd_samplers.all_samplers_map),
        "samplers found": sorted(webui.sd_samplers.samplers_map),
        "extra": len(webui.sd_samplers_kdiffusion.sampler_extra_params),
        "callbacks": {category: len(found) for category, found in webui.callbacks.items()},
    }
    if webui.shape != "classic":
        found["schedules"] = [one.label for one in webui.sd_schedulers.schedulers]
        found["schedules by name"] = sorted(webui.sd_schedulers.schedulers_map)
    return found


def test_the_host_is_known_by_what_it_has(webui_fake):
    host = webui_fake.part("host").detect()
    assert host.shape == webui_fake.shape
    assert host.schedulers == (webui_fake.shape != "classic")
    assert host.denoised == (webui_fake.shape == "a1111")
    assert host.before_sampling == (webui_fake.shape != "a1111")
    assert host.image_index == (webui_fake.shape == "forge")


@pytest.mark.parametrize("major", [3, 4])
def test_its_gradio_is_known(make_webui, major):
    assert make_webui("a1111", major).part("host").detect().gradio == major


def test_every_part_comes_in(webui_fake, caplog):
    found = webui_fake.register()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert "ConcordSigmas" in found
    assert all(issubclass(one, webui_fake.scripts.Script) for one in found.values())


def test_no_part_is_named_that_is_not_there(make_webui):
    make_webui("forge")
    from sd_concord.a1111_scripts import PARTS

    assert [part for part in PARTS if not (ROOT / "a1111_scripts" / f"{part}.py").is_file()] == []


@pytest.mark.parametrize("major", [3, 4])
def test_every_script_makes_its_ui_on_both_tabs_again_and_again(make_webui, major):
    webui = make_webui("a1111", major)
    classes = webui.register()
    before = tables(webui)
    for script in classes.values():
        for img2img in (False, True, False):
            webui.make_ui(script, img2img=img2img)
    ids = [one.elem_id for one in webui.gradio.made if one.elem_id]
    assert tables(webui) == before
    assert [one for one in ids if not one.startswith("concord_")] == []


def test_a_reload_leaves_one_of_each_and_brings_new_code(webui_fake):
    """The host runs scripts/concord.py again in the same process."""
    webui_fake.load()
    first, before = tables(webui_fake), sys.modules[PACKAGE]
    samplers = [one for one in webui_fake.sd_samplers.all_samplers if "concord" in one.options]
    webui_fake.load()
    assert tables(webui_fake) == first
    assert sys.modules[PACKAGE] is not before
    assert not {id(one) for one in samplers} & {id(one) for one in webui_fake.sd_samplers.all_samplers}


def test_what_the_host_had_is_untouched(webui_fake):
    own = list(webui_fake.sd_samplers.all_samplers)
    maps = dict(webui_fake.sd_samplers.all_samplers_map)
    schedules = [] if webui_fake.shape == "classic" else list(webui_fake.sd_schedulers.schedulers)
    webui_fake.register()
    assert webui_fake.sd_samplers.all_samplers[: len(own)] == own
    assert maps.items() <= webui_fake.sd_samplers.all_samplers_map.items()
    if schedules:
        assert webui_fake.sd_schedulers.schedulers[: len(schedules)] == schedules


@pytest.mark.parametrize("shape", ["a1111", "forge"])
def test_foreign_modules_of_common_names_are_not_taken(make_webui, shape, monkeypatch, tmp_path):
    webui_fake = make_webui(shape)
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not ours')", encoding="utf-8")
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert webui_fake.load()
    assert [name for name in NAMES if getattr(sys.modules[name], "__file__", None)] == []


def test_nothing_of_ours_is_found_by_a_common_name(make_webui):
    webui_fake = make_webui("forge")
    before = set(sys.modules)
    webui_fake.load()
    fresh = {name.partition(".")[0] for name in set(sys.modules) - before}
    assert not fresh & {"core", "a1111_scripts", "comfy_nodes", "harness", "scripts"}


def test_a_part_that_fails_costs_itself_and_one_line(webui_fake, monkeypatch, caplog):
    whole = set(webui_fake.register())
    part = webui_fake.part("sigma_panel")
    package = sys.modules[PACKAGE]
    monkeypatch.setattr(part, "register", lambda: (_ for _ in ()).throw(RuntimeError("no\nsigmas")))
    caplog.clear()
    found = {one.__name__ for one in package.register()}
    assert found == whole - {"ConcordSigmas"}
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    said = [line for line in lines if "sigma_panel" in line]
    assert said == ["Concord: sigma_panel is left out, the rest is there: no sigmas"]


def test_a_host_without_what_a_part_wants_keeps_the_rest(webui_fake, monkeypatch, caplog):
    monkeypatch.delattr(webui_fake.infotext_utils, "PasteField")
    monkeypatch.delattr(webui_fake.sd_samplers_common, "SamplerData")
    found = webui_fake.register()
    assert "ConcordSigmas" in found
    said = [record.getMessage() for record in caplog.records if "samplers is left out" in record.getMessage()]
    assert len(said) == 1
    assert "\n" not in said[0]


HEAVY = ("diffusers", "ultralytics", "scipy", "transformers", "cv2", "onnxruntime", "spandrel", "torchvision")


def test_nothing_heavy_is_imported_and_it_is_quick():
    """In a process of its own, as this one has it all; in seconds of the processor."""
    code = f"""
import sys, time
sys.path[:0] = [{str(Path(__file__).parents[1] / "support")!r}]
import torch
from webui_fake import _build
webui = _build("forge", 4)
sys.modules.update(webui.modules)
before = set(sys.modules)
seconds = []
for _ in range(3):
    begin = time.process_time()
    webui.load()
    seconds.append(time.process_time() - begin)
fresh = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(sorted(fresh & set({HEAVY!r})), min(seconds))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found, _, seconds = done.stdout.strip().rpartition(" ")
    assert found == "[]"
    assert float(seconds) < 0.5
