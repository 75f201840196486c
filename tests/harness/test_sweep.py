"""Sweeps with the embedded model: the pictures, what is done once, and what is gone on with."""

import errno
import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from miniatures import miniature, save_folder
from PIL import Image
from safetensors.torch import save_file
from sd_concord.core.errors import BadFile
from sd_concord.core.image import (
    ConcordSettings,
    DetailerUnit,
    Hires,
    Variation,
    read_image_info,
)
from sd_concord.core.sampling import SAMPLERS
from sd_concord.harness.models import load_model
from sd_concord.harness.pipeline import DEMO, Pipeline
from sd_concord.harness.sweep import conduct as conducting
from sd_concord.harness.sweep import output, worker
from sd_concord.harness.sweep.conduct import begin, conduct
from sd_concord.harness.sweep.engine import here
from sd_concord.harness.sweep.memory import Memory, remembering
from sd_concord.harness.sweep.order import Loaded, batches_of_plan
from sd_concord.harness.sweep.plan import cells_of
from sd_concord.harness.sweep.setup import Setup
from sd_concord.harness.sweep.worker import Job, Worker
from sweeps import journal, pictures, planned, record, swept


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline.load()


@pytest.fixture(scope="module")
def hand():
    return Worker(Setup(device="cpu"), torch.get_num_threads())


def job(*records, wanted=None):
    cells = tuple(enumerate(records))
    wanted = frozenset(range(len(records))) if wanted is None else frozenset(wanted)
    return Job(number=0, cells=cells, wanted=wanted, loaded=Loaded(None, None, ()))


def opened(content):
    from io import BytesIO

    return np.asarray(Image.open(BytesIO(content))).astype(int)


def apart(made, pipeline, wanted):
    """Return by how many levels a picture of a batch is from the one that the pipeline makes alone."""
    assert made.problem is None, made.problem
    [alone] = pipeline.generate(wanted)
    return np.abs(opened(made.content) - alone.image).max()


# The pictures


def test_pictures_of_a_batch_are_those_of_single_calls(hand, pipeline):
    records = [
        record(),
        record(prompt="a blue square", cfg=7.0, seed=3),
        record(prompt="a green ring AND a red circle :0.6", negative_prompt="blurry, dark", seed=4),
        record(prompt=", ".join(["a yellow triangle on a white background"] * 12), cfg=2.5),
        record(prompt="[a red circle:a blue square:0.5] (soft:1.3)", clip_skip=2),
        record(cfg=1.0, seed=9),
        record(concord=ConcordSettings(cfg_rescale=0.7, guidance_start=0.3), seed=5),
        record(variation=Variation(seed=2, strength=0.4), rng="NV"),
    ]
    made = hand.make(job(*records))
    assert [one.cell for one in made] == list(range(len(records)))
    assert [apart(one, pipeline, wanted) <= 1 for one, wanted in zip(made, records, strict=True)] == [
        True
    ] * len(records)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_every_sampler_draws_a_batch_as_it_draws_one(hand, pipeline, name):
    records = [record(sampler=name, seed=3), record(sampler=name, seed=8, prompt="a blue square", cfg=None)]
    if SAMPLERS[name].nfe is None:  # such cells get a batch each
        records = records[:1]
    for one, wanted in zip(hand.make(job(*records)), records, strict=True):
        assert apart(one, pipeline, wanted) <= 1


@pytest.mark.parametrize("profile", ["a1111", "forge", "comfyui"])
def test_hosts_are_followed_in_a_batch(hand, pipeline, profile):
    own = ConcordSettings(profile=profile)
    records = [
        record(concord=own, sampler="euler_ancestral", seed=seed, prompt=prompt)
        for seed, prompt in ((3, "a (red:1.4) circle"), (11, "blue " * 90))
    ]
    for one, wanted in zip(hand.make(job(*records)), records, strict=True):
        assert apart(one, pipeline, wanted) <= 1


def test_a_picture_says_what_a_single_call_would_say(hand, pipeline):
    made = hand.make(job(record(), record(seed=8)))
    [alone] = pipeline.generate(record(seed=8))
    from sd_concord.core.image import format_infotext

    assert made[1].infotext == format_infotext(alone.generation)


def test_only_what_is_wanted_is_finished_and_its_bytes_stay(hand, monkeypatch):
    records = [record(seed=seed) for seed in range(4)]
    whole = hand.make(job(*records))
    decode, decoded = Pipeline.decode, []
    monkeypatch.setattr(Pipeline, "decode", lambda *given: (decoded.append(1), decode(*given))[1])
    part = hand.make(job(*records, wanted=[2]))
    assert len(decoded) == 1
    assert [(one.cell, one.content) for one in part] == [(2, whole[2].content)]


def test_pictures_do_not_depend_on_what_was_made_before(hand):
    batch = job(record(seed=1), record(seed=2, prompt="a blue square"))
    first = hand.make(batch)
    hand.make(job(record(prompt="something else", sampler="heun")))
    fresh = Worker(Setup(device="cpu"), torch.get_num_threads()).make(batch)
    assert [one.content for one in hand.make(batch)] == [one.content for one in first]
    assert [one.content for one in fresh] == [one.content for one in first]


def test_several_passes_go_through_the_pipeline(hand, pipeline):
    hires = record(hires=Hires(upscale=2.0), denoising_strength=0.5)
    made = hand.make(job(hires, replace(hires, seed=8)))
    assert opened(made[0].content).shape == (128, 128, 3)
    assert apart(made[1], pipeline, replace(hires, seed=8)) <= 1


def test_the_detailer_works_on_pictures_of_a_batch(hand, monkeypatch):
    seen = []

    def detail(self, picture, on_stage=None):
        seen.append(picture.generation.seed)
        return picture

    monkeypatch.setattr(Pipeline, "detail", detail)
    monkeypatch.setattr(worker, "detectors_of", lambda *_: [])
    made = hand.make(job(record(detailer=(DetailerUnit(model="face"),)), record(seed=9)))
    assert [one.problem for one in made] == [None, None]
    assert seen == [7]


def test_a_cell_that_cannot_be_made_leaves_the_others_alone(hand, pipeline):
    made = hand.make(job(record(), record(concord=ConcordSettings(profile="nothing")), record(seed=8)))
    assert [one.problem is None for one in made] == [True, False, True]
    assert "nothing" in made[1].problem
    assert apart(made[2], pipeline, record(seed=8)) <= 1


def test_a_picture_that_spoils_its_run_is_made_apart(hand, monkeypatch):
    from sd_concord.core.errors import BadValue

    sample = Pipeline.sample

    def spoilt(self, sampling, denoiser, start, noise, **options):
        if len(start) > 1 or sampling.seeds.seed == 8:
            raise BadValue("the model gave no number")
        return sample(self, sampling, denoiser, start, noise, **options)

    monkeypatch.setattr(Pipeline, "sample", spoilt)
    made = hand.make(job(record(), record(seed=8), record(seed=9)))
    assert [one.problem for one in made] == [None, "the model gave no number", None]


def test_whatever_a_batch_dies_of_is_the_reason_of_its_cells(hand, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("no memory\nat all")

    monkeypatch.setattr(Pipeline, "sample", full)
    [one] = hand.make(job(record()))
    assert (
        one.problem == "the card's memory is full (no memory at all); plan the sweep with a smaller --batch"
    )


# What is done once


def test_distinct_chunks_are_encoded_once():
    hand = Worker(Setup(device="cpu"), 1)
    prompts = ("a red circle BREAK masterpiece", "a blue square BREAK masterpiece", "a red circle")
    hand.make(job(*(record(prompt=prompt, seed=i, sampler="euler") for i, prompt in enumerate(prompts))))
    hand.make(job(*(record(prompt=prompt, seed=9, sampler="heun") for prompt in prompts)))
    assert hand._held[1].memory.runs == 4  # a red circle, a blue square, masterpiece, and the empty negative


def test_chunks_are_encoded_anew_when_the_encoder_has_changed():
    memory = Memory()
    model = remembering(load_model(DEMO), memory)
    [encoder] = model.text_encoders
    ids = torch.tensor([encoder.tokenizer.encode("a")[:1] * 77])
    first = encoder(ids, 1)[0]
    again = encoder(ids, 1)[0]
    assert memory.runs == 1
    assert torch.equal(first, again)
    with torch.no_grad():
        next(encoder.module.parameters()).add_(1)
    assert not torch.equal(encoder(ids, 1)[0], first)
    assert memory.runs == 2


def test_the_memory_forgets_the_oldest():
    memory = Memory(most=2)
    for key in (1, 2, 1, 3):
        if memory.get(key) is None:
            memory.put(key, (torch.tensor(key), None))
    assert [memory.get(key) is not None for key in (1, 2, 3)] == [True, False, True]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, seed in (("one", 1), ("two", 2)):
        save_folder(miniature("sd15", seed=seed), folder / name)
    return folder


def test_models_are_loaded_once_each(models):
    plan = planned(
        "steps=1,2",
        "model=one,two,demo",
        base=record(steps=1),
        seeds=2,
        together=2,
        setup=Setup(model_dir=(str(models),), device="cpu"),
    )
    cells = cells_of(plan)
    hand, made = Worker(plan.setup, 1), []
    for batch in batches_of_plan(plan, cells):
        records = tuple((i, cells[i].record) for i in batch.cells)
        made += hand.make(Job(number=0, cells=records, wanted=frozenset(batch.cells), loaded=batch.loaded))
    assert hand.loads == 3
    assert [one.problem for one in made] == [None] * 12
    names = {cells[one.cell].record.model.name: one.infotext for one in made}
    assert all(f"Model: {name}," in text for name, text in names.items())


# Whole sweeps


def test_a_sweep_leaves_pictures_a_list_and_grids(tmp_path):
    plan = planned("sampler=euler,heun", "steps=1,2", seeds=2, base=record(steps=1))
    report = swept(tmp_path, plan)
    assert (report.total, report.done, report.made, report.reasons) == (8, 8, 8, ())
    assert len(pictures(tmp_path)) == 8
    told = json.loads((tmp_path / "cells.json").read_text(encoding="utf-8"))
    assert told["version"] == 1
    assert [axis["name"] for axis in told["axes"]] == ["sampler", "steps", "seed"]
    assert told["axes"][0]["values"] == ["Euler", "Heun"]
    last = told["cells"][-1]
    assert last["position"] == [1, 1, 1]
    assert (last["fields"]["Sampler"], last["fields"]["Steps"], last["fields"]["Seed"]) == ("Heun", 2, 8)
    assert read_image_info(tmp_path / last["file"]).sampler == "heun"
    assert last["infotext"].startswith("a red circle")
    assert [path.name for path in report.written] == ["cells.json", "index.html", "grid-1.png", "grid-2.png"]
    assert Image.open(tmp_path / "grid-1.png").width > 128


def test_the_cells_of_a_grid_are_where_their_labels_are(tmp_path):
    swept(tmp_path, planned("prompt=a red circle,a blue square", base=record(steps=1)))
    grid = np.asarray(Image.open(tmp_path / "grid.png").convert("RGB")).astype(int)
    first = np.asarray(Image.open(tmp_path / "pictures" / "00000-7.png").convert("RGB"))
    second = np.asarray(Image.open(tmp_path / "pictures" / "00001-7.png").convert("RGB"))
    assert (grid[-64:, :64] == first).all()
    assert (grid[-64:, -64:] == second).all()


class Killed(BaseException):
    """Stands for the end of the process."""


def dying(when, count):
    """Return an engine whose process dies before the journal is told of batch ``count``, or after it."""

    def run(jobs, setup, threads, refuse):
        for i, done in enumerate(here(jobs, setup, threads, refuse)):
            if when == "before" and i == count:
                raise Killed
            yield done
            if when == "after" and i == count:
                raise Killed

    return run


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    plan = planned("cfg=2,4", "steps=1,2,3", seeds=2, together=3, threads=1)
    swept(folder, plan)
    return plan, folder


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_sweep_that_was_stopped_is_gone_on_with(tmp_path, undisturbed, when):
    plan, whole = undisturbed
    begin(tmp_path, plan)
    with pytest.raises(Killed):
        conduct(tmp_path, dying(when, 2), quiet=True)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "pictures").iterdir()}
    assert 0 < len(before) < 12
    report = conduct(tmp_path, quiet=True)
    assert report.made == 12 - len(before)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    assert pictures(tmp_path) == pictures(whole)
    assert {tries for (tries,) in journal(tmp_path, "SELECT tries FROM cells")} == {1}
    assert conduct(tmp_path, quiet=True).made == 0


def test_pictures_that_the_journal_does_not_know_of_are_kept(tmp_path, undisturbed, monkeypatch):
    plan, whole = undisturbed
    begin(tmp_path, plan)
    kept, put = [], output.put

    def dies(path, content):
        put(path, content)
        kept.append(path)
        if len(kept) == 3:  # the first of two of the second batch
            raise Killed

    monkeypatch.setattr(conducting, "put", dies)
    with pytest.raises(Killed):
        conduct(tmp_path, quiet=True)
    monkeypatch.undo()
    assert journal(tmp_path, "SELECT count(*) FROM cells WHERE state = 'done'") == [(2,)]
    stamps = {path: path.stat().st_mtime_ns for path in kept}
    assert conduct(tmp_path, quiet=True).made == 12 - 3
    assert {path: path.stat().st_mtime_ns for path in kept} == stamps
    assert pictures(tmp_path) == pictures(whole)
    assert all(journal(tmp_path, "SELECT infotext FROM cells ORDER BY cell"))
    same = "SELECT cell, state, file, sha256, infotext FROM cells ORDER BY cell"
    assert journal(tmp_path, same) == journal(whole, same)


def test_a_picture_that_was_deleted_is_made_again(tmp_path, undisturbed):
    plan, whole = undisturbed
    swept(tmp_path, plan)
    gone = sorted((tmp_path / "pictures").iterdir())[3]
    gone.unlink()
    assert conduct(tmp_path, quiet=True).made == 1
    assert pictures(tmp_path) == pictures(whole)


def test_a_full_disk_stops_its_cells_only_and_they_are_tried_again(tmp_path, undisturbed, monkeypatch):
    plan, whole = undisturbed
    begin(tmp_path, plan)
    fsync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) in (2, 6):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(conducting, "settle", lambda _: None)
    report = conduct(tmp_path, quiet=True)
    monkeypatch.undo()
    assert (report.done, len(report.reasons)) == (10, 2)
    assert "2 failed: 2 x the disk is full" in report.line
    assert "\n" not in report.line
    reasons = journal(tmp_path, "SELECT reason FROM cells WHERE state = 'failed'")
    assert all("the disk is full" in reason for (reason,) in reasons)
    failed = [cell for cell in json.loads((tmp_path / "cells.json").read_text())["cells"] if cell["failed"]]
    assert [cell["file"] for cell in failed] == [None, None]
    assert {(cell["fields"]["Prompt"], cell["fields"]["Size"]) for cell in failed} == {
        ("a red circle", "64x64")
    }
    report = conduct(tmp_path, quiet=True)
    assert (report.done, report.made, report.reasons) == (12, 2, ())
    assert pictures(tmp_path) == pictures(whole)


def test_nothing_is_drawn_for_a_disk_that_is_full(tmp_path, monkeypatch):
    begin(tmp_path, planned("steps=1,2", seeds=2))
    monkeypatch.setattr(conducting, "no_room", lambda *_: "the disk is full")
    monkeypatch.setattr(Worker, "make", lambda *_: pytest.fail("something was drawn"))
    report = conduct(tmp_path, quiet=True)
    assert report.reasons == ("the disk is full",) * 4


def test_a_model_that_cannot_be_read_stops_its_cells_only(tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no model")
    plan = planned(f"model=demo,{broken},nothing", seeds=2, base=record(steps=1))
    report = swept(tmp_path / "out", plan)
    assert (report.done, len(report.reasons)) == (2, 4)
    assert any("broken" in reason for reason in report.reasons)
    assert any("no model 'nothing'" in reason for reason in report.reasons)


def test_a_plan_with_impossible_cells_says_so_and_makes_the_others(tmp_path):
    plan = planned("sampler=euler,euler_ancestral", "option s_churn=1", base=record(steps=1))
    report = swept(tmp_path, plan)
    assert (report.done, len(report.reasons)) == (1, 1)
    assert "s_churn" in report.line


def test_a_folder_with_a_sweep_or_with_pictures_is_not_begun_anew(tmp_path):
    begin(tmp_path, planned())
    with pytest.raises(BadFile, match="has a sweep already; go on with it by --resume"):
        begin(tmp_path, planned())
    (tmp_path / "other" / "pictures").mkdir(parents=True)
    (tmp_path / "other" / "pictures" / "a.png").write_bytes(b"")
    with pytest.raises(BadFile, match="has pictures of something else"):
        begin(tmp_path / "other", planned())


def test_threads_are_those_of_the_plan(monkeypatch):
    class Held:
        def make(self, job):
            return [worker.Made(cell=0, infotext=str(torch.get_num_threads()))]

    before = torch.get_num_threads()
    monkeypatch.setattr(Worker, "_hold", lambda *_: Held())
    [made] = Worker(Setup(), before + 1).make(job(record()))
    assert (made.infotext, torch.get_num_threads()) == (str(before + 1), before)


def test_prompts_of_sdxl_go_together_too(tmp_path):
    save_folder(miniature("sdxl"), tmp_path / "mini")
    setup = Setup(model=str(tmp_path / "mini"), device="cpu")
    records = [record(prompt=prompt, cfg=cfg) for prompt, cfg in (("a red circle", 3.0), ("blue " * 90, 5.0))]
    made = Worker(setup, 1).make(job(*records))
    alone = Pipeline.load(tmp_path / "mini")
    for one, wanted in zip(made, records, strict=True):
        assert apart(one, alone, wanted) <= 1


@pytest.fixture
def lora(tmp_path, pipeline):
    """A folder with a network that changes much."""
    name = next(name for name, _ in pipeline.model.unet.named_modules() if name.endswith("attn2.to_k"))
    weight = pipeline.model.unet.get_submodule(name).weight
    flat = f"lora_unet_{name.replace('.', '_')}"
    generator = torch.Generator().manual_seed(1)
    tensors = {
        f"{flat}.lora_up.weight": torch.randn(weight.shape[0], 1, generator=generator),
        f"{flat}.lora_down.weight": torch.randn(1, weight.shape[1], generator=generator),
    }
    folder = tmp_path / "loras"
    folder.mkdir()
    save_file(tensors, folder / "change.safetensors")
    return folder


def test_a_lora_of_an_axis_is_on_its_cells_alone(tmp_path, lora):
    setup = Setup(lora_dir=(str(lora),), device="cpu")
    swept(tmp_path / "out", planned("lora change=0,1,0.5", seeds=2, setup=setup))
    loras = Pipeline(load_model(DEMO), lora_folders=[lora])
    for cell, weight, seed in ((0, 0, 7), (4, 1, 8), (5, 0.5, 8)):
        file = tmp_path / "out" / "pictures" / f"{cell:05}-{seed}.png"
        [alone] = loras.generate(record(prompt=f"a red circle <lora:change:{weight:g}>", seed=seed))
        assert np.abs(np.asarray(Image.open(file)).astype(int) - alone.image).max() <= 1
        assert [one.name for one in read_image_info(file).networks.loras] == ["change"]


def test_networks_are_laid_on_again_for_prompts_that_are_known(lora):
    hand = Worker(Setup(lora_dir=(str(lora),), device="cpu"), 1)
    first, other = (job(record(prompt=f"a red circle <lora:change:{weight}>")) for weight in (1, 0.2))
    [made], [changed], [again] = (hand.make(one) for one in (first, other, first))
    assert made.content != changed.content
    assert made.content == again.content


def test_networks_that_come_and_go_are_followed(tmp_path, pipeline):
    made = Worker(Setup(device="cpu"), 1).make(
        job(record(prompt="a [red:blue:0.5] circle"), record(prompt="a circle [<lora:none:1>:0.5]"))
    )
    assert [one.problem for one in made] == [None, None]
    assert apart(made[1], pipeline, record(prompt="a circle [<lora:none:1>:0.5]")) <= 1
    assert any("LoRA 'none' is not there" in line for line in made[1].warnings)


@pytest.mark.parametrize("seeds", [(3,), (3, 4)])
def test_a_recipe_whose_upscaler_is_not_there_takes_another(hand, seeds):
    own = ConcordSettings(recipe="juggernaut-xl-v9")
    hires = Hires(upscale=1.5, upscaler="4xNMKD-Siax_200k", steps=1)
    records = [record(concord=own, hires=hires, denoising_strength=0.5, seed=seed) for seed in seeds]
    for one in hand.make(job(*records)):
        assert one.problem is None
        assert "Hires upscaler: Lanczos" in one.infotext
        assert any("4xNMKD-Siax_200k" in line for line in one.warnings)
