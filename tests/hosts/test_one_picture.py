"""One request, one picture: the real programs' own, the harness's and Concord's nodes', under each measured profile.

The programs can be run one after the other: what one drew is kept in the folder of CONCORD_ONE_PICTURE (in the
temporary folder otherwise) and compared with when the next one runs.  Delete it to have everything drawn anew.
CONCORD_WRITE=1 writes the figures to one_picture.json and docs/one-picture.md, which are held otherwise.
"""

import os
import shutil
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

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
from one_picture_page import EQUAL, MOST, Figure, page, read_figures, reason_for, write_figures, write_page
from PIL import Image
from sd_concord.core.detailer import load_detector
from sd_concord.core.image import format_infotext
from sd_concord.harness import Pipeline
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


class Watched(Pipeline):
    """A pipeline that notes where its passes begin, their sigmas, and what the first call is told."""

    def __init__(self, *args, **given):
        super().__init__(*args, **given)
        self.runs, self.texts = [], []

    def read(self, record, sampling):
        texts = super().read(record, sampling)
        self.texts.append(texts)
        return texts

    def sample(self, sampling, denoiser, start, noise, *, sigmas=None, watch=None):
        self.runs.append((start, sampling.sigmas))
        return super().sample(sampling, denoiser, start, noise, sigmas=sigmas, watch=watch)

    def draw(self, cell, profile):
        """Draw the request and note what happens."""
        self.runs, self.texts = [], []
        given = {"init_image": source()} if cell.shape == "img2img" else {}
        made = self.generate(record(cell, profile), batch=3 if cell.shape == "batch 3" else 1, **given)
        first = self.texts[0]
        return Seen(
            pictures=[one.image for one in made],
            x0=self.runs[0][0].numpy(),
            sigmas=np.concatenate([run[1].numpy() for run in self.runs]),
            cond=first.cond.for_call(0).hidden.numpy(),
            uncond=first.uncond.for_call(0).hidden.numpy(),
        )


class Drawer:
    """What draws requests in the harness; each picture once."""

    def __init__(self, pipeline, detector):
        self.pipeline, self.detector = pipeline, detector
        self.made = {}

    def __call__(self, profile, cell):
        if cell.shape == "detailer" and not is_trained():
            pytest.skip("there is no trained detector yet; CONCORD_TRAIN=1 trains one")
        if (profile, cell) not in self.made:
            self.made[profile, cell] = self.pipeline.draw(cell, profile)
        return self.made[profile, cell]

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
    """What draws a request in the harness; each picture once."""
    golden = golden_checkpoint()
    second_checkpoint(golden)
    pipeline = Watched.load(
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
    return Seen(pictures=done.pictures, cond=cond, uncond=uncond)


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


def judge(profile, cell, front, found, wanted, more=()):
    """Note how far a front's picture is, with ``more`` figures of the request, and hold it."""
    assert all(one.std() > 1 for one in wanted)
    most, equal = far(found, wanted)
    if os.environ.get("CONCORD_WRITE"):
        write_figures({(profile, str(cell)): {front: {"most": most, "equal": round(equal, 4)}, **dict(more)}})
        write_page(read_figures(), CELLS)
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
    found = harness(profile, cell)
    own = _inner(found, wanted, cell) | _from_others(profile, cell, wanted)
    judge(profile, cell, "harness", found.pictures, wanted.pictures, own)
    for name, most in (("sigmas", SIGMA), ("noise", SIGMA), ("cond", COND), ("uncond", COND)):
        if not reason_for(profile, cell, name):
            assert own.get(name, 0) <= most, name


def _inner(found, wanted, cell) -> Figure:
    """Return the differences of sigmas and noise (relative) and of conds (absolute) where they were seen."""
    own: Figure = {}
    if (
        wanted.sigmas is not None and cell.sampler != "uni_pc"
    ):  # whose x and sigma the hosts show in other units
        ours = found.sigmas[found.sigmas > 0].astype(np.float64)
        theirs = wanted.sigmas[wanted.sigmas > 0].astype(np.float64)
        if cell.shape != "detailer":
            own["sigmas"] = max(float(np.abs(ours / one - 1).min()) for one in theirs)
        start = wanted.x0
        own["noise"] = float(np.abs(found.x0 - start).max() / np.abs(start).max())
    for name in ("cond", "uncond"):
        one, other = getattr(found, name), getattr(wanted, name)
        if one is not None and other is not None and cell.shape != "refiner":
            if one.shape[1] != other.shape[1]:
                continue  # brought to one length with the other prompt, by the host before and by us after the probe
            own[name] = float(np.abs(one - other[: len(one)]).max())
    return own


def _from_others(profile, cell, wanted) -> Figure:
    """Return how far the programs' own pictures are from each other."""
    found: Figure = {}
    for other in PROFILES:
        path = kept(other, cell)
        foreign = cell.prompt in WEB_SYNTAX and "comfyui" in (profile, other)
        if other != profile and path.is_file() and not cell.lacks(other) and not foreign:
            most, equal = far(Seen.load(path).pictures, wanted.pictures)
            found[f"from {other}"] = {"most": most, "equal": round(equal, 4)}
    return found


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
def test_the_web_uis_draw_another_programs_picture(prepared, stock, networks, kind, profile, cell):
    if kind == profile:
        pytest.skip("it is the program's own")
    host = prepared(kind)
    wanted = stock(profile, cell)
    text = format_infotext(record(cell, profile))
    given = {"override_settings": {"return_grid": False}}
    if cell.shape == "img2img":
        given["init_image"] = networks / "source.png"
    if cell.shape == "batch 3":
        given["batch_size"] = 3
    made = drawn_as(host, text, profile, **given)
    judge(profile, cell, f"in {kind}", made.pictures[: len(wanted.pictures)], wanted.pictures)


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
