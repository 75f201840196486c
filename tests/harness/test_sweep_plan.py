"""Plans of sweeps on paper: cells, batches and their order, and what they cost."""

import argparse
import json
import time
import tracemalloc
from dataclasses import replace

import pytest
from sd_concord.core.axes_plan import is_plan_file, read_seeds
from sd_concord.core.errors import BadFile, BadValue
from sd_concord.core.image import ConcordSettings, Generation, Hires, Variation
from sd_concord.harness.commands import sweep as command
from sd_concord.harness.sweep.advice import advice
from sd_concord.harness.sweep.estimate import estimate
from sd_concord.harness.sweep.order import Loaded, batches_of, batches_of_plan
from sd_concord.harness.sweep.plan import Plan, cells_of, read_axes
from sd_concord.harness.sweep.plan_file import PlanParser, with_plan_file
from sd_concord.harness.sweep.queue import JobQueue
from sd_concord.harness.sweep.records import changes, plain, restored
from sd_concord.harness.sweep.setup import Setup
from sd_concord.harness.sweep.worker import Job

BASE = Generation(prompt="a red circle", steps=4, sampler="euler", seed=7, size=(64, 64))


def planned(x=None, y=None, z=None, seeds=1, base=BASE, **more):
    return Plan(base=base, axes=read_axes({"x": x, "y": y, "z": z}), seeds=seeds, **more)


def batches(plan):
    return batches_of_plan(plan, cells_of(plan))


# Cells


def test_x_counts_fastest_then_y_seeds_and_z():
    plan = planned("cfg=3,5", "steps=4,6", "sampler=euler,heun", seeds=2)
    cells = cells_of(plan)
    assert plan.shape == (2, 2, 2, 2)
    assert plan.count == len(cells) == 16
    assert [cell.place for cell in cells[:5]] == [
        (0, 0, 0, 0),
        (1, 0, 0, 0),
        (0, 1, 0, 0),
        (1, 1, 0, 0),
        (0, 0, 0, 1),
    ]
    last = cells[-1].record
    assert (last.cfg, last.steps, last.sampler, last.seed) == (5.0, 6, "heun", 8)
    assert [cell.number for cell in cells] == list(range(16))


def test_what_is_written_into_is_set_before_what_writes():
    base = replace(BASE, prompt="unused")
    cells = cells_of(planned("lora style=0.5,1", 'prompt s/r=cat,"a dog"', "prompt=one cat", base=base))
    assert [cell.record.prompt for cell in cells] == [
        "one cat <lora:style:0.5>",
        "one cat <lora:style:1>",
        "one a dog <lora:style:0.5>",
        "one a dog <lora:style:1>",
    ]


def test_a_recipe_is_laid_under_what_the_other_axes_say():
    base = Generation(prompt="a cat", seed=7)
    axes = ("option solver_type=heun,midpoint", "recipe=none,ays-draft,lcm", "sampler=dpmpp_2m_sde")
    cells = cells_of(planned(*axes, base=base))
    assert [(cell.record.steps, cell.record.scheduler) for cell in cells[::2]] == [
        (None, None),
        (12, "align_your_steps"),
        (5, "sgm_uniform"),
    ]
    assert {cell.record.sampler for cell in cells} == {"dpmpp_2m_sde"}
    assert cells[5].record.prompt == "a cat <lora:lcm-lora-sdxl:1>"
    assert cells[5].record.concord.recipe == "lcm"
    prompts = cells_of(planned("prompt=a cat,a dog", "recipe=lcm", base=base))
    assert [cell.record.prompt for cell in prompts] == [
        f"a {one} <lora:lcm-lora-sdxl:1>" for one in ("cat", "dog")
    ]


def test_what_disagrees_with_a_card_is_known_beforehand():
    base = Generation(prompt="a cat", seed=7)
    plan = planned("recipe=none,ays-draft,deis", "steps=12,30,50", seeds=3, base=base)
    lines = advice(plan)
    assert [line.partition(", but")[0] for line in lines] == [
        "steps is 12",
        "steps is 30",
        "steps is 30",
        "steps is 50",
    ]
    assert sum("the card of Align Your Steps" in line for line in lines) == 2
    assert advice(planned("steps=12,30")) == []


def test_a_seed_that_is_left_open_is_drawn_once():
    cells = cells_of(planned("cfg=3,5", seeds=2, base=replace(BASE, seed=-1)))
    seeds = [cell.record.seed for cell in cells]
    assert seeds[0] is not None
    assert seeds[0] >= 0
    assert seeds == [seeds[0], seeds[0], seeds[0] + 1, seeds[0] + 1]


def test_a_variation_seed_that_is_left_open_is_drawn():
    base = replace(BASE, variation=Variation(seed=-1, strength=0.3))
    first, second = cells_of(planned("cfg=3,5", base=base))
    assert first.record.variation.seed >= 0
    assert first.record.variation == second.record.variation


def test_seeds_can_be_named():
    assert [cell.record.seed for cell in cells_of(planned(seeds=(9, 3)))] == [9, 3]


def test_values_that_do_not_go_together_are_the_problem_of_their_cell():
    cells = cells_of(planned("sampler=euler,euler_ancestral", "option s_churn=1,2"))
    assert [cell.problem is None for cell in cells] == [True, False, True, False]
    assert "s_churn" in cells[1].problem


def test_a_plan_of_which_nothing_can_be_made_is_refused():
    with pytest.raises(BadValue, match="no cell of the plan can be made: axis prompt s/r"):
        cells_of(planned("prompt s/r=zebra,horse"))


@pytest.mark.parametrize(
    ("text", "seeds"), [("4", 4), ("7,9", (7, 9)), ("100-103", (100, 101, 102, 103)), (" 1 ", 1)]
)
def test_seeds_are_a_count_or_a_list(text, seeds):
    assert read_seeds(text) == seeds


@pytest.mark.parametrize("text", ["0", "-3", "a", "", "7,7", "1.5", "7,-1"])
def test_other_seeds_are_refused_in_a_line(text):
    with pytest.raises(BadValue, match="write how many, such as 4, or different seeds"):
        read_seeds(text)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: planned("steps=4,5", "steps=6,7"), "the axis steps is there twice"),
        (lambda: planned("seed=4,5", seeds=(1, 2)), "contradict each other"),
        (lambda: planned(together=0), "--batch is 0"),
        (lambda: planned(threads=0), "--threads is 0"),
        (lambda: planned("cfg=1-1000", "steps=1-1000"), "1000000 cells; 200000 are the most"),
        (lambda: planned("token_merging_ratio=0.1,0.2"), "draws nothing by it"),
        (lambda: planned("inpaint.padding=1,2"), "draws nothing by it"),
        (lambda: planned("stepz=1,2"), "did you mean steps"),
    ],
    ids=["axis twice", "seeds twice", "batch", "threads", "cells", "not drawn", "image to image", "unknown"],
)
def test_plans_that_cannot_be_are_refused_in_a_line(make, words):
    with pytest.raises(BadValue, match=words):
        make()


# Order


def test_models_and_networks_are_loaded_once_each():
    plan = planned("lora style=0.5,1", "model=a,b", "steps=4,6", seeds=3, together=2)
    loaded = [batch.loaded for batch in batches(plan)]
    runs = [one for i, one in enumerate(loaded) if i == 0 or loaded[i - 1] != one]
    assert runs == [
        Loaded("a", None, ("<lora:style:0.5>",)),
        Loaded("a", None, ("<lora:style:1>",)),
        Loaded("b", None, ("<lora:style:0.5>",)),
        Loaded("b", None, ("<lora:style:1>",)),
    ]


def test_every_cell_is_in_one_batch():
    found = batches(planned("sampler=euler,heun,dpm_adaptive", "steps=4-9", "cfg=3,5", seeds=5, together=4))
    cells = [cell for batch in found for cell in batch.cells]
    assert sorted(cells) == list(range(3 * 6 * 2 * 5))
    assert [batch.number for batch in found] == list(range(len(found)))


def test_prompts_seeds_and_guidance_share_a_batch():
    base = replace(BASE, concord=ConcordSettings(cfg_rescale=0.5))
    plan = planned("cfg=3,5", "prompt=a,b", "concord.cfg_rescale=0.1,0.2", seeds=2, base=base, together=16)
    [batch] = batches(plan)
    assert len(batch.cells) == 16


@pytest.mark.parametrize(
    "axis",
    [
        "steps=4,6",
        "sampler=euler,heun",
        "scheduler=karras,ays",
        "size=64x64,64x128",
        "option s_churn=1,2",
        "model=a,b",
        "vae=a,b",
        "concord.profile=concord,a1111",
        "lora style=0,1",
    ],
)
def test_what_the_sampler_or_the_model_sees_parts_batches(axis):
    plan = planned(axis, seeds=2, together=8)
    cells = cells_of(plan)
    for batch in batches(plan):
        assert len({cells[number].place[0] for number in batch.cells}) == 1


def test_batches_of_a_kind_are_of_nearly_one_size():
    assert [len(batch.cells) for batch in batches(planned(seeds=17, together=8))] == [6, 5, 6]


def test_a_sampler_that_measures_its_errors_draws_alone():
    assert {len(b.cells) for b in batches(planned("sampler=dpm_adaptive", seeds=4, together=4))} == {1}


def test_pictures_of_several_passes_are_batched_by_seeds_that_follow():
    base = replace(BASE, hires=Hires(upscale=2.0))
    plan = planned("cfg=3,5", seeds=(4, 9, 3, 5), base=base, together=2)
    cells = cells_of(plan)
    found = [[(cells[i].record.cfg, cells[i].record.seed) for i in batch.cells] for batch in batches(plan)]
    wanted = [[(cfg, seed) for seed in seeds] for cfg in (3, 5) for seeds in ((3, 4), (5,), (9,))]
    assert sorted(found) == sorted(wanted)


@pytest.mark.parametrize(
    ("profile", "sampler", "together"),
    [("concord", "ddpm", 2), ("a1111", "dpmpp_sde", 2), ("forge", "euler", 2), ("forge", "ddpm", 1)],
)
def test_passes_whose_noise_is_drawn_for_a_batch_go_alone(profile, sampler, together):
    base = replace(BASE, hires=Hires(), sampler=sampler, concord=ConcordSettings(profile=profile))
    found = batches(planned(seeds=2, base=base, together=2))
    assert len(found[0].cells) == together


def test_passes_with_a_variation_go_alone():
    base = replace(BASE, hires=Hires(), variation=Variation(seed=1, strength=0.5))
    assert len(batches(planned(seeds=2, base=base, together=2))) == 2


def test_the_same_plan_gives_the_same_batches():
    plan = planned("sampler=euler,heun", "model=a,b", "steps=4,6", seeds=5)
    assert batches(plan) == batches(planned("sampler=euler,heun", "model=a,b", "steps=4,6", seeds=5))


@pytest.mark.parametrize(
    ("size", "hires", "together"),
    [
        ((64, 64), None, 16),
        ((1024, 1024), None, 4),
        ((512, 512), None, 16),
        ((832, 1216), None, 4),
        ((512, 512), Hires(upscale=2.0), 4),
        ((512, 512), Hires(resize=(2048, 2048)), 1),
        ((4096, 4096), None, 1),
        (None, None, 4),
    ],
)
def test_how_many_go_together_follows_from_their_size(size, hires, together):
    cells = cells_of(planned(seeds=16, base=replace(BASE, size=size, hires=hires)))
    assert len(batches_of(cells)[0].cells) == together


# Cost


def test_ten_thousand_cells_are_planned_in_two_seconds_and_200_megabytes():
    plan = planned("cfg=1-10 (+0.1)", "steps=4-28", "sampler=euler,dpmpp_2m,ipndm,heun", seeds=2)
    assert plan.count >= 18000
    plan = planned("cfg=1-10.9 (+0.1)", "steps=4-28", "sampler=euler,dpmpp_2m", seeds=2)
    assert plan.count == 10000
    started = time.process_time()
    found, cells, order = estimate(plan)
    taken = time.process_time() - started
    assert taken < 2
    assert (found.cells, len(cells), found.batches) == (10000, 10000, len(order))
    tracemalloc.start()
    try:
        kept = estimate(plan)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert kept[0] == found
    assert most < 200e6


def test_the_estimate_counts_what_there_is_to_do():
    plan = planned("sampler=euler,heun", "model=a,b", "lora style=0.5,1", seeds=3)
    found, _, order = estimate(plan)
    assert (found.cells, found.models, found.networks, found.batches) == (24, 2, 4, len(order))
    assert found.calls == 12 * 4 + 12 * 7  # Heun's last step ends in 0 and takes one call
    assert found.prompts == 3
    assert any("24" in line for line in found.lines)


def test_the_estimate_counts_the_hires_pass():
    base = replace(BASE, hires=Hires(steps=8), denoising_strength=0.5)
    assert estimate(planned(base=base))[0].calls == 4 + 4


# Records as JSON


def test_records_survive_json_to_the_letter():
    from sd_concord.core.image import DetailerUnit, ModelRef, Networks, Refiner, SamplerOptions

    record = Generation(
        prompt='a, "b"\n<lora:x:1>',
        steps=3,
        size=(64, 128),
        cfg=0.1 + 0.2,
        sampler_options=SamplerOptions(s_tmin=0.1),
        hires=Hires(resize=(0, 512)),
        refiner=Refiner(model="r", switch_at=0.8),
        detailer=(DetailerUnit(model="face", steps=3), DetailerUnit()),
        networks=Networks(loras=(ModelRef(name="x", hash="12"),)),
        concord=ConcordSettings(sampler_options=(("tail_power", 1),)),
        extras=(("A", "b"),),
    )
    data = json.loads(json.dumps(plain(record)))
    assert Generation(**restored(data)) == record


def test_only_changes_are_kept_of_a_cell():
    record = replace(BASE, cfg=3.0, size=None)
    assert changes(record, BASE) == {"cfg": 3.0, "size": None}
    assert replace(BASE, **restored(changes(record, BASE))) == record


# Plans as files


@pytest.fixture
def read(tmp_path):
    def read(name, text, *words):
        path = tmp_path / name
        path.write_text(text)
        parser = PlanParser()
        command.add_arguments(parser)
        return command.plan_of(with_plan_file(parser.parse_args([str(path), *words]), parser))

    return read


YAML = """
prompt: a red circle, soft
negative_prompt: "-blurry"
x: {sampler: [euler, "DPM++ 2M"]}
y: {prompt s/r: ["circle, soft", 'ring, "hard"']}
z: cfg=3-5
seeds: [4, 9]
steps: 6
size: 64
batch: 3
threads: 1
hires: 2
hires-denoise: 0.5
lora-dir: [.]
sgm-noise: true
"""


def test_a_yaml_plan_is_the_command_line_in_a_file(read):
    plan = read("plan.yaml", YAML)
    assert plan.shape == (2, 2, 3, 2)
    assert plan.seeds == (4, 9)
    assert (plan.together, plan.threads) == (3, 1)
    base = plan.base
    assert (base.prompt, base.negative_prompt) == ("a red circle, soft", "-blurry")
    assert (base.steps, base.size, base.denoising_strength) == (6, (64, 64), 0.5)
    assert base.schedule_options.sgm_noise is True
    assert plan.setup.lora_dir
    assert cells_of(plan)[-1].record.prompt == 'a red ring, "hard"'
    assert cells_of(plan)[-1].record.sampler == "dpmpp_2m"


def test_a_json_plan_does_the_same(read):
    plan = read("plan.json", json.dumps({"prompt": "a", "x": "steps=3,4", "seeds": 2, "size": "64x32"}))
    assert plan.shape == (2, 1, 1, 2)
    assert plan.base.size == (64, 32)


def test_the_command_line_overrules_the_file(read):
    plan = read("plan.yaml", YAML, "--steps", "9", "--x", "cfg=1,2,3", "--z", "sampler=euler")
    assert plan.base.steps == 9
    assert plan.shape[0] == 3


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("plan.yaml", "stepz: 3", "unknown setting of a plan 'stepz'; did you mean steps"),
        ("plan.yaml", "resume: x", "unknown setting of a plan 'resume'"),
        ("plan.yaml", "- a", "is no mapping"),
        ("plan.yaml", "a: [", "is no YAML"),
        (
            "plan.yaml",
            "x: cfg=1\nprompt: a: b",
            r"is no YAML \(line 2, column 10: mapping values are not allowed",
        ),
        ("plan.yaml", "steps: abc", "the plan's steps: invalid int value: 'abc'; mend it there"),
        ("plan.yaml", "emphasis: xpu", "the plan's emphasis: invalid choice: 'xpu'"),
        ("plan.yaml", "detailer_set: [a=1]", "the plan cannot be: --detailer-set stands after"),
        ("plan.json", "{", "is no JSON"),
        ("plan.yaml", "x: [1, 2]", "write x: sampler=euler,dpmpp_2m"),
        ("plan.yaml", "prompt: 3", "the plan's prompt is 3"),
        ("plan.yaml", "steps: {a: b}", "the plan's steps is a mapping"),
    ],
)
def test_a_file_that_is_no_plan_is_refused_in_a_line(read, name, text, words):
    with pytest.raises(BadValue, match=words) as caught:
        read(name, text)
    assert "\n" not in str(caught.value)


def test_a_plan_that_is_not_there_is_a_bad_file(tmp_path):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    with pytest.raises(BadFile, match="cannot be read"):
        with_plan_file(parser.parse_args([str(tmp_path / "none.yaml")]), parser)


def test_a_prompt_is_no_plan():
    assert [is_plan_file(text) for text in ("a.yaml", "b.JSON", "a red circle", None)] == [
        True,
        True,
        False,
        False,
    ]


def base_of(*words):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.plan_of(parser.parse_args(["a", *words])).base


def test_a_schedule_that_is_not_named_is_left_to_each_sampler():
    assert base_of().scheduler is None
    assert base_of("--scheduler", "karras").scheduler == "karras"
    assert base_of("--sampler", "DPM++ 2M Karras").scheduler == "karras"
    assert base_of("--recipe", "juggernaut-xl-v9").scheduler == "karras"


def test_a_setup_survives_json(tmp_path):
    args = argparse.Namespace(
        model=tmp_path / "m.safetensors", vae=None, lora_dir=[tmp_path], device="cpu", dtype="auto"
    )
    setup = Setup.of(args)
    assert setup.path == tmp_path / "m.safetensors"
    assert Setup.restored(json.loads(json.dumps(setup.plain()))) == setup


# Work for several


def job(number, model="a", networks=()):
    return Job(
        number=number,
        cells=((number, BASE),),
        wanted=frozenset({number}),
        loaded=Loaded(model, None, networks),
    )


def test_a_worker_takes_what_fits_what_it_holds():
    queue = JobQueue([job(0, "a"), job(1, "b", ("x",)), job(2, "b", ("y",)), job(3, "a")])
    assert queue.take(Loaded("b", None, ("y",))).number == 2
    assert queue.take(Loaded("b", None, ("y",))).number == 1  # the same model
    assert len(queue) == 2


def test_a_worker_leaves_alone_what_others_hold():
    queue = JobQueue([job(0, "a"), job(1, "a"), job(2, "a"), job(3, "b")])
    assert queue.take(None, [Loaded("a", None, ())]).number == 3
    assert queue.take(Loaded("b", None, ()), [Loaded("a", None, ())]).number == 0  # it helps at the end


def test_a_batch_that_is_given_back_comes_first_of_its_kind():
    queue = JobQueue([job(0), job(1)])
    first = queue.take(None)
    queue.give_back(first)
    assert [queue.take(None).number for _ in range(2)] == [0, 1]
    assert queue.take(None) is None
