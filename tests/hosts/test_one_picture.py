"""One request, one picture: the real programs' own, the harness's and Concord's nodes', under each measured profile.

The programs can be run one after the other: what one drew is kept in the folder of CONCORD_ONE_PICTURE (in the
temporary folder otherwise) and compared with when the next one runs.  Delete it to have everything drawn anew.
CONCORD_WRITE=1 writes the figures to one_picture.json and docs/one-picture.md, which are held otherwise.
"""

import itertools
import os
import shutil
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers", reason="diffusers is not installed, which draws the pictures to compare")
from comfy_graphs import loaded
from comfy_host import Graph
from detector_training import is_trained, trained_detector
from miniatures import golden_checkpoint, miniature
from one_picture import (
    DETECTOR,
    PROFILES,
    PROMPTS,
    SAMPLER_NAMES,
    SCHEDULES,
    SECOND,
    SHAPES,
    SMALL_MODELS,
    TAKES,
    WEB_SYNTAX,
    Cell,
    Seen,
    concord_graph,
    far,
    kept,
    pairs_in,
    pairs_of,
    pairwise,
    record,
    second_checkpoint,
    source,
    stock_graph,
    web_request,
    write_networks,
)
from one_picture_page import BY_FIRST, EQUAL, FRONTS, MOST, Figure, page, read_figures, reason_for, write_down
from PIL import Image
from sd_concord.core.detailer import load_detector
from sd_concord.core.image import format_infotext
from sd_concord.core.sigmas import ModelSigmas
from sd_concord.harness import Pipeline
from sd_concord.harness.stages.detailing import detailed
from webui_drawn_as import drawn_as
from webui_host import DEMO_MODEL, GOLDEN_MODEL

CELLS = pairwise()
CASES = [(profile, cell) for profile in PROFILES for cell in CELLS if not cell.lacks(profile)]
FIXTURES = {"forge": "forge", "a1111": "a1111", "comfyui": "comfy"}
VARIABLES = {"forge": "FORGE_DIR", "a1111": "A1111_DIR", "comfyui": "COMFYUI_DIR"}
COMMON = {"randn_source": "CPU", "return_grid": False, "CLIP_stop_at_last_layers": 1}
SIGMA, COND = 1e-6, 1e-5
WORSE = 0.002
"""By how much less a share of equal values may be than the one that is written down: another processor's sums."""
over_cases = pytest.mark.parametrize(("profile", "cell"), CASES, ids=str)


def test_every_pair_of_values_is_in_a_request():
    factors = {"sampler": SAMPLER_NAMES, "schedule": SCHEDULES, "prompt": tuple(PROMPTS), "shape": SHAPES}
    met = {pair for cell in CELLS for pair in pairs_in(cell)}
    assert met == pairs_of(factors)
    assert len(CELLS) <= 110
    assert pairwise() == CELLS


def test_the_page_is_what_was_measured():
    from one_picture_page import PAGE

    assert PAGE.read_text(encoding="utf-8") == page(read_figures(), CELLS)


def begun(pipeline, cell, profile):
    """Return what the harness begins a request with: noise, sigmas, timesteps and conditionings, and no picture."""
    is_image = cell.shape == "img2img"
    wanted = pipeline.complete(record(cell, profile), init_image=source() if is_image else None)
    kinds = ["image"] if is_image else ["text", *(["hires"] if cell.shape == "hires" else [])]
    batch = 3 if cell.shape == "batch 3" else 1
    passes = [pipeline.sampling(wanted, kind=kind, batch=batch) for kind in kinds]
    texts = pipeline.read(wanted, passes[0])
    shape = pipeline.latent_shape(wanted)
    asked = [one.timestep(sigma) for one in passes for sigma in _asked(one, shape)]
    return Seen(
        pictures=[],
        noise=passes[0].noise(shape)[0].numpy(),
        sigmas=np.concatenate([one.sigmas.numpy() for one in passes]),
        timesteps=np.array(asked, np.float32),
        cond=texts.cond.for_call(0).hidden.numpy(),
        uncond=texts.uncond.for_call(0).hidden.numpy(),
    )


def _asked(sampling, shape):
    """Return the sigmas at which a pass asks its model, by running it over one that finds nothing."""
    asked = []

    def denoise(x, sigma):
        asked.append(float(sigma.flatten()[0]))
        return torch.zeros_like(x)

    noise, steps = sampling.noise(shape)
    sampling.run(denoise, sampling.start(noise), steps)
    return asked


class Drawer:
    """What draws requests in the harness."""

    def __init__(self, pipeline, detector):
        self.pipeline, self.detector = pipeline, detector

    def __call__(self, profile, cell):
        if cell.shape == "detailer" and not is_trained():
            pytest.skip("there is no trained detector yet; CONCORD_TRAIN=1 trains one")
        given = {"init_image": source()} if cell.shape == "img2img" else {}
        batch = 3 if cell.shape == "batch 3" else 1
        return [made.image for made in self.pipeline.generate(record(cell, profile), batch=batch, **given)]

    def boxes(self, profile, cell):
        """Return what the detector finds in the picture before the detailer."""
        [before] = self.pipeline.generate(replace(record(cell, profile), detailer=()))
        return load_detector(self.detector, None, 0.0)(before.image).boxes.tolist()


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    write_networks(folder / "loras", folder / "embeddings")
    (folder / "detectors").mkdir()
    Image.fromarray(source()).save(folder / "source.png")
    if is_trained():
        shutil.copy(trained_detector(), folder / "detectors" / DETECTOR)
    return folder


@pytest.fixture(scope="module")
def harness(networks):
    """What draws requests in the harness."""
    golden = golden_checkpoint()
    second_checkpoint(golden)
    pipeline = Pipeline.load(
        golden,
        lora_folders=[networks / "loras"],
        embedding_folders=[networks / "embeddings"],
        detector_folders=[networks / "detectors"],
    )
    return Drawer(pipeline, networks / "detectors" / DETECTOR)


@pytest.fixture(scope="module")
def prepared(request, networks):
    """What gives the host of a profile, with all that requests name, or skips."""
    ready = {}

    def get(profile):
        if profile not in ready:
            if not os.environ.get(VARIABLES[profile]):
                pytest.skip(
                    f"{VARIABLES[profile]} is not set and the picture is not kept; point it at a checkout"
                )
            host = request.getfixturevalue(FIXTURES[profile])
            (_prepare_comfyui if profile == "comfyui" else _prepare_web_ui)(host, networks)
            ready[profile] = host
        return ready[profile]

    return get


def _copy_networks(networks, loras, embeddings, detectors):
    for name, folder in (("loras", loras), ("embeddings", embeddings), ("detectors", detectors)):
        shutil.copytree(networks / name, folder, dirs_exist_ok=True)


def _prepare_web_ui(host, networks):
    models = host.folder / "models"
    _copy_networks(networks, models / "Lora", host.folder / "embeddings", models / "adetailer")
    golden = golden_checkpoint()
    host.add_golden_model(golden)
    (host.models / f"{SECOND}.safetensors").symlink_to(second_checkpoint(golden))
    shutil.copy(host.models / golden.with_suffix(".yaml").name, host.models / f"{SECOND}.yaml")
    host.post("/sdapi/v1/refresh-checkpoints", {})
    host.post("/sdapi/v1/refresh-loras", {})


def _prepare_comfyui(host, networks):
    models = host.folder / "models"
    _copy_networks(networks, models / "loras", models / "embeddings", models / "ultralytics" / "bbox")
    golden = golden_checkpoint()
    (models / "checkpoints" / "golden.safetensors").symlink_to(golden)
    (models / "checkpoints" / f"{SECOND}.safetensors").symlink_to(second_checkpoint(golden))
    Image.fromarray(source()).save(host.folder / "input" / "one-picture.png")


def _loaders(graph, cell):
    first = graph.add("CheckpointLoaderSimple", ckpt_name="golden.safetensors")
    if cell.shape != "refiner":
        return first, None
    return first, graph.add("CheckpointLoaderSimple", ckpt_name=f"{SECOND}.safetensors")


def _in_web_ui(host, cell):
    drawn = host.txt2img if cell.shape != "img2img" else host.img2img
    made = drawn(**web_request(cell, host.kind, COMMON))
    calls = host.calls()
    found = Seen(pictures=made.pictures[: 3 if cell.shape == "batch 3" else 1])
    if not calls:
        return found
    first = calls[0]
    return replace(
        found,
        noise=None if first.noise is None else first.noise.numpy(),
        x0=first.x.numpy(),
        sigmas=np.array([float(call.sigma[0]) for call in calls], np.float32),
        cond=first.cond.numpy(),
        uncond=None if first.uncond is None else first.uncond.numpy(),
    )


def _in_comfyui(host, cell):
    graph = Graph()
    stock_graph(cell, *_loaders(graph, cell), graph)
    done = host.queue(graph)
    cond, uncond = (host.tensors(name)["hidden"].numpy() for name in ("one-cond", "one-uncond"))
    start = {name: value.numpy() for name, value in host.tensors("one-start").items()}
    return Seen(pictures=done.pictures, cond=cond, uncond=uncond, **start)


@pytest.fixture(scope="module")
def stock(prepared):
    """What gives a program's own picture of a request: the kept one, or a new one that is kept then."""

    def get(profile, cell):
        path = kept(profile, cell)
        if not path.is_file():
            draw = _in_comfyui if profile == "comfyui" else _in_web_ui
            draw(prepared(profile), cell).save(path)
        return Seen.load(path)

    return get


def note(profile, cell, figure) -> None:
    """Write figures of a request down, if figures are to be written."""
    if os.environ.get("CONCORD_WRITE"):
        write_down({(profile, str(cell)): figure}, CELLS)


def judge(profile, cell, front, found, wanted):
    """Note how far a front's picture is, and hold it."""
    assert all(one.std() > 1 for one in wanted)
    most, equal = far(found, wanted)
    note(profile, cell, {front: {"most": most, "equal": round(equal, 4)}})
    reason = reason_for(profile, cell, front)
    if reason:
        assert most > MOST or equal < EQUAL, f"it agrees now; take its reason away: {reason}"
    elif os.environ.get("CONCORD_WRITE") is None:
        before = read_figures().get((profile, str(cell)), {}).get(front)
        if before:
            assert most <= max(before["most"], MOST)
            assert equal >= min(before["equal"], EQUAL) - WORSE
    if not reason:
        assert most <= MOST
        assert equal >= EQUAL


@pytest.mark.hosts
@over_cases
def test_the_harness_draws_the_programs_own_picture(stock, harness, profile, cell):
    wanted = stock(profile, cell)
    judge(profile, cell, "harness", harness(profile, cell), wanted.pictures)


@pytest.mark.hosts
@over_cases
def test_the_harness_begins_as_the_program_does(stock, harness, profile, cell):
    wanted = stock(profile, cell)
    if wanted.noise is None:
        pytest.skip("the program asked its model nothing")
    found = begun(harness.pipeline, cell, profile)
    own = _inner(found, wanted, cell)
    note(profile, cell, own)
    assert np.array_equal(found.noise, wanted.noise)
    if wanted.x0 is not None and cell.shape != "img2img" and cell.sampler != "uni_pc":
        given = wanted.x0[-len(wanted.noise) :]  # A1111 repeats the latent for both prompts
        assert np.array_equal(wanted.noise * wanted.sigmas[0], given)
    for name, most in (("sigmas", SIGMA), ("timesteps", SIGMA), ("cond", COND), ("uncond", COND)):
        if not reason_for(profile, cell, name):
            assert own.get(name, 0) <= most, name


def _inner(found, wanted, cell) -> Figure:
    """Return the largest differences: of noise and conds absolute, of sigmas relative, of timesteps as shares."""
    own: Figure = {"noise": float(np.abs(found.noise - wanted.noise).max())}
    if cell.sampler == "uni_pc" and wanted.x0 is not None:  # that asks at times between those of its list
        known, shown = ModelSigmas.sd(), wanted.sigmas  # timesteps in A1111, their sigmas in Forge
        theirs = shown if shown.max() > 100 else np.array([known.timestep(float(one)) for one in shown])
        own["timesteps"] = _apart(np.abs(found.timesteps[:, None] - theirs) / len(known.table), cell)
    else:
        ours, theirs = (one[one > 0].astype(np.float64) for one in (found.sigmas, wanted.sigmas))
        own["sigmas"] = _apart(np.abs(ours[:, None] / theirs - 1), cell)
    for name in ("cond", "uncond"):
        one, other = getattr(found, name), getattr(wanted, name)
        if one is None or other is None:
            continue
        if other.shape[1] > one.shape[1]:  # brought to the length of the other prompt
            one = np.tile(one, (1, other.shape[1] // one.shape[1], 1))
        own[name] = float(np.abs(one - other[: len(one)]).max())
    return own


def _apart(gaps, cell) -> float:
    """Return how far the noise levels of two runs, rows and columns of ``gaps``, are from the nearest of the other.

    A detailer asks at levels of its own besides.
    """
    rows, columns = gaps.min(axis=1).max(), gaps.min(axis=0).max()
    return float(rows if cell.shape == "detailer" else max(rows, columns))


PAIRS = [
    (one, other, cell)
    for one, other in itertools.combinations(PROFILES, 2)
    for cell in CELLS
    if not (cell.lacks(one) or cell.lacks(other) or (other == "comfyui" and cell.prompt in WEB_SYNTAX))
]
"""The requests that mean the same to two programs."""


@pytest.mark.hosts
@pytest.mark.parametrize(("one", "other", "cell"), PAIRS, ids=str)
def test_how_far_the_programs_are_from_each_other(stock, one, other, cell):
    most, equal = far(stock(one, cell).pictures, stock(other, cell).pictures)
    figure = {"most": most, "equal": round(equal, 4)}
    note(one, cell, {f"from {other}": figure})
    note(other, cell, {f"from {one}": figure})


@pytest.mark.hosts
@over_cases
def test_concords_nodes_draw_the_programs_own_picture(request, prepared, stock, profile, cell):
    host = prepared("comfyui")
    wanted = stock(profile, cell)
    graph = Graph()
    boxes = request.getfixturevalue("harness").boxes(profile, cell) if cell.shape == "detailer" else ()
    concord_graph(cell, profile, *_loaders(graph, cell), graph, boxes)
    judge(profile, cell, "nodes", host.queue(graph).pictures, wanted.pictures)


@pytest.mark.hosts
@pytest.mark.parametrize("kind", ["forge", "a1111"])
@over_cases
def test_the_web_uis_draw_the_programs_own_picture(prepared, stock, networks, kind, profile, cell):
    host = prepared(kind)
    wanted = stock(profile, cell)
    given = {"init_image": networks / "source.png"} if cell.shape == "img2img" else {}
    made = [drawn_as(host, format_infotext(one), profile, **given) for one in _records(cell, profile)]
    judge(profile, cell, f"in {kind}", [picture for one in made for picture in one.pictures], wanted.pictures)


@pytest.fixture(scope="module")
def first(prepared):
    """What gives a web UI's picture before the detailer, kept beside the one after it."""

    def get(profile, cell):
        path = kept(profile, cell)
        path = path.with_name(f"{path.stem}-first.npz")
        if not path.is_file():
            host = prepared(profile)
            wanted = web_request(cell, host.kind, COMMON)
            del wanted["alwayson_scripts"]
            Seen(pictures=host.txt2img(**wanted).pictures).save(path)
        return Seen.load(path).pictures[0]

    return get


APART = [
    (profile, cell)
    for profile, cell in CASES
    if any(reason_for(profile, cell, front) == BY_FIRST for front in FRONTS)
]


@pytest.mark.hosts
@pytest.mark.parametrize(("profile", "cell"), APART, ids=str)
def test_from_the_programs_first_picture_the_detailer_draws_the_programs_own(
    stock, first, harness, profile, cell
):
    [wanted] = stock(profile, cell).pictures
    before = first(profile, cell)
    [own] = harness.pipeline.generate(replace(record(cell, profile), detailer=()))
    most, equal = far([own.image], [before])
    assert most <= MOST
    assert equal >= 0.999
    found = detailed(harness.pipeline, before, harness.pipeline.complete(record(cell, profile)))
    most, equal = far([found.image], [wanted])
    assert most <= MOST
    assert equal >= 0.999


def _records(cell, profile):
    """Return the records that the pictures of a request have: one each, or one of a ComfyUI batch."""
    whole = record(cell, profile)
    if cell.shape != "batch 3":
        return [whole]
    if profile == "comfyui":
        return [replace(whole, concord=replace(whole.concord, batch_size=3))]
    return [replace(whole, seed=whole.seed + i) for i in range(3)]


@pytest.fixture(scope="module")
def small_models():
    """The pipelines of the models that are not the golden one."""
    makers = {
        "demo": Pipeline.load,
        "mini-sdxl": lambda: Pipeline(miniature("sdxl")),
        "mini-sdxl-v": lambda: Pipeline(miniature("sdxl", "v", ztsnr=True)),
    }
    return cache(lambda name: makers[name]())


PLAIN = Cell(sampler="dpmpp_2m", schedule="karras", prompt="weights", shape="single")
over_models = pytest.mark.parametrize("model", SMALL_MODELS)
over_profiles = pytest.mark.parametrize("profile", PROFILES)


@pytest.fixture(scope="module")
def stock_of_model(request):
    """What gives a program's own picture of the plain request by a small model."""

    def get(profile, model):
        path = kept(profile, PLAIN).with_name(f"{model}.npz")
        if path.is_file():
            return Seen.load(path)
        if not os.environ.get(VARIABLES[profile]):
            pytest.skip(
                f"{VARIABLES[profile]} is not set and the picture is not kept; point it at a checkout"
            )
        host = request.getfixturevalue(FIXTURES[profile])
        if profile == "comfyui":
            request.getfixturevalue("checkpoints")
            graph = Graph()
            stock_graph(PLAIN, loaded(graph, model), None, graph)
            made = Seen(pictures=host.queue(graph).pictures)
        else:
            host.use_model(DEMO_MODEL)
            made = Seen(pictures=host.txt2img(**web_request(PLAIN, profile, COMMON)).pictures)
            host.use_model(GOLDEN_MODEL if (host.models / GOLDEN_MODEL).exists() else DEMO_MODEL)
        made.save(path)
        return made

    return get


@pytest.mark.hosts
@over_models
@over_profiles
def test_the_harness_draws_with_other_models_too(stock_of_model, small_models, profile, model):
    if model not in TAKES[profile]:
        pytest.skip(f"{profile} does not take {model}")
    wanted = stock_of_model(profile, model)
    [made] = small_models(model).generate(record(PLAIN, profile))
    judge(profile, model, "harness", [made.image], wanted.pictures)


@pytest.mark.hosts
@over_models
@over_profiles
def test_concords_nodes_draw_with_other_models_too(
    comfy, checkpoints, stock_of_model, small_models, profile, model
):
    if model in TAKES[profile]:
        wanted = stock_of_model(profile, model).pictures
    else:
        wanted = [made.image for made in small_models(model).generate(record(PLAIN, profile))]
    graph = Graph()
    concord_graph(PLAIN, profile, loaded(graph, model), None, graph)
    judge(profile, model, "nodes", comfy.queue(graph).pictures, wanted)


@pytest.mark.hosts
@pytest.mark.parametrize("kind", ["forge", "a1111"])
def test_the_harness_tiles_as_a1111_does_and_forge_does_not(prepared, harness, kind):
    host = prepared(kind)
    body = web_request(PLAIN, kind, COMMON)
    [plain], [wanted] = host.txt2img(**body).pictures, host.txt2img(**body, tiling=True).pictures
    assert np.array_equal(plain, wanted) == (kind == "forge")
    [made] = harness.pipeline.generate(replace(record(PLAIN, kind), tiling=True))
    most, equal = far([made.image], [wanted])
    assert most <= MOST
    assert equal >= EQUAL


@pytest.mark.hosts
@pytest.mark.parametrize("kind", ["forge", "a1111"])
@over_profiles
def test_the_web_uis_draw_with_the_embedded_model_too(prepared, stock_of_model, kind, profile):
    wanted = stock_of_model(profile, "demo")
    host = prepared(kind)
    host.use_model(DEMO_MODEL)
    made = drawn_as(host, format_infotext(record(PLAIN, profile)), profile)
    host.use_model(GOLDEN_MODEL)
    judge(profile, "demo", f"in {kind}", made.pictures, wanted.pictures)
