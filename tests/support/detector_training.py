"""A small YOLO that finds faces and shapes in drawn scenes, trained when a test needs it and kept outside the tree.

Training takes two to five minutes on two cores.  The checkpoint lies in the folder that CONCORD_CACHE names, or in
the user's cache, under a name that changes with the recipe.
"""

from __future__ import annotations

import copy
import hashlib
import os
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sd_concord.core.torchvision_stand_in import import_ultralytics
from sd_concord.harness.train import draw as drawing
from sd_concord.harness.train import scenes
from sd_concord.harness.train.draw import draw, silhouette
from sd_concord.harness.train.scenes import SHAPES, SIZE, Item, Mix, Scene, random_scene

NAMES = ("face", *SHAPES)
STEPS, BATCH, SAMPLES, RATE = 700, 16, 3000, 4e-3
MIX = Mix(counts=(0.4, 0.4, 0.2), faces=0.5, styles=0.3)
TABLE: dict[str, Any] = {
    "nc": len(NAMES),
    "depth_multiple": 1.0,
    "width_multiple": 1.0,
    "backbone": [
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 1, "Conv", [32, 3, 2]],
        [-1, 1, "C2f", [32, True]],
        [-1, 1, "Conv", [64, 3, 2]],
        [-1, 1, "C2f", [64, True]],
        [-1, 1, "Conv", [96, 3, 2]],
        [-1, 1, "C2f", [96, True]],
        [-1, 1, "SPPF", [96, 5]],
    ],
    "head": [
        [-1, 1, "nn.Upsample", ["None", 2, "nearest"]],
        [[-1, 4], 1, "Concat", [1]],
        [-1, 1, "C2f", [64]],
        [-1, 1, "Conv", [64, 3, 2]],
        [[-1, 7], 1, "Concat", [1]],
        [-1, 1, "C2f", [96]],
        [[10, 13], 1, "Detect", ["nc"]],
    ],
}


def trained_detector() -> Path:
    """Return the checkpoint, as ultralytics saves one; train it first where it is not kept."""
    path = _path()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        torch.save(checkpoint(train()), part)
        part.replace(path)
    return path


def is_trained() -> bool:
    """Return whether the checkpoint lies in the cache."""
    return _path().exists()


def _path() -> Path:
    own = os.environ.get("CONCORD_CACHE")
    folder = Path(own) if own else Path.home() / ".cache" / "sd-concord-tests"
    sources = [Path(str(module.__file__)).read_bytes() for module in (scenes, drawing)]
    recipe = repr((TABLE, STEPS, BATCH, SAMPLES, RATE, MIX, NAMES)).encode()
    return folder / f"scenes-{hashlib.sha256(b'0'.join([recipe, *sources])).hexdigest()[:12]}.pt"


def checkpoint(model: Any, size: int = SIZE) -> dict[str, Any]:
    """Return what ultralytics writes after training: the network in half precision, and the settings."""
    saved = copy.deepcopy(model).half()
    saved.criterion = None
    saved.args = {"imgsz": size, "task": "detect"}
    return {
        "epoch": -1,
        "best_fitness": None,
        "model": saved,
        "ema": None,
        "updates": None,
        "optimizer": None,
        "train_args": {"imgsz": size, "task": "detect", "model": "drawn.yaml"},
        "train_metrics": {"fitness": np.float64(0.5)},
        "date": "2026-01-01T00:00:00",
        "version": "8.4.190",
    }


def box_of(item: Item) -> tuple[float, float, float, float]:
    """Return the box of what is drawn of ``item``, in pixels."""
    left, top, right, bottom = (-0.86, -1.0, 0.86, 1.0) if item.kind == "face" else _EXTENTS[item.kind]
    x, y, r = item.x, item.y, item.radius
    return x + left * r, y + top * r, x + right * r, y + bottom * r


def _extent(kind: str) -> tuple[float, float, float, float]:
    rows, columns = np.nonzero(silhouette(kind, 128))
    low, high = (columns.min(), rows.min()), (columns.max() + 1, rows.max() + 1)
    left, top, right, bottom = (edge / 64 - 1 for edge in (*low, *high))
    return left, top, right, bottom


_EXTENTS = {kind: _extent(kind) for kind in SHAPES}


def scene_with_faces(seed: int) -> tuple[NDArray[np.uint8], Scene]:
    """Return a drawn scene with at least one face in it, unlike those of training, and what is in it."""
    rng = random.Random(f"held out {seed}")
    while True:
        scene = random_scene(rng, Mix(counts=(0.3, 0.5, 0.2), faces=0.6, styles=0.0))
        if any(item.kind == "face" for item in scene.items):
            return draw(scene, seed), scene


def train() -> Any:
    """Train the network on drawn scenes; return it with its weights averaged over the last steps."""
    torch.manual_seed(0)
    tasks = import_ultralytics("ultralytics.nn.tasks")
    model = tasks.DetectionModel(copy.deepcopy(TABLE), ch=3, nc=len(NAMES), verbose=False)
    model.names = dict(enumerate(NAMES))
    model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5, overlap_mask=True, epochs=1)
    data = [_sample(index) for index in range(SAMPLES)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=5e-4)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS, pct_start=0.1)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.98), use_buffers=True
    )
    rng = random.Random(1)
    model.train()
    for _ in range(STEPS):
        loss = model.loss(_batch(rng.sample(data, BATCH), rng))[0].sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        rates.step()
        average.update_parameters(model)
    model.load_state_dict(average.module.state_dict())
    return model.eval()


def _sample(index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return a picture, and its rows of (class, x, y, width, height), the last four in 0…1."""
    scene = random_scene(random.Random(f"train {index}"), MIX)
    rows = []
    for item in scene.items:
        x1, y1, x2, y2 = box_of(item)
        rows.append((NAMES.index(item.kind), (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1))
    return draw(scene, index), np.array(rows, np.float32) / (1, SIZE, SIZE, SIZE, SIZE)


def _batch(
    samples: list[tuple[NDArray[np.uint8], NDArray[np.float32]]], rng: random.Random
) -> dict[str, Any]:
    images, rows, numbers = [], [], []
    for number, (picture, given) in enumerate(samples):
        mirrored, boxes = rng.random() < 0.5, given.copy()
        images.append(picture[:, ::-1] if mirrored else picture)
        if mirrored:
            boxes[:, 1] = 1 - boxes[:, 1]
        rows.append(boxes)
        numbers += [number] * len(boxes)
    table = torch.from_numpy(np.concatenate(rows)).float()
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    return {
        "img": pixels,
        "cls": table[:, :1],
        "bboxes": table[:, 1:],
        "batch_idx": torch.tensor(numbers).float(),
    }
