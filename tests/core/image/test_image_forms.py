"""Forms of other programs: NovelAI's fields and hidden text, civitai's JSON, ComfyUI's graphs in files."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden import golden_dir
from PIL import Image, PngImagePlugin
from sd_concord.core.errors import BadFile, BadType, BadValue
from sd_concord.core.image import (
    Generation,
    ModelRef,
    Resource,
    civitai_generation,
    civitai_resources,
    format_infotext,
    parse_infotext,
    read_chunks,
    read_image_info,
    read_infotext,
    save_image,
)
from sd_concord.core.image.exif import comment_block
from sd_concord.core.image.novelai import novelai_fields, novelai_generation, novelai_infotext
from sd_concord.core.image.stealth import hide_text, stealth_text

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
PLAIN = Generation(prompt="a fox", steps=20, sampler="euler", seed=42)
GRAPH = json.dumps(
    {
        "1": {"class_type": "CLIPTextEncode", "inputs": {"text": "a hare, 日本"}},
        "2": {"class_type": "KSampler", "inputs": {"seed": 5, "steps": 9, "positive": ["1", 0]}},
    }
)
COMMENT = {
    "prompt": "a {{fox}}",
    "steps": 28,
    "height": 1216,
    "width": 832,
    "scale": 5.0,
    "uncond_scale": 1.0,
    "cfg_rescale": 0.2,
    "seed": 123,
    "noise_schedule": "karras",
    "sampler": "k_dpmpp_2s_ancestral",
    "sm": False,
    "uc": "[blurry], bad: hands",
    "v4_prompt": {"caption": {"base_caption": "a fox", "char_captions": []}},
}
FIELDS = {
    "Title": "NovelAI generated image",
    "Description": "a {{fox}}",
    "Software": "NovelAI",
    "Source": "NovelAI Diffusion V4 37442FCA",
    "Comment": json.dumps(COMMENT),
}


def png(path: Path, texts: dict[str, str], pixels: Any = PIXELS) -> Path:
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    Image.fromarray(pixels).save(path, pnginfo=info)
    return path


@pytest.mark.golden
def test_novelais_fields_become_the_web_uis_text(tmp_path: Path) -> None:
    with gzip.open(golden_dir("infotext") / "novelai.jsonl.gz", "rt", encoding="utf-8") as lines:
        cases = [json.loads(line) for line in lines]
    assert cases
    for case in cases:
        size, info = tuple(case["size"]), case["info"]
        text = novelai_infotext(info, size)
        assert (text or info.get("parameters")) == case["a1111"], case
        pixels = np.zeros((size[1], size[0], 3), np.uint8)
        assert read_infotext(png(tmp_path / "a.png", info, pixels)) == case["a1111"], case


def test_novelais_record_is_fuller_than_the_web_uis(tmp_path: Path) -> None:
    record = read_image_info(png(tmp_path / "a.png", FIELDS))
    assert (record.prompt, record.negative_prompt) == ("a {{fox}}", "[blurry], bad: hands")
    assert (record.steps, record.cfg, record.seed, record.size) == (28, 5.0, 123, (832, 1216))
    assert (record.sampler, record.scheduler) == ("dpmpp_2s_ancestral", "karras")
    assert record.model == ModelRef(name="NovelAI Diffusion V4", hash="37442FCA")
    assert record.concord is not None
    assert record.concord.cfg_rescale == 0.2
    assert record.version == "NovelAI"
    extras = dict(record.extras)
    assert json.loads(extras["NovelAI v4_prompt"]) == COMMENT["v4_prompt"]
    assert extras["NovelAI sm"] == "false"
    assert (record.clip_skip, record.ensd) == (None, None)
    assert parse_infotext(format_infotext(record)) == record


def test_novelais_size_is_the_pictures_where_it_does_not_say() -> None:
    fields = {"Description": "x", "Comment": '{"uc": "", "steps": 3}'}
    record = novelai_generation(fields, (640, 512))
    assert record is not None
    assert (record.size, record.steps, record.prompt) == ((640, 512), 3, "x")
    assert novelai_generation({"Comment": '{"author": "me"}'}) is None
    assert novelai_generation({"Comment": "made with GIMP"}) is None


def with_alpha(pixels: Any) -> Any:
    return np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])


@pytest.mark.parametrize("text", [json.dumps(FIELDS), format_infotext(PLAIN)], ids=["novelai", "infotext"])
@pytest.mark.parametrize("extension", [".png", ".webp"])
def test_hidden_text_is_found(tmp_path: Path, text: str, extension: str) -> None:
    hidden = hide_text(with_alpha(PIXELS), text)
    assert np.array_equal(hidden[..., :3], PIXELS)
    assert np.abs(hidden[..., 3].astype(int) - 255).max() == 1
    Image.fromarray(hidden).save(tmp_path / f"a{extension}", lossless=True, exact=True)
    record = read_image_info(tmp_path / f"a{extension}")
    if "NovelAI" in text:
        assert (record.prompt, record.seed, record.version) == ("a {{fox}}", 123, "NovelAI")
        assert "Clip skip: 2" in str(read_infotext(tmp_path / f"a{extension}"))
    else:
        assert record == PLAIN
        assert read_infotext(tmp_path / f"a{extension}") == text


def bits(mark: bytes, body: bytes, count: int | None = None) -> Any:
    length = (len(body) * 8 if count is None else count).to_bytes(4, "big")
    return np.unpackbits(np.frombuffer(mark + length + body, np.uint8))


@pytest.mark.parametrize(
    ("mark", "body"),
    [
        (b"stealth_pnginfo", b"a fox"),
        (b"stealth_rgbinfo", b"a fox"),
        (b"stealth_rgbcomp", gzip.compress(b"a fox")),
    ],
    ids=["alpha", "colours", "colours packed"],
)
def test_the_other_hiding_places_are_read(mark: bytes, body: bytes) -> None:
    values = with_alpha(PIXELS & 0xFE)
    found = bits(mark, body)
    if b"png" in mark:
        plane = values[..., 3].T.ravel() & 0xFE
        plane[: len(found)] |= found
        values[..., 3] = plane.reshape(64, 64).T
    else:
        plane = values[..., :3].transpose(1, 0, 2).ravel()
        plane[: len(found)] |= found
        values[..., :3] = plane.reshape(64, 64, 3).transpose(1, 0, 2)
        assert stealth_text(values[..., :3]) == "a fox"
    assert stealth_text(values) == "a fox"


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (b"no gzip", None),
        (gzip.compress(b"a fox")[:-9], None),
        (gzip.compress(b"\xff\xfe"), None),
        (b"", 2**32 - 1),
        (b"abc", 23),
    ],
    ids=["not packed", "cut", "no text", "endless", "odd"],
)
def test_damaged_hidden_text_is_none(body: bytes, count: int | None) -> None:
    values = with_alpha(PIXELS)
    plane = values[..., 3].T.ravel() & 0xFE
    found = bits(b"stealth_pngcomp", body, count)
    plane[: len(found)] |= found
    values[..., 3] = plane.reshape(64, 64).T
    # zlib gives what there is of a stream that is cut
    assert stealth_text(values) in (None, "a fox", "a fo", "a f", "a ", "a", "")
    assert stealth_text(values[:2, :2]) is None


def test_hidden_text_wants_room() -> None:
    with pytest.raises(BadValue, match=r"the text takes \d+ pixels, the picture has 16; store it as a chunk"):
        hide_text(np.zeros((4, 4, 4), np.uint8), "a fox")
    with pytest.raises(BadType, match=r"pixels are uint8 \(4, 4, 3\); pass uint8 \(H, W, 4\)"):
        hide_text(np.zeros((4, 4, 3), np.uint8), "a fox")


def test_text_that_stands_openly_goes_before_hidden_text(tmp_path: Path) -> None:
    hidden = hide_text(with_alpha(PIXELS), json.dumps(FIELDS))
    path = save_image(tmp_path / "a.png", Image.fromarray(hidden), PLAIN)
    assert read_image_info(path) == PLAIN
    assert novelai_fields("[1]") is None


@pytest.mark.parametrize("extension", [".png", ".jpg", ".webp", ".avif"])
def test_graphs_lie_beside_the_infotext(tmp_path: Path, extension: str) -> None:
    workflow = json.dumps({"nodes": [], "extra": "日本"}, ensure_ascii=False)
    chunks = {"prompt": GRAPH, "workflow": workflow}
    path = save_image(tmp_path / f"a{extension}", PIXELS, PLAIN, chunks)
    assert read_chunks(path) == chunks
    assert read_image_info(path) == PLAIN
    alone = save_image(tmp_path / f"b{extension}", PIXELS, Generation(), {"workflow": workflow})
    assert read_chunks(alone) == {"workflow": workflow}
    with pytest.raises(BadFile, match="holds ComfyUI's workflow without the prompt that was run"):
        read_image_info(alone)


def test_pngs_keep_any_chunk_and_other_files_say_what_they_keep(tmp_path: Path) -> None:
    path = save_image(tmp_path / "a.png", PIXELS, PLAIN, {"Software": "Concord", "note": "日本"})
    assert read_chunks(path) == {"Software": "Concord", "note": "日本"}
    with pytest.raises(
        BadValue, match=r"a WEBP file holds no chunk 'note', only workflow and prompt; save as \.png"
    ):
        save_image(tmp_path / "a.webp", PIXELS, PLAIN, {"note": "x"})
    with pytest.raises(BadValue, match="chunks holds 'parameters', which is the infotext's own"):
        save_image(tmp_path / "a.png", PIXELS, PLAIN, {"parameters": "x"})
    for name in ("", "x" * 80, "日本", " x"):
        with pytest.raises(BadValue, match="is no name of a PNG text chunk"):
            save_image(tmp_path / "a.png", PIXELS, PLAIN, {name: "x"})


@pytest.mark.parametrize("extension", [".png", ".webp"])
def test_comfyuis_own_pictures_are_read_by_their_graph(tmp_path: Path, extension: str) -> None:
    if extension == ".png":
        path = png(tmp_path / "a.png", {"prompt": GRAPH})
    else:
        path = tmp_path / "a.webp"
        exif = Image.Exif()
        exif[0x0110] = f"prompt:{GRAPH}"
        exif[0x010F] = 'workflow:{"nodes": []}'
        Image.fromarray(PIXELS).save(path, exif=exif)
        assert set(read_chunks(path)) == {"prompt", "workflow"}
    record = read_image_info(path)
    assert (record.prompt, record.seed, record.steps) == ("a hare, 日本", 5, 9)
    assert read_infotext(path) is None


def test_a_graph_goes_before_hidden_text(tmp_path: Path) -> None:
    hidden = hide_text(with_alpha(PIXELS), format_infotext(PLAIN))
    assert read_image_info(png(tmp_path / "a.png", {"prompt": GRAPH}, hidden)).prompt == "a hare, 日本"


def test_exif_blocks_are_as_the_format_wants_them() -> None:
    block = comment_block("abc", {"prompt": "12", "workflow": "1234567"})[6:]
    tags, place = [], 8
    for _ in range(struct.unpack_from(">H", block, place)[0]):
        tag, _, count, offset = struct.unpack_from(">HHLL", block, place + 2 + 12 * len(tags))
        tags.append(tag)
        assert count > 1 or tag == 0x8769
        assert offset % 2 == 0  # values begin at even places
    assert tags == [0x010F, 0x0110, 0x8769]  # in ascending order


def test_a_graph_without_a_sampler_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="only a ComfyUI prompt that names no known sampler"):
        read_image_info(png(tmp_path / "a.png", {"prompt": '{"1": {"class_type": "X", "inputs": {}}}'}))


def test_civitais_graph_with_its_summary_is_read(tmp_path: Path) -> None:
    summary = {
        "prompt": "a fox, <lora:x:1>",
        "negativePrompt": "blurry",
        "steps": 25,
        "cfgScale": 4,
        "sampler": "Euler a",
        "seed": 11,
        "clipSkip": 2,
        "width": 832,
        "height": 1216,
        "workflowId": "txt2img",
        "resources": [{"modelVersionId": 290640, "strength": 1}, {"modelVersionId": 5, "strength": 0.7}],
    }
    both = {**json.loads(GRAPH), "extra": {"airs": ["urn:air:x"]}, "extraMetadata": json.dumps(summary)}
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", exif=comment_block(json.dumps(both)))
    record = read_image_info(tmp_path / "a.jpg")
    assert (record.prompt, record.negative_prompt, record.seed) == ("a fox, <lora:x:1>", "blurry", 11)
    assert (record.steps, record.cfg, record.sampler, record.clip_skip) == (25, 4, "euler_ancestral", 2)
    assert record.size == (832, 1216)
    assert dict(record.extras)["workflowId"] == "txt2img"
    assert [one.version_id for one in civitai_resources(record)] == [290640, 5]
    assert civitai_resources(record)[1].weight == 0.7
    assert parse_infotext(format_infotext(record)) == record


def test_civitais_picture_data_is_read() -> None:
    meta = {
        "Size": "512x768",
        "seed": 42,
        "Model": "deliberate_v2",
        "steps": 20,
        "prompt": "a fox",
        "sampler": "DPM++ 2M Karras",
        "cfgScale": 7,
        "Clip skip": "2",
        "Model hash": "9aba26abdf",
        "hashes": {"model": "9aba26abdf"},
        "negativePrompt": "blurry",
        "Hires upscale": "2",
        "bad: key,": None,
    }
    record = civitai_generation(meta)
    assert record is not None
    assert (record.prompt, record.size, record.cfg, record.clip_skip) == ("a fox", (512, 768), 7, 2)
    assert (record.sampler, record.scheduler) == ("dpmpp_2m", "karras")
    assert record.model == ModelRef(name="deliberate_v2", hash="9aba26abdf")
    assert record.hires is not None
    assert record.hires.upscale == 2
    assert dict(record.extras) == {"hashes": '{"model": "9aba26abdf"}'}
    assert civitai_generation({"artist": "me"}) is None


def test_civitais_resources_are_told_apart() -> None:
    entries = [
        {"type": "checkpoint", "modelVersionId": 290640, "modelName": "Pony", "modelVersionName": "V6 XL"},
        {"type": "lora", "weight": 0.8, "air": "urn:air:sdxl:lora:civitai:1@2"},
        "junk",
    ]
    text = f"p\nSteps: 2, Sampler: Euler, Seed: 3, Civitai resources: {json.dumps(entries)}"
    assert civitai_resources(parse_infotext(text)) == (
        Resource(kind="checkpoint", name="Pony", version="V6 XL", version_id=290640),
        Resource(kind="lora", name="urn:air:sdxl:lora:civitai:1@2", weight=0.8),
    )
    assert civitai_resources(PLAIN) == ()
    assert civitai_resources(Generation(extras=(("Civitai resources", "{"),))) == ()
