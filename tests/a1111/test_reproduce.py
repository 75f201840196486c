"""The script "Concord Reproduce" on every shape of host: the core's picture under every profile, and nothing left."""

import base64
import dataclasses
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin
from sd_concord.core.detailer import Detections
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
    "the refiner other is not among": "Refiner: other, Refiner switch at: 0.5",
    "was inpainted; put": "Denoising strength: 0.5, Mask blur: 4",
    "hires checkpoint": "Denoising strength: 0.5, Hires upscale: 2, Hires checkpoint: other",
    "unit 1 of the detailer asks for use_checkpoint": "ADetailer model: face, ADetailer checkpoint: other",
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
    host.sd_models.get_closet_checkpoint_match = lambda name: None
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


def painted(webui, text, mask, **more):
    """A picture of a grey one, in whose mask something else is painted."""
    webui.processing.create_binary_mask = lambda image: image
    grey = Image.new("RGB", (64, 64), (200, 90, 40))
    given = {"kind": "img2img", "init_images": [grey], "image_mask": mask, "inpainting_mask_invert": 0}
    return run(webui, MINE, "a1111", text, None, **given, **more)


def half():
    """The right half."""
    mask = Image.new("L", (64, 64))
    mask.paste(255, (32, 0, 64, 64))
    return mask


INPAINTED = f"{TEXT}, Denoising strength: 0.8, "


@pytest.mark.parametrize("area", ["", "Inpaint area: Only masked, Masked area padding: 8, "])
def test_inpainting_keeps_what_lies_outside_the_mask(host, area):
    done = painted(host, f"{INPAINTED}{area}Mask blur: 0", half())
    pixels = np.asarray(done.images[0]).astype(int)
    assert (pixels[:, :32] == (200, 90, 40)).all()
    assert (np.abs(pixels[:, 32:] - (200, 90, 40)).max(2) > 2).mean() > 0.9
    record = parse_infotext(done.infotexts[0])
    assert record.inpaint.area == ("Only masked" if area else None)


def test_a_mask_may_be_what_is_kept(host):
    done = painted(host, f"{INPAINTED}Mask mode: Inpaint not masked", half())
    pixels = np.asarray(done.images[0]).astype(int)
    assert (pixels[:, 32:] == (200, 90, 40)).all()
    assert not (pixels[:, :32] == (200, 90, 40)).all()


def test_the_tab_says_how_it_paints(host):
    grey = Image.new("RGB", (64, 64), (200, 90, 40))
    host.processing.create_binary_mask = lambda image: image
    more = {"kind": "img2img", "init_images": [grey], "image_mask": half(), "inpainting_mask_invert": 1}
    more |= {"inpainting_fill": 2, "mask_blur": 3, "inpaint_full_res": True, "inpaint_full_res_padding": 16}
    size = {"width": 64, "height": 64, "steps": 3, "denoising_strength": 0.5}
    done = run(host, TAB, "a1111", "", None, **more, **size)
    own = parse_infotext(done.infotexts[0]).inpaint
    assert (own.mask_mode, own.content, own.area) == ("Inpaint not masked", "latent noise", "Only masked")
    assert (own.mask_blur, own.padding) == (3, 16)


def test_a_mask_of_another_size_is_refused(host):
    with pytest.raises(BadValue, match="mask is 32x32 but the picture is 64x64"):
        painted(host, f"{INPAINTED}Mask blur: 0", Image.new("L", (32, 32), 255))
    assert host.unet.calls == 0


@pytest.fixture
def with_refiner(host, monkeypatch):
    """The host with a second checkpoint, whose UNet sees everything the other way round; ``loaded``: in order."""
    base = host.inside.model.sd_checkpoint_info
    base.filename = base.title = "base.safetensors"
    other = SimpleNamespace(filename="other.safetensors", title="other.safetensors", name_for_extra="other")
    host.sd_models.get_closet_checkpoint_match = {"other [abc]": other}.get
    host.loaded, host.second = [], 0
    model = host.inside.model
    owner = model.forge_objects.unet.model if hasattr(model, "forge_objects") else model.model
    plain = owner.diffusion_model

    class Second:
        in_channels = 4

        def __call__(self, x, times, context, **more):
            host.second += 1
            return -plain(x, times, context)

    second = Second()

    def load(info=None):
        model.sd_checkpoint_info = info or base
        owner.diffusion_model = second if info is other else plain
        host.loaded.append(model.sd_checkpoint_info.filename)

    if host.shape == "a1111":
        model.apply_model = lambda x, t, cond: owner.diffusion_model(x, t, torch.cat(cond["c_crossattn"], 1))
    if host.shape == "forge":
        entry = SimpleNamespace(refresh_model_loading_parameters=lambda: None)
        monkeypatch.setitem(sys.modules, "modules_forge.main_entry", entry)
        chosen = {"other.safetensors": other}
        host.sd_models.forge_model_reload = lambda: load(
            chosen.get(host.opts.data.get("sd_model_checkpoint"), base)
        )
    else:
        host.sd_models.reload_model_weights = load
    return host


REFINED = f"{TEXT}, Refiner: other [abc], Refiner switch at: 0.5"


@pytest.mark.parametrize("profile", ["a1111", "forge", "comfyui"])
def test_a_refiner_takes_over(with_refiner, profile):
    opts = dict(with_refiner.opts.data)
    alone = run(with_refiner, MINE, profile, TEXT, None).images[0]
    calls = with_refiner.unet.calls
    with_refiner.loaded.clear()
    done = run(with_refiner, MINE, profile, REFINED, None)
    assert with_refiner.second in (1, 2, 3)
    assert with_refiner.unet.calls == 2 * calls
    assert with_refiner.loaded[-1] == "base.safetensors"
    assert "other.safetensors" in with_refiner.loaded
    assert np.abs(np.asarray(done.images[0]).astype(int) - np.asarray(alone)).max() > 2
    assert parse_infotext(done.infotexts[0]).refiner.model == "other [abc]"
    assert with_refiner.opts.data == opts


def test_a_refiner_of_the_second_pass_leaves_the_first_alone(with_refiner):
    hires = "Denoising strength: 0.7, Hires upscale: 2, Hires steps: 2, Hires upscaler: Latent"
    run(with_refiner, MINE, "a1111", f"{TEXT}, {hires}, Refiner: other [abc], Refiner switch at: 0", None)
    assert with_refiner.second == 2
    assert with_refiner.unet.calls == 4 + 2


DETAILED = f"{TEXT}, ADetailer model: face, ADetailer prompt: a much larger and greener cat, ADetailer mask blur: 0, "
DETAILED += "ADetailer denoising strength: 0.9"


@pytest.fixture
def finds(host, monkeypatch):
    """The host with a detector that finds one box."""

    class Finder:
        name = "finder"

        def __call__(self, image):
            boxes = np.array([[8, 8, 40, 40]], np.float32)
            height, width = image.shape[:2]
            return Detections(
                boxes=boxes, confidences=np.ones(1, np.float32), labels=("face",), size=(width, height)
            )

    monkeypatch.setattr(host.part("drawn_details"), "load_detector", lambda *args, **more: Finder())
    return host


def test_a_detailer_redraws_what_it_finds(finds):
    before = np.asarray(run(finds, MINE, "a1111", TEXT, None).images[0]).astype(int)
    done = run(finds, MINE, "a1111", DETAILED, None)
    after = np.asarray(done.images[0]).astype(int)
    changed = np.abs(after - before).max(2) > 0
    assert changed[16:32, 16:32].mean() > 0.9
    assert not changed[48:].any()
    assert not changed[:, 48:].any()
    [unit] = parse_infotext(done.infotexts[0]).detailer
    assert unit.found == 1
    assert unit.denoising_strength == 0.9


def test_every_picture_of_a_batch_is_detailed(finds):
    done = run(finds, MINE, "comfyui", f"{DETAILED}, Concord batch size: 2", None)
    assert [parse_infotext(text).detailer[0].found for text in done.infotexts] == [1, 1]


def test_a_detector_that_is_not_there_is_named_before_anything_runs(host):
    with pytest.raises(BadFile, match="there is no detector 'nose'"):
        run(host, MINE, "a1111", TEXT + ", ADetailer model: nose", None)
    assert host.unet.calls == 0


def test_an_interruption_leaves_the_picture_as_it_came_to_the_detailer(finds):
    before = np.asarray(run(finds, MINE, "a1111", TEXT, None).images[0])
    calls = finds.unet.calls
    finds.unet.then = lambda so_far: so_far == 2 * calls + 1 and finds.shared.state.interrupt()
    done = run(finds, MINE, "a1111", DETAILED, None)
    assert same(done.images[0], before)
