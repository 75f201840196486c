"""Concord's prompts in the real ComfyUI: the tensors, and what each denoiser call of each sampler gets."""

from dataclasses import replace

import pytest

pytest.importorskip("diffusers", reason="diffusers is not installed, which makes the models")
import numpy as np
import torch
from clip import load_script
from comfy_inside import CONDS, embedding, golden_cases
from golden import golden_dir
from miniatures import miniature
from sd_concord.core.prompt import RunShape, encode, plan
from sd_concord.core.sampling import SAMPLERS

pytestmark = pytest.mark.hosts
POSITIVE, NEGATIVE = "a [cat|dog], [red:blue:0.5] hat", "[ugly:bad:3] picture"
STEPS = 6
ATOL = 5e-5
"""Of the records of A1111: sums of float32 in another order; a wrong rule shows at 1e-2."""
RUNS = (
    *((name, "normal") for name in ("heun", "dpm_2", "dpmpp_sde", "dpmpp_2s_ancestral")),
    *(
        (name, "normal")
        for name in ("euler", "dpmpp_2m", "euler_ancestral", "dpm_fast", "uni_pc", "euler_cfg_pp")
    ),
    *((name, "normal") for name in ("lms", "dpmpp_2m_sde", "concord_heun", "concord_dpmpp_2m")),
    *((name, "normal") for name in ("concord_euler_cfg_pp", "concord_seeds_3")),
    *((name, schedule) for name in ("euler", "heun") for schedule in ("exponential", "beta")),
)


@pytest.fixture(scope="module")
def encoders():
    vectors = embedding()
    found = {}
    for kind in ("sd15", "sdxl"):
        found[kind] = [
            replace(one, embeddings={"nice": vectors[one.name]}) for one in miniature(kind).text_encoders
        ]
    return found


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
@pytest.mark.parametrize("i", range(len(CONDS)), ids=lambda i: f"{CONDS[i][0][:20]}-{CONDS[i][1]}")
def test_the_tensors_are_the_cores(inside, encoders, kind, i):
    text, settings = CONDS[i]
    negative = settings.get("negative", False)
    laid = plan(text, 1, dialect=settings.get("dialect", "a1111"), run=RunShape(negative=negative))
    active = encode(
        laid,
        encoders[kind],
        emphasis=settings.get("emphasis", "Original"),
        clip_skip=settings.get("clip_skip", 2 if kind == "sdxl" else 1),
        zero_empty=negative and kind == "sdxl",
    ).for_call(0)
    found = inside.tensors[f"cond/{kind}/{i}"]
    assert found.shape == active.hidden.shape
    assert (found - active.hidden).abs().max() < 1e-5
    if kind == "sdxl":
        assert (inside.tensors[f"pooled/{kind}/{i}"] - active.pooled).abs().max() < 1e-5


@pytest.mark.parametrize(("name", "schedule"), RUNS)
def test_each_denoiser_call_gets_what_the_schedule_says(inside, encoders, name, schedule):
    spec = SAMPLERS[name.removeprefix("concord_")]
    calls = 2 if spec.second_order else 1
    for kind, text in (("positive", POSITIVE), ("negative", NEGATIVE)):
        run = RunShape(calls_per_step=calls, negative=kind == "negative")
        wanted = encode(plan(text, STEPS, dialect="a1111", run=run), encoders["sd15"])
        found = inside.tensors[f"calls/{name}/{schedule}/{kind}"]
        rows = [wanted.for_call(call).hidden[0] for call in range(len(found))]
        assert len({tuple(row.flatten()[64 * 2 : 64 * 12].tolist()) for row in rows}) >= 2
        for row, one in zip(rows, found, strict=True):
            assert (row - one).abs().max() < 1e-5


@pytest.mark.parametrize(("name", "schedule"), RUNS)
def test_both_prompts_go_through_the_model_in_one_batch(inside, name, schedule):
    assert all(kinds == [0, 1] for kinds in inside.facts[f"calls/{name}/{schedule}"])


def test_the_model_is_left_clean(inside):
    assert inside.facts["stays clean"]


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m_sde", "concord_dpmpp_2m"])
def test_a_schedule_that_never_changes_is_the_plain_prompt_bit_for_bit_and_repeats(inside, name):
    assert inside.facts["constant has hooks"] == [False, True]
    assert inside.facts[f"constant/{name}"] == [True, True]


@pytest.mark.parametrize(
    ("i", "cfg", "cat", "dog"), [(0, 4.0, 1.0, 0.5), (1, 3.0, -0.5, 0.5), (2, 1.0, 0.4, 0.0)]
)
def test_and_is_joined_as_in_a1111(inside, i, cfg, cat, dog):
    alone = {name: inside.tensors[f"and/{name}"] for name in ("cat", "dog", "none")}
    none = alone["none"]
    wanted = none + cfg * (cat * (alone["cat"] - none) + dog * (alone["dog"] - none))
    assert (inside.tensors[f"and/{i}"] - wanted).abs().max() < 1e-4 * wanted.abs().max()
    assert (wanted - none - cfg * (alone["cat"] - none)).abs().max() > 1e-3


@pytest.mark.parametrize("schedule", ["normal", "exponential", "beta"])
def test_a_lora_in_an_edit_is_on_at_its_steps_alone_for_both_prompts(inside, schedule):
    on = inside.facts[f"lora/constant/{schedule}"][0][1]
    off = inside.facts[f"lora/none/{schedule}"][0][1]
    assert abs(on - off) > 1
    found = inside.facts[f"lora/scheduled/{schedule}"]
    assert all(kinds == [0, 1] for kinds, _ in found)
    assert [weight for _, weight in found] == pytest.approx([on] * 3 + [off] * 3)


def test_a_lora_is_in_the_text_too(inside):
    assert torch.equal(inside.tensors["lora/scheduled"], inside.tensors["lora/constant"])
    assert (inside.tensors["lora/constant"] - inside.tensors["lora/none"]).abs().max() > 0.01


def test_lora_prompt_does_the_same_to_model_and_clip(inside):
    rest, weight = inside.facts["lora/prompt"]
    assert rest == "a cat [<lora:push:1>::0.5]"
    assert weight == pytest.approx(inside.facts["lora/constant/normal"][0][1])
    assert (inside.tensors["lora/prompt"] - inside.tensors["lora/constant"]).abs().max() < 1e-5


@pytest.mark.parametrize("guider", ["dual", "perp", "basic"])
def test_other_guiders_take_schedules_and_and(inside, guider):
    assert inside.facts[f"guider/{guider}"]


def test_areas_with_schedules_of_their_own_are_combined(inside):
    assert inside.facts["areas"]


def test_a_lora_that_another_node_hooks_on_stays_on_beside_ours(inside):
    off = inside.facts["lora/none/normal"][0][1]
    half = inside.facts["lora/constant/normal"][0][1] - off
    found = inside.facts["beside a hook"]
    assert all(kinds == [0, 1] for kinds, _ in found)
    assert [weight - off for _, weight in found] == pytest.approx([3 * half] * 3 + [2 * half] * 3, rel=1e-4)


@pytest.mark.golden
@pytest.mark.parametrize("case", golden_cases(), ids=lambda case: case["id"])
def test_comfyuis_encoders_give_the_tensors_that_a1111_was_recorded_with(inside, case):
    with np.load(golden_dir("cond") / "a1111.npz") as file:
        store = {key: file[key] for key in file.files if key.startswith(case["id"] + ".")}
    for i, parts in enumerate(case["batch"]):
        for j, (_, segments) in enumerate(parts):
            for k, (_, row) in enumerate(segments):
                found = inside.tensors[f"golden/{case['id']}/{i}/{j}/{k}"]
                wanted, found = recorded(store, case["id"], row, found)
                assert np.abs(found - wanted).max() < ATOL
                if f"{case['id']}.pooled" in store:
                    pooled = inside.tensors[f"golden-pooled/{case['id']}/{i}/{j}/{k}"].numpy()
                    assert np.abs(pooled - store[f"{case['id']}.pooled"][row]).max() < ATOL


def recorded(store, case, row, found):
    """Return the record of ``row``, and ``found`` in the form that it was recorded in."""
    for key, one in ((f"{case}.full", row), (f"{case}.full{row}", None), (f"{case}.proj{row}", None)):
        if key in store:
            wanted = store[key] if one is None else store[key][one]
            return wanted, projected(found) if ".proj" in key else found.numpy()
    return store[f"{case}.proj"][row], projected(found)


def projected(hidden):
    matrix = torch.from_numpy(load_script(golden_dir("cond") / "a1111_tiny_clip.py").projection()).double()
    return torch.cat([part @ matrix for part in hidden.double().split(64, dim=-1)], dim=-1).numpy()
