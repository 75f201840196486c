"""The golden pictures' checkpoint: known by its weights alone; its text encoder gives the hosts' numbers."""

import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from golden import golden_dir
from miniatures import GOLDEN_SHA256, golden_checkpoint
from sd_concord.core.prompt import Conditioning, RunShape, encode, plan
from sd_concord.harness.models import Model, load_model

pytestmark = pytest.mark.golden
EVERY = 24  # the record holds every 24th of 768 features
ROUNDING = 1e-5  # the limit that the record's README sets


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Model:
    """The checkpoint without the yaml that lies beside it."""
    alone = tmp_path_factory.mktemp("golden") / "alone.safetensors"
    alone.symlink_to(golden_checkpoint())
    return load_model(alone)


def test_its_form_is_told_from_its_weights(model):
    assert (model.family, model.prediction, model.ztsnr, model.size) == ("sd15", "eps", False, (512, 512))
    config = model.unet.config
    assert list(config["block_out_channels"]) == [320]
    assert list(config["down_block_types"]) == ["CrossAttnDownBlock2D"]
    assert list(config["layers_per_block"]) == [1]
    assert list(config["attention_head_dim"]) == [8]
    assert config["cross_attention_dim"] == 768
    assert list(model.vae.config["block_out_channels"]) == [128, 256, 512, 512]
    assert (model.text_encoders[0].layers, model.text_encoders[0].heads) == (12, 12)
    assert model.hash == GOLDEN_SHA256[:10]


def test_the_yaml_says_the_same(model):
    beside = load_model(golden_checkpoint(), dtype="float16")
    assert beside.betas == model.betas
    assert beside.scale_factor == model.scale_factor
    assert {**beside.unet.config} == {**model.unet.config}


@pytest.mark.parametrize("kind", ["prompt", "clip skip", "emphasis"])
def test_its_conditioning_is_the_hosts_at_every_call(model, kind):
    """Through the core's prompt code; numbers of A1111 are kept only where they are not Forge's."""
    folder = golden_dir("pictures")
    index = json.loads((folder / "forge" / "index.json").read_text())
    calls = {host: np.load(folder / host / "latents.npz") for host in ("forge", "a1111")}
    records = {host: np.load(folder / host / "conds.npz") for host in calls}
    cases = [entry for entry in index["entries"] if entry["kind"] == kind]
    for entry in cases:
        for fed, made in sides(model, index, entry, calls):
            for host, call, k in fed_at(calls, f"{entry['id']}/{fed}"):
                name = f"{entry['id']}/cond{k}"
                wanted = torch.from_numpy(records[host if name in records[host] else "forge"][name])
                found = made.for_call(call).hidden[:, :, ::EVERY]
                torch.testing.assert_close(
                    found, wanted, rtol=0, atol=ROUNDING, msg=f"{host} {name}, call {call}"
                )
    assert cases


def fed_at(calls: dict, name: str) -> Iterator[tuple[str, int, int]]:
    """Yield host, call and the number of the conditioning that it was fed."""
    for host, record in calls.items():
        yield from ((host, call, k) for call, k in enumerate(record[name]))


def sides(model: Model, index: dict, entry: dict, calls: dict) -> Iterator[tuple[str, Conditioning]]:
    """Yield the name of the record of each side of a request, and its conditioning."""
    request, options = entry["request"], index["common_options"] | entry["options"]
    two_a_step = len(calls["forge"][f"{entry['id']}/cond_index"]) > request["steps"]
    for side, fed in (("prompt", "cond_index"), ("negative_prompt", "uncond_index")):
        run = RunShape(negative=side == "negative_prompt", calls_per_step=1 + two_a_step)
        planned = plan(request[side], request["steps"], run=run)
        yield (
            fed,
            encode(
                planned,
                model.text_encoders[0],
                emphasis=options["emphasis"],
                clip_skip=options["CLIP_stop_at_last_layers"],
            ),
        )
