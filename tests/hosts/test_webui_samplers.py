"""Concord's samplers and schedules in the real web UIs: all of them draw, and twins of the host's draw its pictures."""

from functools import cache

import numpy as np
import pytest
from miniatures import golden_checkpoint
from sd_concord.core.image import parse_infotext
from sd_concord.core.sampling import SAMPLERS
from sd_concord.core.sigmas import SCHEDULERS
from webui_host import DEMO_MODEL

pytestmark = pytest.mark.hosts
SMALL = {"width": 64, "height": 64, "steps": 2, "cfg_scale": 4.0, "seed": 7}
PICTURE = {
    **SMALL,
    "width": 128,
    "height": 128,
    "steps": 6,
    "prompt": "a red circle",
    "negative_prompt": "blue",
}
TWINS = (
    *(
        "Euler",
        "Euler a",
        "Heun",
        "LMS",
        "DPM2",
        "DPM2 a",
        "DPM++ 2M",
        "DPM++ 2S a",
        "DPM++ SDE",
        "DPM++ 2M SDE",
    ),
    *("DPM++ 2M SDE Heun", "DPM++ 3M SDE", "DPM fast", "DPM adaptive", "LCM", "Restart"),
    *("DEIS", "IPNDM", "IPNDM_V", "HeunPP2"),
)
"""Samplers of the hosts that ours are held to, where the host has them as its own."""
APART = {"reforge": {"DEIS", "IPNDM", "IPNDM_V", "HeunPP2"}}
"""Those which a host runs in another engine, with other steps."""
NEAR = {"forge": 1, "a1111": 1, "reforge": 1}


@pytest.fixture
def host(webui):
    """A host with a model that it can draw with: the embedded one, of which reForge knows nothing."""
    if webui.kind == "reforge":
        webui.add_golden_model(golden_checkpoint())
    else:
        webui.use_model(DEMO_MODEL)
    return webui


@cache
def ours(webui):
    """Return the core's name → the label of each sampler of ours in a host."""
    found = webui.get("/sdapi/v1/samplers")
    return {one["options"]["concord"]: one["name"] for one in found if "concord" in one["options"]}


@cache
def schedules(webui):
    return {one["name"]: one["label"] for one in webui.get("/sdapi/v1/schedulers")}


def our_schedule(webui, name):
    """Return the label of a schedule of ours."""
    found = schedules(webui)
    return found[f"concord_{name}"] if f"concord_{name}" in found else found[name]


def drawn(webui, sampler, scheduler="Automatic", **more):
    return webui.txt2img(**{**PICTURE, "sampler_name": sampler, "scheduler": scheduler, **more})


def furthest(one, other):
    return int(np.abs(one.astype(int) - other).max())


def test_all_are_listed(webui):
    assert set(ours(webui)) == set(SAMPLERS)
    assert {label for name in SCHEDULERS for label in [our_schedule(webui, name)]} <= set(
        schedules(webui).values()
    )


@pytest.mark.parametrize("schedule", ["karras", "align_your_steps"])
def test_every_sampler_draws(host, schedule):
    label = our_schedule(host, schedule)
    wrong = {}
    for name, sampler in ours(host).items():
        found = drawn(host, sampler, label, **SMALL)
        record = parse_infotext(found.infotexts[0])
        if (record.sampler, record.scheduler) != (name, schedule) or found.pictures[0].std() < 1:
            wrong[name] = (record.sampler, record.scheduler, float(found.pictures[0].std()))
    assert wrong == {}


def test_every_schedule_draws(host):
    wrong = {}
    for name in SCHEDULERS:
        found = drawn(host, ours(host)["deis"], our_schedule(host, name), **SMALL)
        record = parse_infotext(found.infotexts[0])
        if record.scheduler != name or found.pictures[0].std() < 1:
            wrong[name] = record.scheduler
    assert wrong == {}


@pytest.mark.parametrize("label", TWINS)
def test_a_twin_draws_the_hosts_picture(host, label):
    names = {one["name"] for one in host.get("/sdapi/v1/samplers")}
    if f"{label} (Concord)" not in names or label in APART.get(host.kind, ()):
        pytest.skip(f"{host.kind} has no {label} of its own to be compared with")
    [own] = drawn(host, label).pictures
    [twin] = drawn(host, f"{label} (Concord)").pictures
    print(f"{host.kind} {label}: {furthest(own, twin)}, differing {np.mean(own != twin):.4f}")
    assert furthest(own, twin) <= NEAR[host.kind]


@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_2m_sde", "seeds_2", "euler_cfg_pp"])
def test_a_batch_is_its_pictures_one_by_one(host, sampler):
    label = ours(host)[sampler]
    together = drawn(host, label, batch_size=3, cfg_scale=1.5).pictures[-3:]
    alone = [drawn(host, label, seed=PICTURE["seed"] + i, cfg_scale=1.5).pictures[0] for i in range(3)]
    assert [furthest(one, other) <= 2 for one, other in zip(together, alone, strict=True)] == [True] * 3
