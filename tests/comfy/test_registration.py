"""Concord's samplers and schedules in ComfyUI's tables."""

from __future__ import annotations

import asyncio
import logging
from importlib import import_module, reload
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from comfy_fake import CONST, PACKAGE, FakeComfy, ModelSamplingFlux
from sd_concord.core.sampling import SAMPLERS
from sd_concord.core.sigmas import SCHEDULERS, ModelSigmas, get_sigmas


def tables(comfy: FakeComfy) -> dict[str, Any]:
    host = comfy.samplers
    return {
        "samplers": list(host.KSampler.SAMPLERS),
        "names": list(host.SAMPLER_NAMES),
        "schedulers": list(host.KSampler.SCHEDULERS),
        "scheduler names": list(host.SCHEDULER_NAMES),
        "handlers": dict(host.SCHEDULER_HANDLERS),
        "functions": {name: value for name, value in vars(comfy.k_diffusion).items() if name[0] != "_"},
    }


def test_every_sampler_and_schedule_is_listed_once_behind_the_hosts_own(fake_comfy: FakeComfy) -> None:
    fake_comfy.module("registration").register()
    found = tables(fake_comfy)
    assert found["samplers"] == ["euler", "heun", *(f"concord_{name}" for name in SAMPLERS)]
    assert found["schedulers"] == ["normal", "karras", *(f"concord_{name}" for name in SCHEDULERS)]
    assert found["names"] == found["samplers"]
    assert list(found["handlers"]) == found["schedulers"]
    assert all(f"sample_concord_{name}" in found["functions"] for name in SAMPLERS)


def test_no_name_without_the_prefix_is_taken(fake_comfy: FakeComfy) -> None:
    before = tables(fake_comfy)
    fake_comfy.module("registration").register()
    new = [name for name in fake_comfy.samplers.SCHEDULER_HANDLERS if name not in before["handlers"]]
    assert all(name.startswith("concord_") for name in new)
    assert fake_comfy.k_diffusion.sample_euler is before["functions"]["sample_euler"]


def test_a_second_time_it_changes_no_list(fake_comfy: FakeComfy) -> None:
    registration = fake_comfy.module("registration")
    registration.register()
    once = tables(fake_comfy)
    registration.register()
    twice = tables(fake_comfy)
    assert {key: list(value) for key, value in once.items()} == {
        key: list(value) for key, value in twice.items()
    }


def test_unloading_leaves_the_host_as_it_was(fake_comfy: FakeComfy) -> None:
    before = tables(fake_comfy)
    registration = fake_comfy.module("registration")
    registration.register()
    registration.unregister()
    assert tables(fake_comfy) == before


@pytest.mark.parametrize("first", [True, False], ids=["the other pack first", "Concord first"])
def test_a_pack_that_rebinds_the_menus_hides_nothing(fake_comfy: FakeComfy, first: bool) -> None:
    registration = fake_comfy.module("registration")

    def rebind() -> None:
        menus = fake_comfy.samplers.KSampler
        menus.SAMPLERS = [*menus.SAMPLERS, "res_2m"]
        menus.SCHEDULERS = [*menus.SCHEDULERS, "ays"]

    for work in (rebind, registration.register) if first else (registration.register, rebind):
        work()
    host = fake_comfy.samplers
    for one in (host.KSampler.SAMPLERS, host.SAMPLER_NAMES):
        assert one.count("concord_euler") == 1
    for one in (host.KSampler.SCHEDULERS, host.SCHEDULER_NAMES):
        assert one.count("concord_karras") == 1
    assert "res_2m" in host.KSampler.SAMPLERS
    registration.unregister()
    assert host.KSampler.SAMPLERS == ["euler", "heun", "res_2m"]


def test_a_name_of_another_pack_stays_its_own(
    fake_comfy: FakeComfy, caplog: pytest.LogCaptureFixture
) -> None:
    fake_comfy.k_diffusion.sample_concord_euler = theirs = lambda: None
    handler = fake_comfy.samplers.SchedulerHandler(lambda ms, n: None)
    fake_comfy.samplers.SCHEDULER_HANDLERS["concord_karras"] = handler
    fake_comfy.samplers.SAMPLER_NAMES.append("concord_heun")
    registration = fake_comfy.module("registration")
    with caplog.at_level(logging.WARNING):
        registration.register()
    assert fake_comfy.k_diffusion.sample_concord_euler is theirs
    assert fake_comfy.samplers.SCHEDULER_HANDLERS["concord_karras"] is handler
    assert not hasattr(fake_comfy.k_diffusion, "sample_concord_heun")
    assert sorted(record.args[0] for record in caplog.records) == [  # type: ignore[index]
        "concord_euler",
        "concord_heun",
        "concord_karras",
    ]
    registration.unregister()
    assert fake_comfy.k_diffusion.sample_concord_euler is theirs
    assert "concord_heun" in fake_comfy.samplers.SAMPLER_NAMES


def test_a_newer_copy_of_the_pack_replaces_the_older(fake_comfy: FakeComfy) -> None:
    registration = fake_comfy.module("registration")
    registration.register()
    older = fake_comfy.k_diffusion.sample_concord_euler
    reload(registration).register()
    assert fake_comfy.k_diffusion.sample_concord_euler is not older
    assert fake_comfy.samplers.SAMPLER_NAMES.count("concord_euler") == 1


@pytest.mark.parametrize("steps", [1, 20, 30_000])
def test_a_schedule_is_the_cores_for_the_models_sigmas(fake_comfy: FakeComfy, steps: int) -> None:
    fake_comfy.module("registration").register()
    model = SimpleNamespace(sigmas=ModelSigmas.zsnr().table)
    handler = fake_comfy.samplers.SCHEDULER_HANDLERS["concord_align_your_steps"]
    assert handler.use_ms
    wanted = get_sigmas("align_your_steps", min(steps, 10_000), ModelSigmas.zsnr())
    assert torch.equal(handler.handler(model, steps), wanted)


def flow(kind: type, shift: float) -> Any:
    made = type("Flow", (CONST, kind), {})()
    made.sigmas, made.shift = ModelSigmas.flow(3.0).table, shift
    return made


@pytest.mark.parametrize(
    ("sampling", "wanted"),
    [
        pytest.param(SimpleNamespace(sigmas=ModelSigmas.sd().table), ModelSigmas.sd(), id="eps and v"),
        pytest.param(SimpleNamespace(sigmas=ModelSigmas.zsnr().table), ModelSigmas.zsnr(), id="ztsnr"),
        pytest.param(flow(object, 3.0), ModelSigmas.flow(3.0), id="flow"),
        pytest.param(flow(ModelSamplingFlux, 1.0986122886681098), ModelSigmas.flow(3.0), id="Flux"),
    ],
)
def test_the_sigma_table_is_the_hosts(fake_comfy: FakeComfy, sampling: Any, wanted: ModelSigmas) -> None:
    found = fake_comfy.module("denoiser").model_sigmas(sampling)
    assert torch.equal(found.table, wanted.table)
    assert (found.kind, found.shift) == (wanted.kind, pytest.approx(wanted.shift))


def test_a_table_with_repeats_and_a_zero_is_taken(fake_comfy: FakeComfy) -> None:
    sampling = SimpleNamespace(sigmas=torch.tensor([0.0, 0.1, 0.1, 2.0]))
    assert fake_comfy.module("denoiser").model_sigmas(sampling).values == pytest.approx((0.1, 2.0))


def test_the_entry_point_registers_and_gives_the_nodes_of_all_modules(
    fake_comfy: FakeComfy, monkeypatch: pytest.MonkeyPatch
) -> None:
    front = import_module(PACKAGE)
    monkeypatch.setattr(front, "MODULES", ("text", "sigmas"))
    nodes = asyncio.run(front.extension().get_node_list())
    ids = [node.define_schema().node_id for node in nodes]
    assert ids[:3] == ["ConcordTextEncode", "ConcordLoraPrompt", "ConcordExplain"]
    assert len(set(ids)) == len(ids)
    assert "concord_euler" in fake_comfy.samplers.SAMPLER_NAMES


def test_a_module_that_cannot_be_imported_removes_its_own_nodes_alone(
    fake_comfy: FakeComfy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    front = import_module(PACKAGE)
    monkeypatch.setattr(front, "MODULES", ("no_such_module", "sigmas"))
    with caplog.at_level(logging.WARNING):
        nodes = asyncio.run(front.extension().get_node_list())
    assert nodes
    assert "no_such_module" in caplog.text


@pytest.mark.parametrize("module", ["text", "sigmas"])
def test_every_node_and_input_says_what_it_is(fake_comfy: FakeComfy, module: str) -> None:
    for node in fake_comfy.module(module).NODES:
        schema = node.define_schema()
        assert schema.node_id == node.__name__
        assert schema.display_name.startswith("Concord ")
        assert schema.category.startswith("Concord/")
        assert schema.description
        assert all(port.given.get("tooltip") for port in (*schema.inputs, *schema.outputs))
        texts = [
            port for port in schema.inputs if "dynamic_prompts" in port.given or port.given.get("multiline")
        ]
        assert all(port.given["dynamic_prompts"] is False for port in texts)
