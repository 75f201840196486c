"""Where the web UIs' timestep samplers begin in image to image; numbers recorded from A1111 1.9.4."""

import pytest
import torch
from sd_concord.core.sigmas import ModelSigmas
from sd_concord.core.sigmas.timestep_runs import timestep_run

MODEL = ModelSigmas.sd()


def timesteps(sigmas):
    return [round(MODEL.timestep(float(sigma)), 1) for sigma in sigmas]


def test_ddim_begins_below_the_timestep_that_its_noise_is_scaled_to():
    sigmas, begin = timestep_run("ddim_timesteps", 8, 5, MODEL)
    assert timesteps(sigmas) == [501, 376, 251, 126, 1]
    assert timesteps([begin]) == [626]


def test_unipc_divides_that_range_evenly():
    sigmas, begin = timestep_run("uni_pc_timesteps", 8, 5, MODEL)
    assert timesteps(sigmas) == pytest.approx([501, 400.8, 300.6, 200.4, 100.2, 0], abs=0.11)
    assert timesteps([begin]) == [626]
    assert sigmas.dtype == torch.float32


@pytest.mark.parametrize(("steps", "start"), [(0, 0), (8, 0)])
def test_nothing_to_do_is_an_empty_list(steps, start):
    assert len(timestep_run("ddim_timesteps", steps, start, MODEL)[0]) < 2
