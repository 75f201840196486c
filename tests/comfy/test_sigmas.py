"""The nodes of SIGMAS."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from comfy_fake import FakeComfy
from sd_concord.core.errors import BadType, BadValue
from sd_concord.core.options_text import options_in_words, read_options_text
from sd_concord.core.sampling import SAMPLERS
from sd_concord.core.sigmas import SCHEDULERS, ModelSigmas, get_sigmas
from sd_concord.core.sigmas.plan import run_sigmas

SD = ModelSigmas.sd()
MODEL = SimpleNamespace(get_model_object=lambda name: SimpleNamespace(sigmas=SD.table))
PLAIN = {"denoise": 1.0, "options": "", "discard_penultimate": False, "convention": "concord"}


def run(comfy: FakeComfy, name: str, **given: Any) -> Any:
    return getattr(comfy.module("sigmas"), name).execute(**given)


def scheduled(comfy: FakeComfy, name: str = "karras", steps: int = 8, **given: Any) -> torch.Tensor:
    return run(
        comfy, "ConcordScheduler", model=MODEL, scheduler=name, steps=steps, **{**PLAIN, **given}
    ).result[0]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_schedule_is_the_cores(fake_comfy: FakeComfy, name: str) -> None:
    assert torch.equal(scheduled(fake_comfy, name), get_sigmas(name, 8, SD))


def test_strength_takes_the_end_of_a_longer_schedule(fake_comfy: FakeComfy) -> None:
    assert torch.equal(scheduled(fake_comfy, denoise=0.5), get_sigmas("karras", 16, SD)[-9:])


def test_options_are_read(fake_comfy: FakeComfy) -> None:
    found = scheduled(fake_comfy, options="rho=5, sigma_min=0.1")
    assert torch.equal(found, get_sigmas("karras", 8, SD, rho=5.0, sigma_min=0.1))


@pytest.mark.parametrize(
    "given", [{"convention": "comfyui"}, {"discard_penultimate": True}], ids=["convention", "discard"]
)
def test_the_rest_reaches_the_core(fake_comfy: FakeComfy, given: dict[str, Any]) -> None:
    assert torch.equal(scheduled(fake_comfy, "beta", **given), run_sigmas("beta", 8, SD, **given))
    assert not torch.equal(scheduled(fake_comfy, "beta", **given), scheduled(fake_comfy, "beta"))


def test_multiply_and_tail_are_the_cores(fake_comfy: FakeComfy) -> None:
    sigmas = get_sigmas("karras", 10, SD)
    half = run(fake_comfy, "ConcordSigmaMultiply", sigmas=sigmas, factor=0.9, start=0.5, end=1.0).result[0]
    assert torch.equal(half[:5], sigmas[:5])
    assert torch.equal(half[5:], sigmas[5:] * 0.9)
    tail = run(fake_comfy, "ConcordTail", sigmas=sigmas, denoise=0.3).result[0]
    assert torch.equal(tail, sigmas[-4:])


def test_a_sampler_with_options(fake_comfy: FakeComfy) -> None:
    sampler = run(fake_comfy, "ConcordSamplerOptions", sampler="dpmpp_2m", options="tail_power=1.5").result[0]
    assert sampler.sampler_function.spec is SAMPLERS["dpmpp_2m"]
    assert sampler.extra_options == {"tail_power": 1.5}


def test_a_plot_is_an_image_and_a_preview(fake_comfy: FakeComfy) -> None:
    one, two = get_sigmas("karras", 10, SD), get_sigmas("normal", 10, SD)
    alone = run(fake_comfy, "ConcordPlotSigmas", sigmas=one)
    both = run(fake_comfy, "ConcordPlotSigmas", sigmas=one, sigmas_b=two, sigmas_c=None, model=MODEL)
    (picture,) = both.result
    assert picture.dtype == torch.float32
    assert picture.shape[0] == 1
    assert picture.shape[3] == 3
    assert picture.max() <= 1
    assert picture.shape[1] > alone.result[0].shape[1]
    assert both.ui.as_dict() == {"images": [tuple(picture.shape)]}


@pytest.mark.parametrize("sigmas", [torch.tensor([1.0]), torch.ones(2, 2)], ids=["one", "2-D"])
def test_a_plot_of_no_schedule_is_refused(fake_comfy: FakeComfy, sigmas: torch.Tensor) -> None:
    with pytest.raises(BadValue, match="sigmas"):
        run(fake_comfy, "ConcordPlotSigmas", sigmas=sigmas)


KARRAS = SCHEDULERS["karras"].options


@pytest.mark.parametrize("text", ["", " ", ",\n"])
def test_no_text_is_no_option(text: str) -> None:
    assert read_options_text(text, KARRAS, "x") == {}
    assert read_options_text(text, None, "x") == {}


def test_options_are_of_the_kind_of_their_defaults() -> None:
    assert read_options_text("rho=5\nsigma_min = 1e-2", KARRAS, "x") == {"rho": 5.0, "sigma_min": 0.01}
    assert isinstance(read_options_text("rho=5", KARRAS, "x")["rho"], float)
    assert read_options_text("family=flux", SCHEDULERS["oss"].options, "x") == {"family": "flux"}


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("rho", BadValue, "name=value"),
        ("rho=", BadValue, "name=value"),
        ("roh=5", BadValue, "did you mean rho"),
        ("rho=high", BadType, "7.0"),
        ("rho=True", BadType, "7.0"),
    ],
)
def test_a_wrong_option_is_named(text: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        read_options_text(text, KARRAS, "scheduler 'karras'")


def test_options_in_words() -> None:
    assert options_in_words(KARRAS) == "sigma_max=0.0, sigma_min=0.0, rho=7.0"
    assert options_in_words(None) == ""
