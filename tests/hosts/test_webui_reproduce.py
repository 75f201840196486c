"""Concord Reproduce in the real web UIs: the recorded pictures of the other hosts, drawn again on their model."""

import json

import pytest
from golden import golden_dir
from golden_checkpoint import golden_checkpoint
from webui_drawn_as import redrawn

pytestmark = [pytest.mark.hosts, pytest.mark.golden]
WEB_UI = [
    *("000-euler-karras", "004-euler-a-uniform", "010-dpmpp-2m-sde-karras", "102-edit-int", "098-break"),
    *("094-weights", "108-and", "114-long-150", "130-clip-skip-2-weights", "116-empty-negative"),
    *("134-batch-3-ancestral", "184-hires-latent-nearest-exact", "186-hires-lanczos-2x", "196-img2img-0.6"),
    *("074-ddim-automatic", "142-cfg-1-and"),
]
COMFYUI = ["4", "84", "86", "94", "102", "112", "118", "148", "162", "164", "204"]
CASES = [*(("forge", one) for one in WEB_UI), *(("a1111", one) for one in WEB_UI)]
CASES += [("comfyui", one) for one in COMFYUI]


@pytest.fixture(scope="module", params=["forge", "a1111"])
def host(request):
    webui = request.getfixturevalue(request.param)
    webui.add_golden_model(golden_checkpoint())
    yield webui
    webui.use_model("demo.safetensors")


def recorded(by, name):
    """The files of a recorded request, and the picture that it begins with."""
    folder = golden_dir("pictures") / by
    if not (folder / "latents.npz").is_file() or not list(folder.glob("*.png")):
        pytest.skip("the recorded pictures are not there; point CONCORD_GOLDEN at a folder that has them")
    index = json.loads((folder / "index.json").read_text())
    entries = index["pictures" if by == "comfyui" else "entries"]
    entry = next(one for one in entries if str(one["id"]) == name)
    files = [folder / file for file in entry["files"]]
    init = entry.get("request", {}).get("init_images")
    if init:
        return files, golden_dir("pictures") / "inputs" / init[0]
    loads = (
        [
            node["inputs"]["image"]
            for node in json.loads(files[0].with_name(f"{int(name):03d}.json").read_text()).values()
            if node["class_type"] == "LoadImage"
        ]
        if by == "comfyui"
        else []
    )
    return files, folder / "input" / loads[0] if loads else None


@pytest.mark.parametrize(("by", "name"), CASES, ids=[f"{by}-{name}" for by, name in CASES])
def test_a_recorded_picture_is_drawn_again(host, by, name):
    files, init = recorded(by, name)
    for file in files:
        drawn = redrawn(host, file, init_image=init)
        assert drawn.said.startswith("same: "), drawn.said
        assert f"profile {by}" in drawn.said
