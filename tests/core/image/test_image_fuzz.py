"""Mutated texts and damaged files: every reader gives a record, the text as it is, or a clear error.

A sample runs here; with ``CONCORD_FUZZ=1`` all 100,000 texts and 2,000 files do.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from golden import golden_dir
from PIL import Image, PngImagePlugin
from sd_concord.core.errors import BadFile, BadValue
from sd_concord.core.image import (
    DetailerUnit,
    Generation,
    Hires,
    civitai_resources,
    format_infotext,
    infotext_fields,
    parse_infotext,
    read_chunks,
    read_comfyui_graph,
    read_image_info,
    read_infotext,
    save_image,
)
from sd_concord.core.image.civitai import generation_of_json
from sd_concord.core.image.novelai import novelai_fields, novelai_generation, novelai_infotext
from sd_concord.core.image.stealth import hide_text

WHOLE = os.environ.get("CONCORD_FUZZ") == "1"
TEXTS, FILES = (100_000, 2_000) if WHOLE else (1_500, 240)
SPICE = [
    *',:"\\\n\t{}[]()<>|=;\0\x1b\ud800\u202e😀日',
    *("Steps: ", "Negative prompt: ", "BREAK", " AND ", "x" * 40, "1" * 30, "1e999", "-1", "NaN", "null"),
    *(
        '"]',
        '{"',
        ", Size: 0x0",
        ", Seed: ",
        "ADetailer model 2nd: ",
        "Lora hashes: ",
        "Civitai resources: [",
    ),
    *(
        ', "class_type": "KSampler"',
        ', "inputs": {',
        '["1", 0]',
        "true",
        "\\u0000",
        "\\ud800",
        "Hires resize: ",
    ),
]
PIXELS = np.random.default_rng(0).integers(0, 256, (24, 16, 3), dtype=np.uint8)
RECORD = Generation(
    prompt="日本, (snow:1.2)",
    negative_prompt="blurry",
    steps=20,
    sampler="euler",
    seed=42,
    hires=Hires(upscale=2.0, upscaler="Latent"),
    detailer=(DetailerUnit(model="face.pt", confidence=0.3),),
)
COMMENT = json.dumps(
    {"prompt": "a", "uc": "b", "steps": 28, "scale": 5, "seed": 3, "sampler": "k_euler", "sm": [1]}
)
FIELDS = {"Software": "NovelAI", "Description": "a", "Source": "X 37442FCA", "Comment": COMMENT}
META = json.dumps({"prompt": "a", "steps": 3, "cfgScale": 7, "resources": [{"type": "lora", "weight": 1}]})


def corpus() -> list[str]:
    with gzip.open(golden_dir("infotext") / "parse.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    graphs = [
        path.read_text(encoding="utf-8") for path in (golden_dir("pictures") / "comfyui").glob("[0-9]*.json")
    ]
    own = [format_infotext(RECORD), COMMENT, META, json.dumps(FIELDS), json.dumps({"extraMetadata": META})]
    return [*texts, *(graphs * 20)[:200], *own * 40]


def mutated(text: str, other: str, draw: random.Random) -> str:
    for _ in range(draw.choice((1, 1, 2, 3, 8))):
        start, end = sorted(draw.randint(0, len(text)) for _ in range(2))
        end = min(end, start + draw.choice((1, 4, 20, 400)))
        match draw.randrange(6):
            case 0:
                text = text[:start] + text[end:]
            case 1:
                text = text[:start] + draw.choice(SPICE) + text[start:]
            case 2:
                text = text[:end] + text[start:end] * draw.choice((1, 2, 30)) + text[end:]
            case 3:
                text = text[:start] + other[start:end] + text[end:]
            case 4:
                text = text[:start] + draw.choice(SPICE) + text[end:]
            case _:
                text = text[:end] if draw.random() < 0.5 else text[start:]
    return text


def read_everywhere(text: str) -> None:
    generation = parse_infotext(text)
    civitai_resources(generation)
    again = parse_infotext(format_infotext(generation))
    assert again.source == generation.source or not generation.source
    for host in ("a1111", "forge", "reforge"):
        assert "Prompt" in infotext_fields(text, host)
    found = [
        generation_of_json(text),
        novelai_generation({"Comment": text}),
        novelai_generation(FIELDS | {"Source": text}),
    ]
    novelai_infotext({**FIELDS, "Comment": text}, (8, 8))
    novelai_fields(text)
    with contextlib.suppress(BadValue):
        found.append(read_comfyui_graph(text).generation)
    for record in found:
        if record is not None:
            parse_infotext(format_infotext(record))


@pytest.mark.golden
def test_no_mutated_text_breaks_a_reader(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    texts, draw = corpus(), random.Random(6)
    for i in range(TEXTS):
        text = mutated(draw.choice(texts), draw.choice(texts), draw)
        try:
            read_everywhere(text)
        except Exception as error:
            raise AssertionError(f"text {i}: {text!r}") from error


def whole_files(folder: Path) -> Iterator[Path]:
    """Yield one file of each kind and form."""
    graph = {"prompt": json.dumps({"1": {"class_type": "KSampler", "inputs": {"seed": 5, "steps": 9}}})}
    for extension in (".png", ".jpg", ".webp", ".avif"):
        yield save_image(folder / f"infotext{extension}", PIXELS, RECORD, graph)
        yield save_image(folder / f"graph{extension}", PIXELS, Generation(), graph)
    Image.fromarray(PIXELS).save(folder / "a.gif", comment=format_infotext(RECORD).encode())
    yield folder / "a.gif"
    info = PngImagePlugin.PngInfo()
    for name, text in FIELDS.items():
        info.add_text(name, text, zip=name == "Comment")
    Image.fromarray(PIXELS).save(folder / "novelai.png", pnginfo=info)
    yield folder / "novelai.png"
    alpha = np.full((64, 64, 4), 255, np.uint8)
    Image.fromarray(hide_text(alpha, json.dumps(FIELDS))).save(folder / "hidden.png")
    yield folder / "hidden.png"


def damaged(data: bytes, draw: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(draw.choice((1, 2, 8, 40))):
        place = draw.randrange(len(out))
        match draw.randrange(4):
            case 0:
                out[place] = draw.randrange(256)
            case 1:
                out[place] ^= 1 << draw.randrange(8)
            case 2:
                del out[place : place + draw.choice((1, 4, 100))]
                out = out or bytearray(b"\0")
            case _:
                out[place:place] = draw.randbytes(draw.choice((1, 4, 100)))
    return bytes(out[: draw.randint(1, len(out))] if draw.random() < 0.2 else out)


def with_whole_chunks(data: bytes) -> bytes:
    """Return a PNG whose checksums are right again, so that what lies behind them is reached."""
    out, place = bytearray(data[:8]), 8
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        if place + 12 + length > len(data):
            break
        body = data[place + 4 : place + 8 + length]
        out += data[place : place + 4] + body + zlib.crc32(body).to_bytes(4, "big")
        place += 12 + length
    return bytes(out) + data[place:]


def test_no_damaged_file_breaks_a_reader(tmp_path: Path) -> None:
    draw = random.Random(6)
    wholes = [(path.suffix, path.read_bytes()) for path in whole_files(tmp_path)]
    read = refused = 0
    for i in range(FILES):
        suffix, data = wholes[i % len(wholes)]
        data = damaged(data, draw)
        if suffix == ".png" and draw.random() < 0.7:
            data = with_whole_chunks(data)
        path = tmp_path / f"damaged{suffix}"
        path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for reader in (read_image_info, read_infotext, read_chunks):
                try:
                    reader(path)
                    read += 1
                except BadFile as error:
                    refused += "\n" not in str(error)
                except Exception as error:
                    kept = path.with_name(f"broke-{i}{suffix}")
                    kept.write_bytes(data)
                    raise AssertionError(f"{reader.__name__} of {kept}") from error
    assert read + refused == 3 * FILES
    assert min(read, refused) > FILES // 10
