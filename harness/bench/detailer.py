"""What the detailer adds to the network's work: masks, crops and pasting, and faces in a batch against one by one."""

from __future__ import annotations

import random
from statistics import median

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from ...core.detailer import Detections, Scene, crop, paste, plan_unit
from ...core.image import DetailerUnit, Generation
from ..pipeline import Pipeline
from ..stages.crops import Crop, inpaint_crops
from .sampling import ratio, seconds

SIZE = (1024, 1536)
WORK = (512, 512)
FACES = 20
BLUR, PADDING, GROW = 4, 32, 4
TOGETHER, SIDE, STEPS = 8, 128, 12
Box = tuple[int, int, int, int]


def faces(count: int = FACES, seed: int = 0) -> list[Box]:
    """Return boxes (x1, y1, x2, y2) of faces of 40 to 160 pixels in a picture of ``SIZE``, some of them touching."""
    rng = random.Random(seed)
    found: list[Box] = []
    for _ in range(count):
        side = rng.randint(40, 160)
        x, y = rng.randint(0, SIZE[0] - side), rng.randint(0, SIZE[1] - side)
        found.append((x, y, x + side, y + side))
    return found


def ours(image: NDArray[np.uint8], boxes: list[Box]) -> NDArray[np.uint8]:
    """Mask, cut out, and lay back every box, nothing being drawn."""
    unit = DetailerUnit(model="face", dilate_erode=GROW, mask_blur=BLUR, padding=PADDING)
    record = Generation(prompt="", seed=0, steps=20, sampler="euler", cfg=7.0, size=WORK)
    for run in plan_unit(Detections.of(boxes, size=SIZE), unit, Scene(picture=record)):
        image = paste(image, crop(image, run.region, run.size), run.region, run.overlay)
    return image


def whole_image(image: NDArray[np.uint8], boxes: list[Box]) -> NDArray[np.uint8]:
    """Do the same as the web UIs do it, with masks and overlays of the whole picture for every box, in Pillow."""
    picture = Image.fromarray(image)
    for box in boxes:
        mask = Image.new("L", picture.size, 0)
        ImageDraw.Draw(mask).rectangle(box, fill=255)
        mask = mask.filter(ImageFilter.MaxFilter(GROW + 1)).filter(ImageFilter.GaussianBlur(BLUR))
        inner = mask.getbbox() or (0, 0, *SIZE)
        x1, y1 = max(inner[0] - PADDING, 0), max(inner[1] - PADDING, 0)
        x2, y2 = min(inner[2] + PADDING, SIZE[0]), min(inner[3] + PADDING, SIZE[1])
        drawn = picture.crop((x1, y1, x2, y2)).resize(WORK, Image.Resampling.LANCZOS)
        overlay = Image.new("RGBa", picture.size)
        overlay.paste(picture.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(mask))
        under = Image.new("RGBA", picture.size)
        under.paste(drawn.resize((x2 - x1, y2 - y1), Image.Resampling.LANCZOS), (x1, y1))
        under.alpha_composite(overlay.convert("RGBA"))
        picture = under.convert("RGB")
    return np.asarray(picture)


def geometry_times(rounds: int = 5) -> dict[str, float]:
    """Return milliseconds for 20 faces in 1024 x 1536, and how many times longer the whole-image route takes."""
    image = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    boxes = faces()
    times = seconds(lambda: whole_image(image, boxes), lambda: ours(image, boxes), rounds=rounds)
    return {"ms_20_faces": 1e3 * median(times[1]), "speedup_whole_image": ratio(times)}


def batch_times(rounds: int = 3) -> dict[str, float]:
    """Return seconds for 8 crops through the embedded model in one batch, and how much longer one by one takes."""
    pipeline = Pipeline.load()
    record = Generation(prompt="a face", seed=0, steps=STEPS, denoising_strength=0.4)
    drawn = np.random.default_rng(0).integers(0, 256, (TOGETHER, SIDE, SIDE, 3), dtype=np.uint8)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[32:96, 32:96] = 255
    colours = ("red", "blue", "black", "green", "orange", "purple", "yellow", "white")
    crops = [
        Crop(image=image, mask=mask, prompt=f"a face with {colour} hair", seed=i)
        for i, (image, colour) in enumerate(zip(drawn, colours, strict=True))
    ]
    times = seconds(
        lambda: inpaint_crops(pipeline, crops, record, batch=1),
        lambda: inpaint_crops(pipeline, crops, record, batch=TOGETHER),
        rounds=rounds,
    )
    return {"s_8_faces": median(times[1]), "speedup_one_by_one": ratio(times)}


def run() -> dict[str, float]:
    """Return all figures."""
    return {**geometry_times(), **batch_times()}
