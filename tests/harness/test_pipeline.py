"""The pipeline: the same seed, the same picture, alone or in a batch; what is left open is filled in."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sd_concord.core.errors import BadType, BadValue
from sd_concord.harness import Pipeline
from sd_concord.harness.bench import denoise_loop

PROMPT = "a red circle and a blue square"


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline.load()


def test_the_same_seed_gives_the_same_picture(pipeline):
    first, second = (pipeline(PROMPT, steps=5, seed=3)[0].image for _ in range(2))
    assert np.array_equal(first, second)


def test_another_seed_gives_another_picture(pipeline):
    first, second = (pipeline(PROMPT, steps=5, seed=seed)[0].image for seed in (3, 4))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "euler_ancestral"])
def test_a_batch_equals_its_singles(pipeline, sampler):
    """To one level and 99 % of values: sums are taken in another order in a batch."""
    batch = pipeline(PROMPT, "blurry", steps=6, seed=10, batch=4, sampler=sampler)
    for i, picture in enumerate(batch):
        single = pipeline(PROMPT, "blurry", steps=6, seed=10 + i, sampler=sampler)[0]
        assert picture.generation == single.generation
        difference = np.abs(picture.image.astype(int) - single.image)
        assert difference.max() <= 1
        assert (difference == 0).mean() >= 0.99


def test_what_is_left_open_is_filled_in(pipeline):
    record = pipeline(PROMPT, steps=2)[0].generation
    assert record.sampler == "dpmpp_2m"
    assert record.scheduler == "karras"
    assert record.size == (128, 128)
    assert record.seed >= 0
    assert record.model.hash == pipeline.model.hash


def test_the_record_of_a_picture_makes_it_again(pipeline):
    picture = pipeline(PROMPT, steps=4, sampler="Euler a", scheduler="SGM Uniform", cfg=3)[0]
    again = pipeline.generate(picture.generation)[0]
    assert np.array_equal(picture.image, again.image)
    assert again.generation == picture.generation


def test_labels_and_fused_labels_name_samplers(pipeline):
    record = pipeline.complete(
        dataclasses.replace(
            pipeline(PROMPT, steps=1)[0].generation, sampler="DPM++ 2M Karras", scheduler=None
        )
    )
    assert (record.sampler, record.scheduler) == ("dpmpp_2m", "karras")


def test_watch_sees_every_step(pipeline):
    seen = []
    pipeline(PROMPT, steps=4, seed=1, watch=lambda done, denoised: seen.append((done, tuple(denoised.shape))))
    assert seen == [(i, (1, 4, 16, 16)) for i in (1, 2, 3, 4)]


def test_a_larger_size_is_drawn(pipeline):
    assert pipeline(PROMPT, steps=2, seed=1, size=(192, 136))[0].image.shape == (136, 192, 3)


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"sampler": "eulr"}, BadValue, "did you mean euler"),
        ({"scheduler": "karas"}, BadValue, "did you mean karras"),
        ({"size": (100, 100)}, BadValue, "multiples of 8, such as 96x96"),
        ({"steps": 0}, BadValue, "steps is 0"),
        ({"batch": 0}, BadValue, "batch is 0"),
        ({"stepz": 3}, BadType, "unknown setting 'stepz'"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_settings_that_cannot_be_are_refused(pipeline, fields, error, words):
    with pytest.raises(error, match=words):
        pipeline(PROMPT, **fields)


def _lora(folder, pipeline, strength):
    """Write a LoRA of rank 1 on one projection of the UNet."""
    name = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_v"
    weight = pipeline.model.unet.get_parameter(f"{name}.weight")
    flat = f"lora_unet_{name.replace('.', '_')}"
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"{flat}.lora_up.weight": strength * torch.randn(weight.shape[0], 1, generator=generator),
        f"{flat}.lora_down.weight": torch.randn(1, weight.shape[1], generator=generator),
        f"{flat}.alpha": torch.tensor(1.0),
    }
    save_file(tensors, folder / "change.safetensors")


def test_a_lora_acts_by_its_weight_and_leaves_no_trace(tmp_path, pipeline):
    _lora(tmp_path, pipeline, 1.0)
    with_loras = Pipeline(pipeline.model, lora_folders=[tmp_path])
    plain = with_loras(PROMPT, steps=3, seed=1)[0]
    changed = with_loras(f"{PROMPT}<lora:change:0.8>", steps=3, seed=1)[0]
    off = with_loras(f"{PROMPT}<lora:change:0>", steps=3, seed=1)[0]
    after = with_loras(PROMPT, steps=3, seed=1)[0]
    assert not np.array_equal(plain.image, changed.image)
    assert np.array_equal(plain.image, off.image)
    assert np.array_equal(plain.image, after.image)
    [ref] = changed.generation.networks.loras
    assert ref.name == "change"
    assert len(ref.hash) == 12


def test_a_lora_is_laid_on_once_whatever_the_steps(tmp_path, pipeline):
    """What the network has while it runs is its weights and 0.8 of the product of the file's two factors."""
    _lora(tmp_path, pipeline, 1.0)
    with_loras = Pipeline(pipeline.model, lora_folders=[tmp_path])
    weight = with_loras.model.unet.get_parameter(
        "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_v.weight"
    )
    before, seen = weight.clone(), []
    with_loras(f"{PROMPT}<lora:change:0.8>", steps=5, seed=1, watch=lambda _, x: seen.append(weight.clone()))
    file = load_file(tmp_path / "change.safetensors")
    up, down = (next(t for key, t in file.items() if f"lora_{name}" in key) for name in ("up", "down"))
    assert len(seen) == 5
    for one in seen:
        torch.testing.assert_close(one, before + 0.8 * (up @ down).to(before.dtype))


def test_a_weight_that_is_no_number_is_said_and_the_picture_made(tmp_path, pipeline):
    _lora(tmp_path, pipeline, 1.0)
    with_loras = Pipeline(pipeline.model, lora_folders=[tmp_path])
    picture = with_loras(f"{PROMPT}<lora:change:much>", steps=1, seed=1)[0]
    assert "a weight is no number in ['much']" in with_loras.warnings[0]
    assert np.array_equal(picture.image, with_loras(PROMPT, steps=1, seed=1)[0].image)


def test_a_missing_lora_is_said_and_the_picture_made(pipeline):
    picture = pipeline(f"{PROMPT}<lora:nowhere:1>", steps=2, seed=1)[0]
    assert picture.image.shape == (128, 128, 3)
    assert "nowhere" in pipeline.warnings[0]


def test_little_time_is_spent_outside_the_network(pipeline):
    assert denoise_loop.run(pipeline)["outside_unet"] <= 0.03


def test_a_scheduled_lora_acts_only_in_its_part(tmp_path, pipeline):
    """Steps before the switch are those without it: the states seen there are equal, later ones are not."""
    from sd_concord.core.image import ConcordSettings

    _lora(tmp_path, pipeline, 1.0)
    with_loras = Pipeline(pipeline.model, lora_folders=[tmp_path])
    concord = ConcordSettings(dialect="concord")

    def states(prompt):
        seen = []
        with_loras(prompt, steps=6, seed=1, concord=concord, watch=lambda _, x: seen.append(x.clone()))
        return seen

    plain, scheduled = states(PROMPT), states(f"{PROMPT}[:<lora:change:1>:3]")
    same = [torch.equal(a, b) for a, b in zip(plain, scheduled, strict=True)]
    assert same == [True, True, True, False, False, False]


def test_an_inpainting_model_is_refused(pipeline):
    class Wider:
        def __getattr__(self, name):
            return getattr(pipeline.model.unet, name)

        @property
        def config(self):
            return {**pipeline.model.unet.config, "in_channels": 9}

    inpainting = Pipeline(dataclasses.replace(pipeline.model, unet=Wider()))
    with pytest.raises(BadValue, match="takes 9 channels, as inpainting models do"):
        inpainting(PROMPT, steps=1)


def test_what_does_not_fit_of_a_lora_is_said(tmp_path, pipeline):
    _lora(tmp_path, pipeline, 1.0)
    from safetensors.torch import load_file

    tensors = load_file(tmp_path / "change.safetensors")
    strange = {key.replace("down_blocks_1", "down_blocks_9"): value.clone() for key, value in tensors.items()}
    save_file({**tensors, **strange}, tmp_path / "part.safetensors")
    save_file(strange, tmp_path / "none.safetensors")
    with_loras = Pipeline(pipeline.model, lora_folders=[tmp_path])
    with_loras(f"{PROMPT}<lora:part:1>", steps=1)
    assert "'part': 3 keys fit nothing in demo" in with_loras.warnings[0]
    picture = with_loras(f"{PROMPT}<lora:none:1>", steps=1)[0]
    assert "'none' is left out: nothing of it fits demo" in with_loras.warnings[0]
    assert picture.generation.networks.loras == ()


def test_an_embedding_that_is_not_there_is_said(pipeline):
    pipeline(f"{PROMPT}, embedding:easynegative", steps=1)
    assert any("no embedding is called 'easynegative'" in line for line in pipeline.warnings)
