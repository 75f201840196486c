"""The embedded model in A1111 and Forge: the harness's conditioning, and pictures of what was asked."""

import pytest

pytest.importorskip("diffusers", reason="diffusers is not installed, which runs the model to compare with")
import numpy as np
import torch
from host_answers import conditioning
from sd_concord.core.sampling import image_noise
from sd_concord.core.sigmas import ModelSigmas, get_sigmas
from sd_concord.harness import Pipeline
from sd_concord.harness.train.recognise import recognise
from webui_host import DEMO_MODEL

pytestmark = pytest.mark.hosts
PROMPTS = {
    "short": "a red circle",
    "long": "a small blue star on the left and a yellow square " * 8,
    "empty": "",
    "unknown": "photograph of an astronaut riding a horse",
}
PICTURE = "a red circle on a white background"
SETTINGS = {
    "steps": 20,
    "cfg_scale": 4.0,
    "sampler_name": "DPM++ 2M",
    "scheduler": "Karras",
    "width": 128,
    "height": 128,
}


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline.load()


@pytest.fixture(params=["forge", "a1111"])
def host(request):
    webui = request.getfixturevalue(request.param)
    webui.use_model(DEMO_MODEL)
    return webui


@pytest.mark.parametrize("text", PROMPTS.values(), ids=PROMPTS)
def test_conditioning_is_the_harness_own(host, pipeline, text):
    host.txt2img(prompt=text, negative_prompt="blurry", **SETTINGS | {"steps": 1})
    call = host.calls()[0]
    for found, asked in ((call.cond, text), (call.uncond, "blurry")):
        wanted = conditioning(pipeline.model, asked).hidden
        repeated = wanted.repeat(1, found.shape[1] // wanted.shape[1], 1)  # Forge lengthens the shorter one
        assert (found - repeated).abs().max() < 1e-5


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_picture_shows_what_was_asked(host, seed):
    [picture] = host.txt2img(prompt=PICTURE, seed=seed, **SETTINGS).pictures
    assert ("circle", "red") in [(thing.kind, thing.colour) for thing in recognise(picture)]


def test_a_picture_is_the_harness_own(host, pipeline):
    """Within what rounding of timesteps (Forge) and the order of sums leave."""
    drawn = host.txt2img(prompt=PICTURE, seed=1, **SETTINGS)
    [wanted] = pipeline(PICTURE, seed=1, steps=20, cfg=4.0, sampler="dpmpp_2m", scheduler="karras")
    assert np.abs(drawn.pictures[0].astype(int) - wanted.image).mean() < 1


def test_the_start_and_the_sigmas_are_the_core_own(host):
    """But for the sixth digit, in which the hosts' tables of sigmas differ from each other too."""
    host.txt2img(prompt=PICTURE, seed=1, **SETTINGS)
    calls = host.calls()
    wanted = get_sigmas("karras", SETTINGS["steps"], ModelSigmas.sd())
    found = torch.stack([call.sigma.flatten()[0] for call in calls])
    torch.testing.assert_close(found, wanted[:-1], rtol=3e-5, atol=0)
    start = image_noise((4, 16, 16), [1]).first() * wanted[0]
    torch.testing.assert_close(calls[0].x[:1], start, rtol=1e-5, atol=1e-5)


def test_an_overridden_option_is_set_back(host):
    """The hosts themselves keep it when it was never set before; then one test would change the next."""
    before = host.get("/sdapi/v1/options")["initial_noise_multiplier"]
    override = {"initial_noise_multiplier": 0.5}
    host.txt2img(prompt=PICTURE, override_settings=override, **SETTINGS | {"steps": 1})
    assert host.get("/sdapi/v1/options")["initial_noise_multiplier"] == before
