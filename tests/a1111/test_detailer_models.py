"""What units of the detailer can name on a host: detectors in its folders, checkpoints, samplers and schedules."""

import pytest
from PIL import Image
from sd_concord.core.errors import BadFile, BadValue
from webui_detailer import bench

UNIT = {
    "ad_model": "face",
    "ad_use_inpaint_width_height": True,
    "ad_inpaint_width": 64,
    "ad_inpaint_height": 64,
}


@pytest.fixture
def host(webui_fake, tmp_path):
    return bench(webui_fake, tmp_path)


@pytest.fixture
def models(host):
    return host.webui.part("detailer_models")


def put(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_detectors_are_those_of_the_folders_and_ours(host, models, tmp_path):
    put(tmp_path / "models", "adetailer/faces.pt", "ultralytics/bbox/hands.pt", "adetailer/notes.txt")
    put(tmp_path / "models" / "adetailer", "faces.0123456789ab.safetensors", "own.safetensors")
    put(tmp_path / "more", "eyes.onnx")
    host.webui.opts.data["concord_detailer_folders"] = f"{tmp_path / 'more'} | {tmp_path / 'nowhere'}"
    assert models.detector_names() == [
        *("None", "face", "face-lbp", "face-mtcnn"),
        *("faces.pt", "own.safetensors", "bbox/hands.pt", "eyes.onnx"),
    ]


@pytest.mark.parametrize("name", ["bbox/hands.pt", "hands.pt", "hands"])
def test_a_detector_goes_by_its_name_with_or_without_folder_and_suffix(models, tmp_path, name):
    put(tmp_path / "models", "ultralytics/bbox/hands.pt")
    assert models.detector_of(name) == tmp_path / "models" / "ultralytics" / "bbox" / "hands.pt"


def test_ours_stand_in_for_those_of_adetailer_that_need_mediapipe(models):
    assert models.detector_of("mediapipe_face_full") == "face"
    with pytest.raises(BadFile, match="there is no detector 'mediapipe_face_mesh_eyes_only'"):
        models.detector_of("mediapipe_face_mesh_eyes_only")


def test_what_is_not_there_is_said_with_what_is(models):
    with pytest.raises(BadValue, match=r"unknown checkpoint 'two'.*one\.safetensors"):
        models.checkpoint_setting("two")
    with pytest.raises(BadValue, match=r"unknown VAE 'two'.*own\.vae\.pt"):
        models.vae_setting("two")
    with pytest.raises(BadValue, match="unknown sampler 'eulr'"):
        models.sampling_here("eulr", None)


def test_a_vae_takes_the_place_of_another_and_of_nothing_else(make_webui, tmp_path):
    webui = bench(make_webui("forge"), tmp_path).webui
    webui.opts.data["forge_additional_modules"] = [
        "/models/VAE/old.pt",
        "/models/text_encoder/t5.safetensors",
    ]
    found = webui.part("detailer_models").vae_setting("own.vae.pt")
    assert found == {
        "forge_additional_modules": ["/models/text_encoder/t5.safetensors", "/models/VAE/own.vae.pt"]
    }


SAMPLING = {
    "the host's": ("Euler a", "Karras", "Euler a", "Karras"),
    "the core's": ("euler_ancestral", "karras", "Euler a", "Karras"),
    "no schedule": ("dpmpp_2m", None, "DPM++ 2M", "Automatic"),
}


@pytest.mark.parametrize("case", SAMPLING)
def test_samplers_and_schedules_go_by_the_hosts_names(host, models, case):
    sampler, scheduler, name, label = SAMPLING[case]
    wanted = {"sampler_name": name, "scheduler": label}
    if host.webui.shape == "classic":
        wanted = {"sampler_name": name}
    assert models.sampling_here(sampler, scheduler) == wanted


def test_a_schedule_of_ours_is_found_by_the_cores_name(make_webui, tmp_path):
    webui = bench(make_webui("a1111"), tmp_path).webui
    webui.load()
    models = webui.part("detailer_models")
    label = models.sampling_here("res_multistep", "beta")["scheduler"]
    assert label in webui.sd_schedulers.schedulers_map
    assert models.sampling_here("res_multistep", "beta")["sampler_name"] in webui.sd_samplers.all_samplers_map


@pytest.mark.parametrize(
    ("setting", "suffix"),
    [("concord_detailer_save_before", "-ad-before"), ("concord_detailer_save_previews", "-ad-preview-1")],
    ids=["before", "preview"],
)
def test_the_picture_before_and_what_was_found_are_saved_where_that_is_set(
    host, monkeypatch, setting, suffix
):
    host.finds(monkeypatch, (8, 8, 40, 48))
    host.webui.opts.data |= {setting: True, "samples_format": "png"}
    saved = []
    host.webui.images.save_image = lambda image, *args, **given: saved.append((image, given["suffix"]))
    script, p = host.script(), host.request(outpath_samples="out")
    host.run(script, p, [True, False, UNIT])
    assert saved == []
    p.save_samples = lambda: True
    host.run(script, p, [True, False, UNIT])
    [(picture, name)] = saved
    assert isinstance(picture, Image.Image)
    assert name == suffix
