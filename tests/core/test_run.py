"""From a record to what is sampled: options, seeds, guidance, passes, under each profile."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from sd_concord.core.errors import BadType, BadValue
from sd_concord.core.filled import filled
from sd_concord.core.image import (
    ConcordSettings,
    Generation,
    Hires,
    SamplerOptions,
    ScheduleOptions,
    Variation,
    format_infotext,
    parse_infotext,
)
from sd_concord.core.options import options_known, with_options
from sd_concord.core.profiles import PROFILES
from sd_concord.core.prompt import DIALECTS
from sd_concord.core.run import calls_per_step, sampling_of
from sd_concord.core.sampling import SAMPLERS, image_noise
from sd_concord.core.sampling.lcm import lcm_scalings
from sd_concord.core.seeds import batch_of, image_of
from sd_concord.core.sigmas import SCHEDULERS, ModelSigmas, get_sigmas

SD = ModelSigmas.sd()
SHAPE = (4, 8, 8)


def record(profile=None, **fields):
    """Return a record under a profile; ``own`` holds fields of its ``concord``."""
    own = ConcordSettings(profile=profile, **fields.pop("own", {}))
    return Generation(**{"seed": 7, "steps": 10, **fields, "concord": own})


def test_an_open_record_is_the_default():
    one = sampling_of(Generation(seed=1), SD)
    assert (one.host.name, one.sampler.name, one.schedule, one.steps) == ("concord", "dpmpp_2m", "karras", 20)
    assert torch.equal(one.sigmas, get_sigmas("karras", 20, SD))
    assert one.guidance.scale == 7.0
    assert dict(one.options) == {}


def test_what_is_filled_in_is_recorded_and_stays():
    whole = filled(Generation(variation=Variation(strength=0.5)))
    assert whole.concord.profile == "concord"
    assert whole.rng == "CPU"
    assert whole.seed >= 0
    assert whole.variation.seed >= 0
    assert filled(whole) == whole
    assert filled(record("a1111")).rng == "NV"


def test_labels_become_names_of_the_host():
    assert filled(record("a1111", sampler="DPM++ 2M Karras")).scheduler == "karras"
    assert filled(record("a1111", sampler="ddim")).sampler == "ddim_timesteps"
    assert filled(record("comfyui", sampler="ddim")).sampler == "ddim"
    assert filled(record("forge", sampler="euler", scheduler="Automatic")).scheduler == "normal"
    with pytest.raises(BadValue, match="unknown profile 'comfy'; did you mean comfyui"):
        filled(record("comfy"))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_image_of_a_batch_has_the_noise_that_its_record_gives_alone(profile, sampler):
    first = filled(record(profile, sampler=sampler, scheduler="karras"))
    together = sampling_of(first, SD, batch=3)
    levels = (float(together.sigmas[0]), float(together.sigmas[1]))
    start, step = together.noise(SHAPE)
    drawn = step(*levels)
    for i in range(3):
        own_start, own_step = sampling_of(image_of(first, i, 3), SD).noise(SHAPE)
        assert torch.equal(own_start, start[i : i + 1])
        assert torch.equal(own_step(*levels), drawn[i : i + 1])


@pytest.mark.parametrize("sampler", [name for name, spec in SAMPLERS.items() if spec.kind != "deterministic"])
def test_step_noise_of_our_own_is_not_the_start_noise(sampler):
    one = sampling_of(record(sampler=sampler), SD)
    start, step = one.noise((4, 32, 32))
    drawn = step(float(one.sigmas[0]), float(one.sigmas[1]))
    together = torch.corrcoef(torch.stack([start.flatten(), drawn.flatten()]))
    assert abs(float(together[0, 1])) < 0.1


def test_ddpm_of_forge_draws_from_the_global_generator():
    _, step = sampling_of(record("forge", sampler="ddpm"), SD).noise(SHAPE)
    own = torch.Generator().manual_seed((7 + 100_000) % 65536)
    for _ in range(2):
        assert torch.equal(step(2.0, 1.0), torch.randn((1, *SHAPE), generator=own))
    stream = image_noise(SHAPE, [7], "philox")
    _, step = sampling_of(record("a1111", sampler="ddpm"), SD).noise(SHAPE)
    assert torch.equal(step(2.0, 1.0), stream.next())


def test_batches_count_on():
    assert image_of(record(), 2, 3).seed == 9
    varied = record(variation=Variation(seed=5, strength=0.1))
    assert (image_of(varied, 2, 3).seed, image_of(varied, 2, 3).variation.seed) == (7, 7)
    whole = record("comfyui")
    assert image_of(whole, 1, 3).concord.batch_position == 1
    assert image_of(whole, 1, 3).seed == 7
    assert image_of(whole, 0, 1) == whole
    assert [batch_of(record(), i, 4).seed for i in (0, 1)] == [7, 11]
    assert batch_of(whole, 1, 4).seed == 8


def test_a_place_outside_its_batch_is_refused():
    with pytest.raises(BadValue, match="batch_position is 3 in a batch of 3; pass 0 to 2"):
        sampling_of(record("comfyui", own={"batch_size": 3, "batch_position": 3}), SD)


OPTIONS = {
    "eta": ("dpmpp_2m_sde", "karras", 0.5),
    "s_churn": ("euler", "karras", 5.0),
    "s_tmin": ("euler", "karras", 0.1),
    "s_tmax": ("euler", "karras", 9.0),
    "s_noise": ("euler_ancestral", "karras", 1.01),
    "r": ("dpmpp_sde", "karras", 0.4),
    "solver_type": ("dpmpp_2m_sde", "karras", "heun"),
    "log_snr": ("dpmpp_2m", "karras", True),
    "max_order": ("deis", "karras", 2),
    "tail_power": ("dpmpp_2m", "karras", 1.0),
    "sigma_min": ("euler", "karras", 0.1),
    "sigma_max": ("euler", "exponential", 10.0),
    "rho": ("euler", "karras", 5.0),
    "alpha": ("euler", "beta", 0.7),
    "family": ("euler", "oss", "wan"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_is_recorded_read_back_and_reaches_its_owner(name):
    sampler, scheduler, value = OPTIONS[name]
    plain = filled(record(sampler=sampler, scheduler=scheduler))
    given = with_options(plain, {name: str(value)})
    assert with_options(plain, {name: value}) == given
    read = parse_infotext(format_infotext(given))
    assert read == given
    one, bare = sampling_of(read, SD), sampling_of(plain, SD)
    if options_known(sampler, scheduler)[name].home == "sampler":
        assert dict(one.options) == {name: value}
    else:
        assert not torch.equal(one.sigmas, bare.sigmas)


def test_every_option_of_the_registries_can_be_recorded():
    for sampler in SAMPLERS:
        for scheduler in SCHEDULERS:
            known = options_known(sampler, scheduler)
            plain = Generation(sampler=sampler, scheduler=scheduler)
            finite = {name: spec.default for name, spec in known.items() if spec.default != math.inf}
            given = with_options(plain, finite)
            assert parse_infotext(format_infotext(given)).concord == given.concord
            homes = [set(_names(SAMPLERS[sampler])), set(_names(SCHEDULERS[scheduler]))]
            assert not homes[0] & homes[1]


def _names(spec):
    return [field.name for field in dataclasses.fields(spec.options)] if spec.options else []


def test_eta_of_timestep_samplers_is_their_own():
    given = with_options(filled(record("a1111", sampler="DDIM")), {"eta": 0.5})
    assert given.sampler_options == SamplerOptions(eta_ddim=0.5)
    assert sampling_of(given, SD).options == {"eta": 0.5}
    other = dataclasses.replace(given, sampler_options=SamplerOptions(eta=0.5))
    assert sampling_of(other, SD).options == {}


def test_an_s_tmax_of_zero_is_no_bound():
    assert sampling_of(record(sampler="euler", sampler_options=SamplerOptions(s_tmax=0)), SD).options == {}


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (
            {"etta": 1},
            BadValue,
            "unknown option of sampler 'dpmpp_2m_sde' with schedule 'karras' 'etta'; did",
        ),
        ({"eta": "much"}, BadType, "option eta is 'much'; pass a number"),
        ({"eta": True}, BadType, "option eta is True; pass a number"),
    ],
)
def test_wrong_options_are_refused(given, error, words):
    with pytest.raises(error, match=words):
        with_options(filled(record(sampler="dpmpp_2m_sde")), given)


def test_recorded_options_that_do_not_fit_are_refused():
    with pytest.raises(BadValue, match="unknown option of sampler 'dpmpp_2m' 'eta'"):
        sampling_of(record(sampler_options=SamplerOptions(eta=0.5)), SD)
    with pytest.raises(BadValue, match="unknown option of scheduler 'normal' 'rho'"):
        sampling_of(record(scheduler="normal", schedule_options=ScheduleOptions(rho=5)), SD)


def test_options_of_the_host_give_way_to_those_asked_for():
    assert sampling_of(record("a1111", sampler="lms"), SD).options == {"through_zero": True}
    fast = record("a1111", sampler="dpm_fast", sampler_options=SamplerOptions(eta=0.2))
    assert sampling_of(fast, SD).options == {"eta": 0.2}


def noises(**fields):
    start, step = sampling_of(record(sampler="euler_ancestral", **fields), SD).noise(SHAPE)
    return start, step(2.0, 1.0)


def test_noise_sources():
    cpu, gpu, nv = (noises(rng=name)[0] for name in ("CPU", "GPU", "nv"))
    assert torch.equal(gpu, nv)
    assert not torch.equal(cpu, nv)
    assert torch.equal(nv, image_noise(SHAPE, [7], "philox").first())
    with pytest.raises(BadValue, match="unknown rng 'TPU'"):
        sampling_of(record(rng="tpu"), SD)


def test_ensd_changes_the_steps_alone():
    (start, step), (other_start, other_step) = noises(), noises(ensd=31337)
    assert torch.equal(start, other_start)
    assert not torch.equal(step, other_step)
    plain, moved = (sampling_of(record(sampler="dpmpp_sde", ensd=ensd), SD) for ensd in (None, 31337))
    assert not torch.equal(plain.noise(SHAPE)[1](2.0, 1.0), moved.noise(SHAPE)[1](2.0, 1.0))


def test_variation_and_seed_resize_reach_the_noise():
    wanted = image_noise(SHAPE, [7], "cpu", ((9,), 0.3), (48, 32)).first()
    given = {"variation": Variation(seed=9, strength=0.3), "seed_resize_from": (32, 48)}
    assert torch.equal(noises(**given)[0], wanted)


@pytest.mark.parametrize(
    "fields",
    [
        {"variation": Variation(seed=9, strength=0.3)},
        {"seed_resize_from": (32, 48)},
        {"ensd": 1},
        {"rng": "NV"},
    ],
    ids=str,
)
def test_noise_of_a_whole_batch_knows_no_variation(fields):
    with pytest.raises(BadValue, match="profile 'comfyui' draws noise for the batch at once"):
        sampling_of(record("comfyui", **fields), SD)


def test_the_sgm_multiplier_scales_the_start():
    noise = torch.ones(1, *SHAPE)
    starts = {}
    for sgm in (None, True, False):
        one = sampling_of(record("a1111", schedule_options=ScheduleOptions(sgm_noise=sgm, sigma_max=3.0)), SD)
        starts[sgm] = float(one.start(noise).mean())
        assert float(one.start(noise, latent=torch.zeros(1, *SHAPE)).mean()) == pytest.approx(3.0)
    assert starts[None] == starts[False] == pytest.approx(3.0)
    assert starts[True] == pytest.approx(math.sqrt(10))


def test_guidance_is_on_in_its_interval():
    guidance = sampling_of(record(cfg=5, own={"guidance_start": 0.2, "guidance_end": 0.8}), SD).guidance
    high, low = SD.percent_to_sigma(0.2), SD.percent_to_sigma(0.8)
    assert [guidance.scale_at(sigma) for sigma in (high * 1.01, high, low, low * 0.99)] == [1, 5, 5, 1]
    always = sampling_of(record(cfg=5), SD).guidance
    assert (always.low, always.high) == (0.0, math.inf)
    with pytest.raises(BadValue, match=r"guidance_start is 0.8 and guidance_end 0.2; pass start before end"):
        sampling_of(record(own={"guidance_start": 0.8, "guidance_end": 0.2}), SD)


def test_guidance_of_cfg_pp():
    assert sampling_of(record("forge", sampler="ddim_cfgpp", cfg=1.5), SD).guidance.scale == 1.5
    assert sampling_of(record("comfyui", sampler="euler_cfg_pp", cfg=1.5), SD).guidance.scale == 1.5
    assert sampling_of(record(sampler="euler_cfg_pp"), SD).guidance.scale == 1.0


def test_sigmas_are_multiplied_and_cut():
    plain = sampling_of(record(), SD).sigmas
    whole = sampling_of(record(own={"sigma_multiply": 0.9}), SD).sigmas
    torch.testing.assert_close(whole, plain * 0.9)
    later = sampling_of(record(own={"sigma_multiply": 0.9, "sigma_multiply_start": 0.5}), SD).sigmas
    assert torch.equal(later[:5], plain[:5])
    torch.testing.assert_close(later[5:], plain[5:] * 0.9)
    cut = sampling_of(record(schedule_options=ScheduleOptions(discard_penultimate=True)), SD).sigmas
    assert len(cut) == 11
    assert float(cut[-2]) > 1.5 * float(plain[-2])


def test_schedules_of_a_family():
    one = sampling_of(record(scheduler="align_your_steps"), SD, family="sd1")
    assert one.schedule == "align_your_steps_sd1"
    assert sampling_of(record(scheduler="align_your_steps"), SD, family="sdxl").schedule == "align_your_steps"


def test_the_network_is_asked_at_whole_timesteps_or_between():
    sigma = SD.sigma_at(500.4)
    forge, a1111 = (sampling_of(record(name), SD) for name in ("forge", "a1111"))
    assert forge.timestep(sigma) == 500.0
    assert a1111.timestep(sigma) == pytest.approx(500.4, abs=1e-3)


def test_lcm_of_a1111_takes_the_less_noisy_of_two_timesteps_that_are_as_near():
    one = sampling_of(record("a1111", sampler="lcm", scheduler="sgm_uniform", steps=6), SD)
    assert [one.timestep(float(sigma)) for sigma in one.sigmas[:-1]] == [999, 839, 679, 499, 339, 179]


def test_lcm_of_a1111_skips_as_it_was_trained():
    one = sampling_of(record("a1111", sampler="lcm", scheduler="sgm_uniform", steps=1), SD)
    sigma = SD.sigma_at(505.0)
    assert one.timestep(sigma) == 499.0
    start, noise = torch.full((1, *SHAPE), 3.0), image_noise(SHAPE, [1])
    skip, out = lcm_scalings(499.0)

    def denoise(x, sigma):
        return torch.full_like(x, 2.0)

    levels = torch.tensor([sigma, 0.0])
    result = one.run(denoise, start, noise, sigmas=levels)
    torch.testing.assert_close(result, torch.full_like(start, 2.0 * out + 3.0 * skip))
    plain = sampling_of(record("forge", sampler="lcm", scheduler="sgm_uniform"), SD)
    assert plain.timestep(sigma) == 505.0
    torch.testing.assert_close(
        plain.run(denoise, start, noise, sigmas=levels), torch.full_like(start, 2.0), rtol=0, atol=0
    )


def test_timestep_samplers_of_the_web_uis_hand_back_what_is_decoded():
    one = sampling_of(record("forge", sampler="DDIM", steps=2), SD)
    last = float(one.sigmas[-1])
    assert last > 0

    def denoise(x, sigma):
        return x

    start = one.start(torch.ones(1, *SHAPE))
    result = one.run(denoise, start, image_noise(SHAPE, [1]))
    torch.testing.assert_close(result, start / math.sqrt(1 + last**2))


HIRES = Hires(sampler="euler_ancestral", steps=4, cfg=3.0)


def test_the_hires_pass_has_its_own_sampler_steps_and_scale():
    both = record(
        "a1111",
        sampler="dpmpp_2m_sde",
        sampler_options=SamplerOptions(eta=0.5),
        denoising_strength=0.5,
        hires=HIRES,
        own={"sampler_options": (("solver_type", "heun"),)},
    )
    first, second = (sampling_of(both, SD, kind=kind) for kind in ("text", "hires"))
    assert first.options == {"eta": 0.5, "solver_type": "heun"}
    assert (second.sampler.name, second.steps, second.guidance.scale) == ("euler_ancestral", 4, 3.0)
    assert second.options == {"eta": 0.5}
    assert len(second.sigmas) == 5
    assert (first.shape.hires_steps, second.shape.hires_steps) == (None, 4)
    assert second.first_steps == 10


def test_an_image_pass_has_fewer_steps():
    both = {name: sampling_of(record(name, denoising_strength=0.5), SD, kind="image") for name in PROFILES}
    assert (both["a1111"].shape.denoise, both["comfyui"].shape.denoise) == (0.5, 1.0)
    assert len(both["a1111"].sigmas) == 7
    assert both["a1111"].shape.steps_run(10) == 6
    assert len(both["comfyui"].sigmas) == 11
    assert sampling_of(record(), SD, kind="image").strength == 0.75
    nothing = sampling_of(record(denoising_strength=0.0), SD, kind="image")
    latent = torch.ones(1, *SHAPE)
    assert torch.equal(nothing.start(latent * 5, latent), latent)
    assert torch.equal(nothing.run(lambda x, sigma: x, latent, image_noise(SHAPE, [1])), latent)


@pytest.mark.parametrize(
    ("sampler", "a1111", "exact"),
    [("euler", 1, 1), ("heun", 2, 2), ("seeds_3", 2, 3), ("plms", 1, 1), ("dpm_adaptive", 1, 1)],
)
def test_calls_of_a_step(sampler, a1111, exact):
    spec = SAMPLERS[sampler]
    assert calls_per_step(spec, DIALECTS["a1111"]) == a1111
    assert calls_per_step(spec, DIALECTS["concord"]) == exact


def test_prompts_are_read_as_the_host_does():
    one = sampling_of(record("comfyui"), SD)
    assert (one.dialect.syntax, one.emphasis) == ("comfyui", "ComfyUI")
    other = sampling_of(record("comfyui", emphasis="Original", own={"dialect": "a1111"}), SD)
    assert (other.dialect.syntax, other.emphasis) == ("webui", "Original")


def test_what_a_profile_would_fill_otherwise_is_written():
    for given in (record("comfyui", emphasis="Original"), record("concord", rng="GPU")):
        assert parse_infotext(format_infotext(given)) == given
    assert "Emphasis" not in format_infotext(Generation(steps=1, emphasis="Original"))


@pytest.mark.parametrize("profile", ["a1111", "forge"])
def test_a_web_uis_schedule_does_not_look_at_ends_that_it_has_no_use_for(profile):
    ends = ScheduleOptions(sigma_min=0.1, sigma_max=10.0)
    for name in ("normal", "ddim_timesteps") if profile == "a1111" else ("simple", "align_your_steps"):
        with_ends = record(profile, sampler="euler", scheduler=name, schedule_options=ends)
        without = record(profile, sampler="euler", scheduler=name)
        assert torch.equal(sampling_of(with_ends, SD).sigmas, sampling_of(without, SD).sigmas)
    asked = record("concord", sampler="euler", scheduler="simple", schedule_options=ends)
    with pytest.raises(BadValue, match="sigma_m"):
        sampling_of(asked, SD)


@pytest.mark.parametrize("sampler", ["dpm_fast", "dpm_adaptive"])
def test_the_web_uis_run_dpm_fast_and_adaptive_over_the_whole_table_in_text_to_image(sampler):
    def ends(profile, **fields):
        one = sampling_of(record(profile, sampler=sampler, scheduler="align_your_steps", **fields), SD)
        asked = []
        one.run(
            lambda x, sigma: asked.append(float(sigma)) or x * 0, torch.ones(1, *SHAPE), one.noise(SHAPE)[1]
        )
        return asked[0], one.sigmas

    first, sigmas = ends("forge")
    assert first == pytest.approx(SD.sigma_max, rel=1e-5)
    assert float(sigmas[0]) != pytest.approx(SD.sigma_max, rel=1e-5)
    first, sigmas = ends("concord")
    assert first == pytest.approx(float(sigmas[0]), rel=1e-5)
