"""The pack in the real A1111, Forge and reForge: loaded without a word, quickly, and the host's pictures left alone."""

import json

import numpy as np
import pytest
from golden import golden_dir
from miniatures import golden_checkpoint
from PIL import Image
from webui_host import PACK

pytestmark = pytest.mark.hosts


def test_the_pack_is_loaded(webui):
    assert {"sd_concord", "sd_concord.a1111_scripts"} <= set(webui.get("/concord-probe/modules"))


def test_the_host_says_nothing_of_it(webui):
    said = [line for line in webui.log().splitlines() if PACK in line or "concord.py" in line]
    assert said == []


def test_loading_takes_less_than_a_second(webui):
    """Or less than a tenth of the host's own start, where the machine is busy."""
    start = webui.get("/internal/profile-startup")
    seconds = start["records"]["load scripts/concord.py"]
    print(f"{webui.kind} loads the pack in {seconds:.3f} of {start['total']:.1f} s")
    assert seconds < max(1, start["total"] / 10)


def test_the_ui_is_served(webui):
    assert webui.get("/config")["components"]


@pytest.mark.golden
@pytest.mark.parametrize("name", ["000-euler-karras", "008-dpmpp-2m-automatic"])
def test_a_recorded_picture_is_drawn_again(webui, name):
    """The recording's host, this one and its flags agree, so that other differences are the pack's.

    reForge has no recording of its own and is held to A1111's, within two levels.
    """
    source, most = {"reforge": ("a1111", 2)}.get(webui.kind, (webui.kind, 1))
    recorded = golden_dir("pictures") / source
    if not (recorded / f"{name}.png").is_file():
        pytest.skip(
            f"{source}/{name}.png is not there; CONCORD_GOLDEN names the whole set of golden pictures"
        )
    webui.add_golden_model(golden_checkpoint())
    request = json.loads((recorded / f"{name}.json").read_text(encoding="utf-8"))
    [picture] = webui.txt2img(**request).pictures
    wanted = np.asarray(Image.open(recorded / f"{name}.png").convert("RGB"))
    assert np.abs(picture.astype(int) - wanted).max() <= most
