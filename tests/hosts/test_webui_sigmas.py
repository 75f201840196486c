"""Concord's sigma tools, and its samplers in the hosts' other passes: hires, image to image, a refiner, settings."""

import base64

import numpy as np
import pytest
import torch
from miniatures import golden_checkpoint
from sd_concord.core.image import parse_infotext
from webui_host import DEMO_MODEL

pytestmark = pytest.mark.hosts
PICTURE = {
    "prompt": "a red circle",
    "negative_prompt": "blue",
    "width": 64,
    "height": 64,
    "steps": 6,
    "cfg_scale": 4.0,
    "seed": 7,
    "scheduler": "Karras",
}
HIRES = {
    "enable_hr": True,
    "hr_scale": 2,
    "hr_upscaler": "Latent",
    "denoising_strength": 0.6,
    "hr_second_pass_steps": 4,
}
COPY = "demo-copy.safetensors"


@pytest.fixture
def host(webui):
    """A host with a model that it can draw with: the embedded one, of which reForge knows nothing."""
    if webui.kind == "reforge":
        webui.add_golden_model(golden_checkpoint())
    else:
        webui.use_model(DEMO_MODEL)
    return webui


def drawn(webui, sampler="Euler", *, panel=None, kind="txt2img", **more):
    """Draw, with the arguments ``panel`` of the panel."""
    scripts = {} if panel is None else {"alwayson_scripts": {"Concord Sigmas": {"args": panel}}}
    return getattr(webui, kind)(**{**PICTURE, "sampler_name": sampler, **scripts, **more})


def sigmas_of(webui):
    """Return the noise levels of the model calls of the last request."""
    return torch.tensor([float(call.sigma[0]) for call in webui.calls()])


def furthest(one, other):
    return int(np.abs(one.astype(int) - other).max())


def same(webui, one, other):
    """Tell whether two answers are the same pictures, to a level."""
    return all(furthest(a, b) <= 1 for a, b in zip(one.pictures, other.pictures, strict=True))


def test_the_panel_is_there(webui):
    found = webui.get("/sdapi/v1/scripts")
    assert "concord sigmas" in found["txt2img"]
    assert "concord sigmas" in found["img2img"]


@pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M (Concord)"])
def test_a_factor_multiplies_and_is_gone_with_the_request(host, sampler):
    plain = drawn(host, sampler)
    before = sigmas_of(host)
    found = drawn(host, sampler, panel=[0.9, 0.4, 1.0])
    after = sigmas_of(host)
    ratio = after / before
    assert torch.allclose(ratio, torch.tensor([1, 1, 0.9, 0.9, 0.9, 0.9]), atol=1e-4)
    record = parse_infotext(found.infotexts[0]).concord
    assert (record.sigma_multiply, record.sigma_multiply_start) == (0.9, 0.4)
    again = drawn(host, sampler)
    assert same(host, plain, again)
    assert "Concord" not in again.infotexts[0].replace("(Concord)", "")


def test_a_list_is_run_and_recorded(host):
    found = drawn(
        host, "DEIS (Concord)" if host.kind != "a1111" else "DEIS", panel=[1, 0, 1, 1.5, "14 5 2 1 0.4 0.1"]
    )
    assert sigmas_of(host).tolist() == pytest.approx([14, 5, 2, 1, 0.4, 0.1], rel=1e-4)
    record = parse_infotext(found.infotexts[0])
    assert record.scheduler == "custom"
    assert record.concord.schedule_options == (("sigmas", "14 5 2 1 0.4 0.1"),)
    assert record.concord.sampler_options == (("tail_power", 1.5),)


def test_the_tail_changes_the_picture(host):
    sampler = "DEIS (Concord)" if host.kind != "a1111" else "DEIS"
    schedule = {"scheduler": "SGM Uniform"}
    plain = drawn(host, sampler, **schedule)
    other = drawn(host, sampler, panel=[1, 0, 1, 1.5], **schedule)
    assert furthest(plain.pictures[0], other.pictures[0]) > 0
    assert same(host, plain, drawn(host, sampler, panel=[1, 0, 1, 0], **schedule))


def test_what_cannot_be_read_is_said_and_the_picture_drawn(host):
    plain = drawn(host)
    found = drawn(host, panel=[1, 0, 1, 0, "1 2 3"])
    assert same(host, plain, found)
    assert "Concord Sigmas: nothing is changed: sigmas rise" in host.log()


def test_an_infotext_given_to_the_api_asks_for_the_same(host):
    if host.kind == "forge":
        pytest.skip("Forge f2.0.1 cannot read infotexts by its API: the field of styles is a list")
    sampler = "DPM++ 2M (Concord)"
    found = drawn(host, sampler, panel=[0.93, 0.2, 0.9, 1.5, "", "log_snr=False", ""])
    request = {"infotext": found.infotexts[0], "width": 64, "height": 64}
    again = host.txt2img(**request)
    assert same(host, found, again)
    assert parse_infotext(again.infotexts[0]).concord == parse_infotext(found.infotexts[0]).concord


def test_the_hires_pass_is_multiplied_over_its_own_part(host):
    drawn(host, **HIRES)
    before = sigmas_of(host)
    drawn(host, panel=[0.9, 0.5], **HIRES)
    ratio = sigmas_of(host) / before
    assert len(ratio) == 10
    assert torch.allclose(ratio, torch.tensor([1, 1, 1, 0.9, 0.9, 0.9, 1, 1, 0.9, 0.9]), atol=1e-4)


@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ 2M SDE", "LCM"])
def test_a_twin_draws_the_hosts_hires_picture(host, sampler):
    own = drawn(host, sampler, **HIRES)
    twin = drawn(host, f"{sampler} (Concord)", **HIRES)
    assert same(host, own, twin)
    assert twin.pictures[0].shape == (128, 128, 3)


def test_a_hires_sampler_of_ours_under_a_host_sampler(host):
    own = drawn(host, "Euler", hr_sampler_name="Euler a", **HIRES)
    twin = drawn(host, "Euler", hr_sampler_name="Euler a (Concord)", **HIRES)
    assert same(host, own, twin)
    assert parse_infotext(twin.infotexts[0]).hires.sampler == "euler_ancestral"


@pytest.mark.parametrize("sampler", ["Euler a", "Heun", "DPM++ 3M SDE"])
def test_a_twin_draws_the_hosts_picture_from_a_picture(host, sampler):
    start = base64.b64encode(drawn(host).files[0]).decode()
    more = {"kind": "img2img", "init_images": [start], "denoising_strength": 0.6}
    assert same(host, drawn(host, sampler, **more), drawn(host, f"{sampler} (Concord)", **more))


@pytest.mark.parametrize(
    ("sampler", "settings"),
    [
        ("Euler a", {"eta_ancestral": 0.4}),
        ("Euler", {"s_churn": 3.0, "s_noise": 1.01}),
        ("DPM++ 2M SDE", {"eta_ancestral": 0.5, "s_noise": 0.98}),
        ("Euler a", {"eta_noise_seed_delta": 31337}),
        ("Euler", {"sigma_min": 0.1, "sigma_max": 10.0, "rho": 5.0}),
        ("Euler", {"sgm_noise_multiplier": True}),
        ("DPM++ 2M", {"always_discard_next_to_last_sigma": True}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else value,
)
def test_the_hosts_settings_are_followed(host, sampler, settings):
    own = drawn(host, sampler, override_settings=settings)
    twin = drawn(host, f"{sampler} (Concord)", override_settings=settings)
    assert same(host, own, twin)
    other = drawn(host, f"{sampler} (Concord)")
    assert not same(host, twin, other)
    line = own.infotexts[0].splitlines()[-1].replace(f"Sampler: {sampler},", "")
    assert twin.infotexts[0].splitlines()[-1].replace(f"Sampler: {sampler} (Concord),", "") == line


def test_cfg_pp_heeds_the_negative_prompt_at_a_scale_of_1(host):
    """Forge leaves it out there."""
    sampler = "Euler CFG++ (Concord)" if host.kind == "reforge" else "Euler CFG++"
    [one] = drawn(host, sampler, cfg_scale=1.0).pictures
    [other] = drawn(host, sampler, cfg_scale=1.0, negative_prompt="a yellow star").pictures
    assert furthest(one, other) > 1


def test_zero_terminal_snr_is_in_our_schedules(host):
    if host.kind == "forge":
        pytest.skip("Forge reads it from the checkpoint")
    settings = {"override_settings": {"sd_noise_schedule": "Zero Terminal SNR"}}
    drawn(
        host,
        "Euler (Concord)",
        scheduler="Align Your Steps" if host.kind == "a1111" else "Beta57",
        **settings,
    )
    assert float(sigmas_of(host)[0]) > 100


@pytest.mark.parametrize("sampler", ["Euler a (Concord)", "Euler CFG++"])
def test_a_refiner_takes_over_in_our_samplers(host, sampler):
    """The same weights under another name draw the same picture."""
    if host.kind == "reforge":
        pytest.skip("reForge does not know the embedded model")
    copy = host.models / COPY
    if not copy.exists():
        copy.symlink_to(host.models / DEMO_MODEL)
        config = (host.models / DEMO_MODEL).with_suffix(".yaml")
        if config.exists():
            copy.with_suffix(".yaml").symlink_to(config)
        host.post("/sdapi/v1/refresh-checkpoints", {})
    more = {"prompt": "a [red:blue:0.5] circle", "cfg_scale": 1.5}
    plain = drawn(host, sampler, **more)
    refined = drawn(host, sampler, refiner_checkpoint=COPY, refiner_switch_at=0.5, **more)
    assert "Refiner" in refined.infotexts[0]
    assert same(host, plain, refined)
