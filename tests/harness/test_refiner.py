"""The refiner: where it takes over, what it is told, and that it is found again."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch
from miniatures import miniature, refiner_miniature, save_folder
from safetensors.torch import load_file, save_file
from sd_concord.core.errors import BadFile, BadValue
from sd_concord.core.image import (
    ConcordSettings,
    Generation,
    Hires,
    Refiner,
    format_infotext,
    parse_infotext,
)
from sd_concord.harness import Pipeline
from sd_concord.harness.models import export_ldm, load_model

READINGS = ("webui_noise", "webui_calls", "comfyui_steps")


@pytest.fixture(scope="module")
def pipeline():
    """A pipeline of a miniature that knows itself as "same" and another as "other"."""
    base = Pipeline(miniature())
    for name, seed in (("same", 0), ("other", 1)):
        base.second.add(name, Pipeline(dataclasses.replace(miniature(seed=seed), name=name)))
    return base


def record(**fields):
    wanted = {"prompt": "a [cat:dog:3]", "steps": 6, "seed": 5, "sampler": "euler", "size": (32, 32)}
    return Generation(**wanted | fields)


def image_of(pipeline, **fields):
    return pipeline.generate(record(**fields))[0].image


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("sampler", ["euler", "heun", "DDIM"])
def test_a_model_that_refines_itself_changes_nothing(pipeline, reading, sampler):
    """The prompt's timeline goes on too.  Samplers that look back begin anew where the run is cut."""
    own = ConcordSettings(profile="a1111")
    refiner = Refiner(model="same", switch_at=0.5, switch_by=reading)
    plain = image_of(pipeline, sampler=sampler, concord=own)
    assert np.array_equal(image_of(pipeline, sampler=sampler, refiner=refiner, concord=own), plain)


@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_3m_sde", "lcm"])
def test_step_noise_begins_anew_where_the_host_runs_two_samplers(pipeline, sampler):
    """Two KSamplers: the second draws from its seed, and over its own sigmas."""
    refiner = Refiner(model="same", switch_at=0.5, switch_by="comfyui_steps")
    asked = record(sampler=sampler, refiner=refiner, concord=ConcordSettings(profile="comfyui"))
    sampling = pipeline.sampling(asked)
    shape = pipeline.latent_shape(asked)
    first, _ = sampling.noise(shape)
    noises = []
    for sigmas in (sampling.sigmas[:4], sampling.sigmas[3:]):
        own = dataclasses.replace(sampling, laid_out=sigmas).noise(shape)[1]
        noises.append([own(float(a), float(b)) for a, b in pairwise(sigmas) if b > 0])
    drawn = []
    run = type(sampling).run

    def watched(self, denoise, start, noise, **given):
        def told(sigma, sigma_next):
            drawn.append(noise(sigma, sigma_next))
            return drawn[-1]

        return run(self, denoise, start, told, **given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(sampling), "run", watched)
        pipeline.generate(asked)
    assert first.shape == drawn[0].shape
    assert len(drawn) == len([*noises[0], *noises[1]])
    assert all(torch.equal(a, b) for a, b in zip(drawn, [*noises[0], *noises[1]], strict=True))


@pytest.mark.parametrize("reading", READINGS)
def test_another_model_draws_the_rest(pipeline, reading):
    def refined(at):
        return image_of(pipeline, refiner=Refiner(model="other", switch_at=at, switch_by=reading))

    never, late, early, whole = (refined(at) for at in (1.0, 0.7, 0.3, 0.0))
    alone = Pipeline(miniature(seed=1)).generate(record())[0].image
    assert np.array_equal(never, image_of(pipeline))
    assert len({one.tobytes() for one in (never, late, early, whole)}) == 4
    if reading != "comfyui_steps":
        assert (
            np.abs(whole.astype(int) - alone).max() > 0
        )  # the base's VAE decodes outside the web UIs' profiles


def calls_of(pipeline, monkeypatch, asked):
    """Return how often each model runs."""
    counts = {"base": 0, "other": 0}
    for name, model in (("base", pipeline.model), ("other", pipeline.second.get("other").model)):
        forward = model.unet.forward

        def counted(*args, name=name, forward=forward, **options):
            counts[name] += 1
            return forward(*args, **options)

        monkeypatch.setattr(model.unet, "forward", counted)
    pipeline.generate(asked)
    return counts


SPLITS = {
    "steps": (Refiner(model="other", switch_at=0.5, switch_by="comfyui_steps"), {}, (3, 3)),
    "calls": (Refiner(model="other", switch_at=0.5, switch_by="webui_calls"), {}, (3, 3)),
    "calls of heun": (
        Refiner(model="other", switch_at=0.5, switch_by="webui_calls"),
        {"sampler": "heun"},
        (6, 5),
    ),
    "noise": (Refiner(model="other", switch_at=0.9), {"scheduler": "normal"}, (5, 1)),
    "by steps": (Refiner(model="other", switch_at=0.9, by_steps=True), {"scheduler": "normal"}, (6, 0)),
    "comfyui": (
        Refiner(model="other", switch_at=0.5),
        {"concord": ConcordSettings(profile="comfyui")},
        (3, 3),
    ),
    "a1111": (Refiner(model="other", switch_at=0.9), {"concord": ConcordSettings(profile="a1111")}, (4, 2)),
    "forge": (Refiner(model="other", switch_at=0.9), {"concord": ConcordSettings(profile="forge")}, (6, 0)),
    "forge's unipc": (
        Refiner(model="other", switch_at=0.5),
        {"sampler": "uni_pc", "concord": ConcordSettings(profile="forge")},
        (3, 4),
    ),
    "lcm of a1111": (
        Refiner(model="other", switch_at=0.9),
        {"sampler": "lcm", "concord": ConcordSettings(profile="a1111")},
        (0, 6),
    ),
}


@pytest.mark.parametrize("case", SPLITS)
def test_the_switch_comes_where_the_reading_says(pipeline, monkeypatch, case):
    refiner, fields, (base, other) = SPLITS[case]
    asked = record(refiner=refiner, prompt="a cat", **{"scheduler": "karras", **fields})
    assert calls_of(pipeline, monkeypatch, asked) == {"base": base, "other": other}


@pytest.mark.parametrize(("profile", "text"), [("a1111", "a cat "), ("forge", "a cat <lora:style:1>")])
def test_a1111s_refiner_draws_without_loras(pipeline, monkeypatch, profile, text):
    seen = []
    other = pipeline.second.get("other")
    read = other.read
    monkeypatch.setattr(
        other, "read", lambda asked, sampling: seen.append(asked.prompt) or read(asked, sampling)
    )
    refiner = Refiner(model="other", switch_at=0.5)
    own = ConcordSettings(profile=profile)
    [made] = pipeline.generate(record(prompt="a cat <lora:style:1>", refiner=refiner, concord=own))
    assert seen == [text]
    assert made.generation.prompt == "a cat <lora:style:1>"


@pytest.mark.parametrize(
    ("passes", "base", "other"), [(None, 9, 3), ("first pass", 9, 3), ("both passes", 6, 6)]
)
def test_with_hires_the_second_pass_has_it_unless_asked(pipeline, monkeypatch, passes, base, other):
    refiner = Refiner(model="other", switch_at=0.5, switch_by="comfyui_steps", passes=passes)
    hires = Hires(upscale=2.0, upscaler="Latent")
    asked = record(prompt="a cat", refiner=refiner, hires=hires, denoising_strength=0.7)
    assert calls_of(pipeline, monkeypatch, asked) == {"base": base, "other": other}


def test_the_record_makes_it_again(pipeline, tmp_path):
    folder = save_folder(miniature(seed=1), tmp_path / "second")
    base = Pipeline(miniature(), model_folders=[tmp_path])
    asked = record(refiner=Refiner(model=str(folder)))
    (first,) = base.generate(asked)
    written = parse_infotext(format_infotext(first.generation))
    assert written.refiner.model.startswith("second [")
    assert written.refiner.switch_at == 0.8
    (again,) = Pipeline(miniature(), model_folders=[tmp_path]).generate(written)
    assert np.array_equal(first.image, again.image)


def test_a_refiner_of_another_family_or_none_is_refused(pipeline):
    pipeline.second.add("sdxl", Pipeline(miniature("sdxl")))
    with pytest.raises(BadValue, match=r"refiner mini-sdxl-eps is an SDXL model but mini-sd15-eps is SD1\.5"):
        image_of(pipeline, refiner=Refiner(model="sdxl"))
    with pytest.raises(BadFile, match="no model 'nowhere'"):
        image_of(pipeline, refiner=Refiner(model="nowhere"))


def told(pipeline, monkeypatch, asked):
    """Return what SDXL's refiner is told at its last call: the width of the text and the sizes."""
    seen = {}
    model = pipeline.second.get("refiner").model
    forward = model.unet.forward

    def heard(x, timestep, hidden, added_cond_kwargs, **options):
        seen.update(width=hidden.shape[-1], ids=added_cond_kwargs["time_ids"].tolist())
        return forward(x, timestep, hidden, added_cond_kwargs=added_cond_kwargs, **options)

    monkeypatch.setattr(model.unet, "forward", heard)
    pipeline.generate(asked)
    return seen


def test_sdxls_refiner_is_told_size_crop_and_score(monkeypatch):
    base = Pipeline(miniature("sdxl"))
    base.second.add("refiner", Pipeline(refiner_miniature()))
    seen = told(base, monkeypatch, record(size=(64, 32), refiner=Refiner(model="refiner", switch_at=0.5)))
    assert seen == {"width": 128, "ids": [[32, 64, 0, 0, 6.0], [32, 64, 0, 0, 2.5]]}
    scored = Refiner(model="refiner", switch_at=0.5, aesthetic_score=7.5, negative_aesthetic_score=1.0)
    seen = told(base, monkeypatch, record(size=(64, 32), refiner=scored))
    assert [ids[-1] for ids in seen["ids"]] == [7.5, 1.0]


def test_sdxls_refiner_is_read_from_a_folder_as_a_second_model_alone(tmp_path):
    model = refiner_miniature()
    folder = save_folder(model, tmp_path / "refiner")
    (folder / "text_encoder").rename(folder / "text_encoder_2")
    with pytest.raises(BadFile, match="an SDXL refiner"):
        load_model(folder)
    loaded = load_model(folder, refiner=True)
    assert loaded.takes_score
    assert [encoder.name for encoder in loaded.text_encoders] == ["clip_g"]
    for name, weight in model.unet.state_dict().items():
        assert torch.equal(weight, loaded.unet.state_dict()[name])


def test_sdxls_refiner_is_read_from_one_file_in_the_original_names(tmp_path):
    model = refiner_miniature()
    whole = dataclasses.replace(model, text_encoders=miniature("sdxl", seed=2).text_encoders)
    tensors = load_file(export_ldm(whole, tmp_path / "whole.safetensors", dtype="float32"))
    first, second = "conditioner.embedders.0.", "conditioner.embedders.1."
    named = {
        name.replace(second, first): weight for name, weight in tensors.items() if not name.startswith(first)
    }
    save_file(named, tmp_path / "refiner.safetensors")
    with pytest.raises(BadFile, match="an SDXL refiner"):
        load_model(tmp_path / "refiner.safetensors")
    loaded = load_model(tmp_path / "refiner.safetensors", refiner=True)
    assert loaded.takes_score
    assert [encoder.name for encoder in loaded.text_encoders] == ["clip_g"]
    for name, weight in model.unet.state_dict().items():
        assert torch.equal(weight, loaded.unet.state_dict()[name])


def test_the_web_uis_decode_with_the_refiners_vae(pipeline):
    refiner = Refiner(model="other", switch_at=0.5)
    names = ("a1111", "concord")
    pictures = [image_of(pipeline, refiner=refiner, concord=ConcordSettings(profile=name)) for name in names]
    other = pipeline.second.get("other")
    swapped = Pipeline(dataclasses.replace(pipeline.model, vae=other.model.vae))
    swapped.second.add("other", other)
    again = [image_of(swapped, refiner=refiner, concord=ConcordSettings(profile=name)) for name in names]
    assert np.array_equal(pictures[0], again[0])
    assert not np.array_equal(pictures[1], again[1])
