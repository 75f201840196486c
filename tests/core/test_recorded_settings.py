"""Settings that texts of the web UIs hold: each changes its pass, in the profiles that follow it and no others."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from sd_concord.core.errors import BadValue
from sd_concord.core.filled import filled
from sd_concord.core.image import ConcordSettings, Generation, format_infotext, parse_infotext
from sd_concord.core.image.parts import SamplerOptions, ScheduleOptions
from sd_concord.core.profiles import PROFILES, Seeds
from sd_concord.core.run import ZERO_SNR, Guidance, Sampling, sampling_of
from sd_concord.core.sampling import Variation
from sd_concord.core.seeds import image_of, seeds_of
from sd_concord.core.sigmas import ModelSigmas, get_sigmas

SD = ModelSigmas.sd()


def pass_of(profile: str, **fields: Any) -> Sampling:
    own = replace(fields.pop("concord", None) or ConcordSettings(), profile=profile)
    base = {"steps": 8, "seed": 3, "sampler": "euler", "scheduler": "karras", "size": (64, 64)}
    return sampling_of(Generation(**{**base, **fields}, concord=own), SD, batch=fields.get("batch", 1))


@pytest.mark.parametrize(
    ("profile", "follows"), [("a1111", True), ("concord", True), ("forge", False), ("reforge", True)]
)
def test_the_word_wrap_limit_is_followed_where_the_host_has_it(profile: str, follows: bool) -> None:
    asked = pass_of(profile, concord=ConcordSettings(comma_backtrack=0)).dialect.comma_backtrack
    assert asked == (0 if follows else 20)


@pytest.mark.parametrize(
    ("fields", "padding"),
    [({}, "apart"), ({"pad_conds": True}, "empty"), ({"pad_conds": True, "pad_conds_v0": True}, "last")],
)
def test_prompts_are_padded_as_a1111_was_set(fields: dict[str, Any], padding: str) -> None:
    assert pass_of("a1111", **fields).padding == padding
    assert pass_of("forge", **fields).padding == "repeat"


def test_old_timelines_are_the_dialects() -> None:
    assert pass_of("a1111", old_timelines=True).dialect.old_timeline
    assert not pass_of("a1111").dialect.old_timeline


def test_a_table_in_half_precision_is_coarser_and_only_a1111s() -> None:
    options = ScheduleOptions(downcast_alphas=True)
    coarse, fine = (pass_of("a1111", schedule_options=o).model.table for o in (options, None))
    far = (coarse / fine - 1).abs()
    assert 1e-4 < float(far.max()) < 0.1
    assert bool((coarse.diff() > 0).all())
    assert torch.equal(pass_of("forge", schedule_options=options).model.table, pass_of("forge").model.table)


def test_a_flow_has_no_alphas_to_round() -> None:
    flow = ModelSigmas.flow(3.0)
    assert flow.with_half_alphas() is flow
    assert flow.with_zero_snr() is flow


def test_the_table_is_brought_to_zero_snr_once() -> None:
    asked = pass_of("a1111", schedule_options=ScheduleOptions(noise_schedule=ZERO_SNR))
    assert asked.model.sigma_max > 4000
    assert torch.allclose(SD.with_zero_snr().table, ModelSigmas.zsnr().table, rtol=1e-5)
    zero = ModelSigmas.zsnr()
    assert zero.with_zero_snr() is zero


def calls_alone(guidance: Guidance, sigma: float, count: int = 8) -> list[int]:
    return [call for call in range(count) if guidance.is_alone(call, sigma)]


@pytest.mark.parametrize(
    ("profile", "every", "alone"),
    [
        ("a1111", False, [1, 3, 5, 7]),
        ("forge", False, [1, 3, 5, 7]),
        ("reforge", False, [0, 2, 4, 6]),
        ("a1111-1.10", True, list(range(8))),
        ("a1111", True, [1, 3, 5, 7]),
    ],
)
def test_below_the_minimum_sigma_calls_go_without_the_negative(
    profile: str, every: bool, alone: list[int]
) -> None:
    guidance = pass_of(profile, ngms=2.0, ngms_all_steps=every).guidance
    assert calls_alone(guidance, 1.9) == alone
    assert calls_alone(guidance, 2.0) == []


@pytest.mark.parametrize(
    ("profile", "sampler", "alone"),
    [("a1111-1.10", "euler", [0, 1, 2]), ("forge", "heun", [0, 1, 2, 3, 4]), ("a1111", "euler", [])],
)
def test_the_first_share_of_the_calls_goes_without_the_negative(
    profile: str, sampler: str, alone: list[int]
) -> None:
    """Of 8 steps a quarter: the calls up to the share, which itself belongs to it; Heun counts two a step."""
    guidance = pass_of(profile, sampler=sampler, scheduler="karras", skip_early_cfg=0.25).guidance
    assert calls_alone(guidance, 10.0) == alone


def test_uni_pc_is_set_by_the_record() -> None:
    options = SamplerOptions(uni_pc_variant="bh2", uni_pc_order=2, uni_pc_lower_order_final=False)
    asked = pass_of("a1111", sampler="UniPC", scheduler=None, sampler_options=options)
    assert asked.sampler.name == "uni_pc_timesteps"
    assert dict(asked.options) == {"variant": "bh2", "max_order": 2, "lower_order_final": False}
    assert "variant" not in pass_of("a1111", sampler_options=options).options


def test_uni_pcs_times_are_set_by_the_record() -> None:
    def sigmas(kind: str) -> list[float]:
        options = ScheduleOptions(uni_pc_skip_type=kind)
        asked = pass_of("a1111", sampler="UniPC", scheduler=None, schedule_options=options)
        return asked.sigmas.double().tolist()

    even, square, log = (sigmas(kind) for kind in ("time_uniform", "time_quadratic", "logSNR"))
    ratios = [a / b for a, b in pairwise(log)]
    assert max(ratios) / min(ratios) == pytest.approx(1, abs=1e-5)
    assert even[0] == pytest.approx(square[0], rel=1e-6)
    assert even[-1] == pytest.approx(square[-1], rel=1e-6)
    assert all(a > b for a, b in zip(even[1:-1], square[1:-1], strict=True))


def test_a_variant_that_is_not_drawn_is_refused() -> None:
    options = SamplerOptions(uni_pc_variant="vary_coeff")
    with pytest.raises(BadValue, match="vary_coeff"):
        pass_of("a1111", sampler="UniPC", scheduler=None, sampler_options=options)


def test_betas_shape_is_set_by_the_record() -> None:
    options = ScheduleOptions(beta_alpha=0.5, beta_beta=0.9)
    asked = pass_of("forge", scheduler="beta", schedule_options=options).sigmas
    wanted = get_sigmas("beta", 8, SD, convention="webui", alpha=0.5, beta=0.9)
    assert torch.equal(asked, wanted)


def test_the_keys_are_read_and_written_back_as_the_web_uis_have_them() -> None:
    line = (
        "Steps: 8, Sampler: UniPC, Schedule type: Automatic, CFG scale: 7, Seed: 1, Size: 64x64, NGMS: 1.5, "
        "Downcast alphas_cumprod: True, Noise Schedule: Zero Terminal SNR, Beta schedule alpha: 0.5, "
        "UniPC skip type: logSNR, UniPC variant: bh2, UniPC order: 2, NGMS all steps: True, "
        "Skip Early CFG: 0.1, Pad conds: True, Old prompt editing timelines: True, Version: v1.10.1"
    )
    record = parse_infotext(f"a cat\n{line}")
    assert record.extras == ()
    assert record.ngms_all_steps
    assert record.pad_conds
    assert record.old_timelines
    assert record.skip_early_cfg == 0.1
    assert parse_infotext(format_infotext(replace(record, source=""))) == record


def test_a_profile_ignores_only_what_there_is_to_ignore() -> None:
    with pytest.raises(BadValue, match="comma_backtrak"):
        replace(PROFILES["forge"], ignores=("comma_backtrak",))


def test_one_of_a_batch_of_forges_ddpm_has_its_place_and_its_noise() -> None:
    """Torch's global generator is one for the batch, and its last image has seeded it."""
    first = filled(Generation(seed=5, sampler="ddpm", concord=ConcordSettings(profile="forge")))
    third = image_of(first, 2, 4)
    assert third.concord is not None
    assert (third.concord.batch_size, third.concord.batch_position) == (4, 2)
    assert seeds_of(third).last == seeds_of(first, 4).last == 8
    assert image_of(replace(first, sampler="euler"), 2, 4).concord == first.concord


def test_the_last_seed_of_a_batch_is_known_from_any_of_its_images() -> None:
    assert Seeds(seed=5, batch=3).last == Seeds(seed=6, place=(1, 3)).last == 7
    assert Seeds(seed=5, batch=3, variation=Variation([1, 2, 3], 0.3)).last == 5
