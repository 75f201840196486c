"""The script "Concord Reproduce" on every shape of host: the core's picture under every profile, and nothing left."""

import base64
import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin
from sd_concord.core.errors import BadFile, BadValue
from sd_concord.core.filled import filled
from sd_concord.core.guided_run import GuidedDenoiser
from sd_concord.core.image import parse_infotext
from sd_concord.core.profile_choice import with_profile
from sd_concord.core.profiles import PROFILES
from sd_concord.core.prompt import encode, plan
from sd_concord.core.run import sampling_of
from webui_network import SIGMAS, ToyNetwork, install_network, toy_decode
from webui_requests import Drawing, request
from webui_text import install

TEXT = "a [red:blue:2] (circle:1.3)\nNegative prompt: blurry\nSteps: 4, Sampler: Euler a, CFG scale: 5, Seed: 3, "
TEXT += "Size: 64x64, RNG: CPU"
MINE, TAB, FILE = "an infotext", "the fields of this tab", "a picture file"


@pytest.fixture
def host(webui_fake, monkeypatch):
    """Each shape of host with a model of toys."""
    return ready(webui_fake, monkeypatch)


@pytest.fixture
def forge(make_webui, monkeypatch):
    return ready(make_webui("forge"), monkeypatch)


def ready(webui, monkeypatch):
    webui.inside = install(webui, monkeypatch)
    Drawing(webui)
    webui.unet = install_network(webui, webui.inside)
    [kind] = webui.part("reproduce").register()
    webui.script, _ = webui.make_ui(kind)
    return webui


def asked(webui, **more):
    p = request(webui, **{"do_not_save_samples": True, "comments": [], **more})
    if webui.shape != "classic":
        p.comment = p.comments.append
    return p


def run(webui, *args, **more):
    return webui.script.run(asked(webui, **more), *args)


def wanted(webui, text, profile, batch=1):
    """The picture by the core alone."""
    record = parse_infotext(text)
    named = with_profile(record, profile)
    sampling = sampling_of(filled(named), SIGMAS, batch=batch, family="sd1")
    conds = []
    for prompt, negative in ((record.prompt, False), (record.negative_prompt, True)):
        shape = dataclasses.replace(sampling.shape, negative=negative)
        laid = plan(prompt, sampling.first_steps, dialect=sampling.dialect, run=shape)
        conds.append(encode(laid, webui.inside.encoders, emphasis=sampling.emphasis))
    noise, steps = sampling.noise((4, record.size[1] // 8, record.size[0] // 8))
    denoise = GuidedDenoiser(ToyNetwork(), conds[:1], conds[1:], sampling, record.size)
    latents = sampling.run(denoise, sampling.start(noise), steps)
    pixels = (toy_decode(latents) / 2 + 0.5).permute(0, 2, 3, 1).numpy()
    return list((pixels * np.float32(255)).astype(np.uint8))


def same(picture, pixels):
    return np.abs(np.asarray(picture).astype(int) - pixels).max() <= 1


@pytest.mark.parametrize("profile", PROFILES)
def test_a_picture_is_the_one_of_the_core_under_every_profile(host, profile):
    done = run(host, MINE, profile, TEXT, None)
    [picture] = done.images
    assert same(picture, wanted(host, TEXT, profile)[0])


def test_profiles_differ(forge):
    """So that the test above says something."""
    pictures = [np.asarray(run(forge, MINE, one, TEXT, None).images[0]) for one in ("a1111", "comfyui")]
    assert np.abs(pictures[0].astype(int) - pictures[1]).max() > 2


def test_the_infotext_is_the_record_with_its_profile(host):
    done = run(host, MINE, "comfyui", TEXT, None)
    record = parse_infotext(done.infotexts[0])
    assert record.concord.profile == "comfyui"
    assert (record.seed, record.steps, record.size, record.sampler) == (3, 4, (64, 64), "euler_ancestral")
    assert record.prompt == parse_infotext(TEXT).prompt
    assert (record.model.name, record.model.hash) == ("toy", "0123456789")
    assert done.images[0].info["parameters"] == done.infotexts[0]


@pytest.mark.parametrize(
    ("version", "profile"),
    [
        ("v1.9.4", "a1111"),
        ("v1.10.1", "a1111-1.10"),
        ("f2.0.1v1.10.1-previous-669-gdfdcbab6", "forge"),
        ("ComfyUI", "comfyui"),
        ("Concord 0.1", "concord"),
    ],
)
def test_auto_is_the_profile_of_the_program_that_is_named(forge, version, profile):
    done = run(forge, MINE, "auto", f"{TEXT}, Version: {version}", None)
    assert parse_infotext(done.infotexts[0]).concord.profile == profile


def test_profiles_that_are_compared_with_no_recording_are_marked(forge):
    labels = forge.part("reproduce").profile_labels()
    assert "reforge (unverified)" in labels
    assert "forge" in labels
    done = run(forge, MINE, "reforge (unverified)", TEXT, None)
    assert parse_infotext(done.infotexts[0]).concord.profile == "reforge"


def test_the_tab_is_drawn_as_by_this_host_with_its_settings(host):
    host.opts.data_labels["eta_noise_seed_delta"].infotext = "ENSD"
    host.opts.data["eta_noise_seed_delta"] = 31337
    p = {"prompt": "a (cat:1.2)", "steps": 3, "sampler_name": "Euler a", "width": 64, "height": 64}
    done = run(host, TAB, "auto", "", None, **p, batch_size=2, n_iter=2)
    record = parse_infotext(done.infotexts[0])
    assert record.ensd == 31337
    assert record.concord.profile == host.part("host").detect().profile
    assert [parse_infotext(text).seed for text in done.infotexts] == [5, 6, 7, 8]
    assert len({np.asarray(one).tobytes() for one in done.images}) == 4
    assert same(done.images[1], wanted(host, done.infotexts[1], record.concord.profile)[0])


@pytest.fixture
def file(forge, tmp_path):
    """A picture that the core has drawn as A1111 does, with the text that A1111 writes."""
    [pixels] = wanted(forge, TEXT, "a1111")
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", f"{TEXT}, Version: v1.9.4")
    Image.fromarray(pixels).save(tmp_path / "a.png", pnginfo=info)
    return tmp_path / "a.png"


def test_a_file_is_compared(forge, file):
    done = run(forge, FILE, "auto", "", str(file))
    said = done.extra_generation_params["Concord Reproduce"]
    assert said.startswith("same: 100.00% of values equal, at most 0 of 255 levels apart (profile a1111)")
    done = run(forge, FILE, "comfyui", "", str(file))
    assert done.extra_generation_params["Concord Reproduce"].startswith("differs: ")


def test_a_file_may_come_as_base64(forge, file):
    data = "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()
    assert run(forge, FILE, "auto", "", data).extra_generation_params["Concord Reproduce"].startswith("same")


def test_what_is_said_stands_below_the_picture(forge, file):
    p = asked(forge)
    forge.script.run(p, FILE, "auto", "", str(file))
    assert p.comments[0].startswith("Concord Reproduce: same: ")


def test_image_to_image_begins_with_the_picture_of_the_tab(host):
    """A little strength keeps its bright half bright, much does not."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, :32] = 255
    more = {"kind": "img2img", "init_images": [Image.fromarray(image)], "resize_mode": 0}
    likeness = []
    for strength in (0.01, 0.99):
        done = run(host, MINE, "comfyui", f"{TEXT}, Denoising strength: {strength}", None, **more)
        likeness.append(np.corrcoef(np.asarray(done.images[0]).ravel(), image.ravel())[0, 1])
    assert likeness[0] > 0.7
    assert likeness[1] < 0.4
    assert parse_infotext(done.infotexts[0]).init_image_hash


@pytest.mark.parametrize("upscaler", ["Latent", "Lanczos"])
def test_hires_is_a_second_pass(host, upscaler):
    hires = f"Denoising strength: 0.7, Hires upscale: 2, Hires steps: 2, Hires upscaler: {upscaler}"
    done = run(host, MINE, "a1111", f"{TEXT}, {hires}", None)
    assert done.images[0].size == (128, 128)
    assert host.unet.calls == 4 + 2
    assert parse_infotext(done.infotexts[0]).hires.upscaler == upscaler


def test_a_batch_of_comfyui_is_drawn_whole(forge):
    done = run(forge, MINE, "comfyui", f"{TEXT}, Concord batch size: 3", None)
    assert len(done.images) == 3
    assert len({np.asarray(one).tobytes() for one in done.images}) == 3


REFUSED = {
    "a refiner": "Refiner: other, Refiner switch at: 0.5",
    "inpainting": "Denoising strength: 0.5, Mask blur: 4",
    "made from another one": "Denoising strength: 0.5",
    "tiling": "Tiling: True",
    "multiples of 8": "Size: 60x60",
    "unknown sampler": "Sampler: Nope",
}


@pytest.mark.parametrize(("words", "more"), REFUSED.items(), ids=REFUSED)
def test_what_is_not_drawn_is_refused_before_anything_runs(host, words, more):
    key = more.partition(":")[0]
    text = TEXT.replace("Size: 64x64", more) if key == "Size" else f"{TEXT}, {more}"
    text = TEXT.replace("Sampler: Euler a", more) if key == "Sampler" else text
    with pytest.raises(BadValue, match=words) as error:
        run(host, MINE, "a1111", text, None)
    assert "\n" not in str(error.value)
    assert host.unet.calls == 0


def test_sources_without_settings_are_refused(forge, tmp_path):
    with pytest.raises(BadValue, match="no settings"):
        run(forge, MINE, "auto", "a cat", None)
    with pytest.raises(BadFile, match="no picture file"):
        run(forge, FILE, "auto", "", None)
    with pytest.raises(BadValue, match="source is 'x'"):
        run(forge, "x", "auto", "", None)
    with pytest.raises(BadValue, match="klingon"):
        run(forge, MINE, "klingon", TEXT, None)


def test_nothing_of_the_host_is_changed_afterwards(host):
    model, opts = host.inside.model, dict(host.opts.data)
    objects = getattr(model, "forge_objects", None)
    engines = [getattr(part, "clip_skip", None) for part in host.inside.parts]
    run(host, MINE, "a1111", f"{TEXT}, Clip skip: 2".replace("a [", "a <lora:ink:1> ["), None)
    assert host.opts.data == opts
    assert getattr(model, "forge_objects", None) is objects
    assert [getattr(part, "clip_skip", None) for part in host.inside.parts] == engines
    assert host.inside.loras.on == {}


def test_clip_skip_is_that_of_the_record(host):
    seen = []
    part = host.inside.parts[0]
    plain = part.encode_with_transformers
    part.clip_skip = 1
    part.encode_with_transformers = lambda ids: (
        seen.append((host.opts.CLIP_stop_at_last_layers, part.clip_skip)) or plain(ids)
    )
    run(host, MINE, "a1111", f"{TEXT}, Clip skip: 2", None)
    assert set(seen) == {(2, 2)}
    assert part.clip_skip == 1


def test_loras_of_the_prompt_are_on_while_it_is_drawn(host):
    seen = []
    host.unet.then = lambda calls: seen.append(dict(host.inside.loras.on))
    run(host, MINE, "a1111", TEXT.replace("a [", "a <lora:ink:0.5> ["), None)
    assert seen == [{"ink": (0.5, 0.5)}] * 4


def test_an_interruption_stops_it(host):
    host.unet.then = lambda calls: calls == 2 and host.shared.state.interrupt()
    done = run(host, TAB, "a1111", "", None, steps=9, width=64, height=64, n_iter=3)
    assert len(done.images) == 1
    assert host.unet.calls == 2
    assert host.shared.state.sampling_step == 2


def test_the_host_sees_the_latents(host):
    run(host, MINE, "a1111", TEXT, None)
    assert [one.shape for one in host.sd_samplers_common.latents] == [torch.Size([1, 4, 8, 8])] * 4


def test_a_record_of_a_batch_draws_its_image_again(forge):
    """What the infotext of an image says gives that image alone."""
    done = run(forge, TAB, "comfyui", "", None, width=64, height=64, steps=3, batch_size=3)
    for picture, text in zip(done.images, done.infotexts, strict=True):
        [again] = run(forge, MINE, "auto", text, None).images
        assert same(again, np.asarray(picture))
    assert [parse_infotext(text).seed for text in done.infotexts] == [5, 5, 5]
