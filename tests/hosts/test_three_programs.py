"""One request to the embedded model in three programs, and what the command line draws under their profiles.

With CONCORD_WRITE=1 the pictures become the README's, docs/images/one-picture.png.
"""

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("diffusers", reason="diffusers is not installed, which draws the pictures to compare")
from comfy_graphs import loaded
from comfy_host import Graph
from PIL import Image
from sd_concord.core.image import ConcordSettings, Generation
from sd_concord.core.image.grid import GridStyle, labelled_grid
from sd_concord.core.same_picture import difference
from sd_concord.harness import Pipeline
from webui_host import DEMO_MODEL

pytestmark = pytest.mark.hosts
ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "images" / "one-picture.png"
PROMPT = "a smiling face with (orange hair:1.3) left of a [blue:purple:0.4] star"
SETTINGS = {"steps": 20, "seed": 6, "cfg": 4.0}
LABELS = {"a1111": "A1111 1.9.4", "forge": "Forge f2.0.1", "comfyui": "ComfyUI 0.3.64"}


def stock(request, name):
    """Return the program's own picture."""
    if name == "comfyui":
        host, graph = request.getfixturevalue("comfy"), Graph()
        graph.sample(loaded(graph), PROMPT, sampler_name="euler_ancestral", scheduler="karras", **SETTINGS)
        [picture] = host.queue(graph).pictures
        return picture
    host = request.getfixturevalue(name)
    host.use_model(DEMO_MODEL)
    asked = {"prompt": PROMPT, "sampler_name": "Euler a", "scheduler": "Karras", "width": 128, "height": 128}
    asked |= {"steps": SETTINGS["steps"], "seed": SETTINGS["seed"], "cfg_scale": SETTINGS["cfg"]}
    [picture] = host.txt2img(**asked, override_settings={"randn_source": "CPU"}).pictures
    return picture


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline.load()


def ours(pipeline, name):
    """Return the command line's picture under the program's profile."""
    own = ConcordSettings(profile=name)
    record = Generation(
        prompt=PROMPT,
        sampler="euler_ancestral",
        scheduler="karras",
        size=(128, 128),
        rng="CPU",
        concord=own,
        **SETTINGS,
    )
    return pipeline.generate(record)[0].image


def test_each_programs_picture_is_drawn_and_they_differ(request, pipeline):
    found = {name: (stock(request, name), ours(pipeline, name)) for name in LABELS}
    for name, (wanted, made) in found.items():
        far = difference(made, wanted)
        assert far.most <= 1, name
        assert far.equal >= 0.99, name
    assert difference(found["comfyui"][0], found["a1111"][0]).most > 20
    if os.environ.get("CONCORD_WRITE"):
        cells = [
            Image.fromarray(np.repeat(np.repeat(found[name][row], 2, 0), 2, 1))
            for row in (0, 1)
            for name in LABELS
        ]
        rows = ("the program", "Concord --profile")
        labelled_grid(cells, list(LABELS.values()), rows, style=GridStyle(letters=18)).save(PICTURE)
