"""Pictures with their settings: Concord Load Image Settings and Concord Save Image."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from ..core.errors import BadFile, BadValue
from ..core.filled import filled
from ..core.image import (
    Generation,
    format_infotext,
    read_comfyui_graph,
    read_image_info,
    read_infotext,
    save_image,
)
from ..core.image.exif import GRAPH_TAGS
from ..core.image.file_names import MARKS, fill_pattern, free_path
from ..core.profile_choice import profile_named
from ..core.profile_choice import with_profile as under_profile
from ..core.seeds import image_of as record_of
from .host import folder_paths, io, samplers, schema
from .wires import RECORD, image_of, listed, pixels_of

log = logging.getLogger(__name__)
FORMATS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a picture's record says, each as a stock node takes it."""

    prompt: str
    negative: str
    steps: int
    cfg: float
    seed: int
    sampler_name: str
    scheduler: str
    width: int
    height: int
    clip_skip: int
    clip_layer: int
    denoise: float
    model_name: str


def with_profile(record: Generation) -> Generation:
    """Return ``record`` under the profile that it names, or that of the program that made it, where there is one."""
    return record if profile_named(record) is None else under_profile(record)


def settings_of(record: Generation, size: tuple[int, int], files: list[str]) -> Settings:
    """Return what ``record`` says; what it leaves open is as its program has it.

    ``size``: (width, height) of the picture, where the record has none.  ``files``: checkpoints there are.
    Raises ``BadValue`` for names of samplers that nobody knows.
    """
    seed = record.seed or 0
    whole = filled(replace(record, seed=seed, variation=None))
    width, height = record.size or size
    skip = record.clip_skip or 1
    name = (record.model and record.model.name) or ""
    model = next((file for file in files if _stem(file) == _stem(name)), name)
    strength = 1.0 if record.denoising_strength is None else record.denoising_strength
    return Settings(
        prompt=record.prompt,
        negative=record.negative_prompt,
        steps=whole.steps or 0,
        cfg=whole.cfg or 0.0,
        seed=seed,
        sampler_name=listed(whole.sampler or "", samplers.KSampler.SAMPLERS),
        scheduler=listed(whole.scheduler or "", samplers.KSampler.SCHEDULERS),
        width=width,
        height=height,
        clip_skip=skip,
        clip_layer=-skip,
        denoise=strength,
        model_name=model,
    )


def _stem(name: str) -> str:
    file = PurePosixPath(name.replace("\\", "/")).name
    for ending in (".safetensors", ".ckpt", ".pt", ".gguf"):
        file = file.removesuffix(ending)
    return file.casefold()


class LoadImageSettings(io.ComfyNode):
    """Concord Load Image Settings."""

    @classmethod
    def define_schema(cls) -> Any:
        """Return the schema."""
        folder = Path(folder_paths.get_input_directory())
        files = [str(path.relative_to(folder).as_posix()) for path in folder.rglob("*") if path.is_file()]
        pictures = sorted(folder_paths.filter_files_content_types(files, ["image"]))
        return schema(
            node_id="ConcordLoadImageSettings",
            display_name="Concord Load Image Settings",
            category="Concord/image",
            description="Reads how a picture was made, from the web UIs, ComfyUI, NovelAI or civitai.",
            search_aliases=["png info", "read metadata", "infotext", "prompt reader", "a1111"],
            inputs=[
                io.Combo.Input(
                    "image",
                    options=pictures,
                    upload=io.UploadType.image,
                    tooltip="A picture as the program that made it saved it: PNG, JPEG, WebP or AVIF.",
                )
            ],
            outputs=[
                io.Image.Output("picture", display_name="IMAGE", tooltip="The picture itself."),
                RECORD.Output("record", display_name="record", tooltip="Everything, for Concord's nodes."),
                io.String.Output("prompt", display_name="prompt"),
                io.String.Output("negative", display_name="negative"),
                io.Int.Output("steps", display_name="steps"),
                io.Float.Output("cfg", display_name="cfg"),
                io.Int.Output("seed", display_name="seed"),
                io.AnyType.Output("sampler_name", display_name="sampler_name"),
                io.AnyType.Output("scheduler", display_name="scheduler"),
                io.Int.Output("width", display_name="width"),
                io.Int.Output("height", display_name="height"),
                io.Int.Output("clip_skip", display_name="clip_skip", tooltip="As the web UIs count: 1, 2 …"),
                io.Int.Output(
                    "clip_layer", display_name="clip_layer", tooltip="For CLIP Set Last Layer: -1, -2 …"
                ),
                io.Float.Output(
                    "denoise", display_name="denoise", tooltip="Of image to image or the hires pass; else 1."
                ),
                io.AnyType.Output(
                    "model_name", display_name="model_name", tooltip="For a checkpoint loader."
                ),
                io.String.Output("infotext", display_name="infotext", tooltip="The text that A1111 shows."),
            ],
        )

    @classmethod
    def execute(cls, image: str) -> Any:
        """Read the picture."""
        path = Path(folder_paths.get_annotated_filepath(image))
        record = with_profile(read_image_info(path))
        with Image.open(path) as opened:
            picture = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
        size = (picture.shape[1], picture.shape[0])
        found = settings_of(record, size, folder_paths.get_filename_list("checkpoints"))
        text = read_infotext(path) or format_infotext(record)
        values = dataclasses.astuple(found)
        return io.NodeOutput(image_of([picture]), record, *values, text, ui={"text": [text]})

    @classmethod
    def fingerprint_inputs(cls, image: str) -> str:
        """Return a digest of the file, so that a changed one is read again."""
        return hashlib.sha256(Path(folder_paths.get_annotated_filepath(image)).read_bytes()).hexdigest()

    @classmethod
    def validate_inputs(cls, image: str) -> bool | str:
        """Tell whether the picture is there."""
        return bool(folder_paths.exists_annotated_filepath(image)) or (
            f"there is no picture {image!r} in ComfyUI's input folder; upload it again"
        )


class SaveImage(io.ComfyNode):
    """Concord Save Image."""

    @classmethod
    def define_schema(cls) -> Any:
        """Return the schema."""
        marks = " ".join(f"%{mark}%" for mark in MARKS)
        return schema(
            node_id="ConcordSaveImage",
            display_name="Concord Save Image",
            category="Concord/image",
            description="Saves pictures with the text that the web UIs and civitai read, and with the workflow.",
            search_aliases=["save metadata", "infotext", "civitai", "a1111 metadata", "save jpeg webp"],
            inputs=[
                io.Image.Input("images", tooltip="One picture or a batch."),
                io.String.Input(
                    "filename",
                    default="Concord/%date%/%seed%",
                    tooltip=f"Name below ComfyUI's output folder. Known marks: {marks}; %date:yyyy-MM-dd hh.mm.ss%.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(FORMATS),
                    default="png",
                    tooltip="JPEG and WebP are smaller; PNG keeps every value and all metadata.",
                ),
                io.Boolean.Input(
                    "workflow",
                    default=True,
                    tooltip="Put the workflow in too, so that the file can be dropped on ComfyUI.",
                ),
                RECORD.Input(
                    "record",
                    optional=True,
                    tooltip="How the pictures were made; without it, it is read from the graph of stock nodes.",
                ),
            ],
            outputs=[io.String.Output("infotext", display_name="infotext", tooltip="Of the first picture.")],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        images: Tensor,
        filename: str,
        format: str,
        workflow: bool,
        record: Generation | None = None,
    ) -> Any:
        """Save the pictures."""
        pictures = pixels_of(images)
        records = records_of(record, len(pictures), cls.hidden.prompt)
        chunks = chunks_of(cls.hidden.prompt, cls.hidden.extra_pnginfo, format) if workflow else {}
        if import_module("comfy.cli_args").args.disable_metadata:
            records, chunks = [Generation()] * len(pictures), {}
        now, folder = datetime.now(), Path(folder_paths.get_output_directory())
        saved = []
        for i, (picture, one) in enumerate(zip(pictures, records, strict=True)):
            named = one if one.size else replace(one, size=(picture.shape[1], picture.shape[0]))
            name = fill_pattern(filename, named, now=now, place=i)
            path = free_path(folder, name, FORMATS[format])
            saved.append(_written(path, picture, one, chunks).relative_to(folder))
        shown = [{"filename": at.name, "subfolder": at.parent.as_posix(), "type": "output"} for at in saved]
        return io.NodeOutput(format_infotext(records[0]), ui={"images": shown})


def records_of(
    record: Generation | None, batch: int, prompt: Mapping[str, Any] | None = None
) -> list[Generation]:
    """Return the record of each picture of a batch; without one, what the queued graph ``prompt`` says."""
    if record is None:
        try:
            record = read_comfyui_graph(prompt or {}).generation
        except BadValue:
            return [Generation()] * batch
    return [record_of(record, i, batch) for i in range(batch)]


def chunks_of(
    prompt: Mapping[str, Any] | None, more: Mapping[str, Any] | None, format: str
) -> dict[str, str]:
    """Return ComfyUI's own texts by name, as a file of ``format`` can hold them."""
    texts = {"prompt": prompt, **(more or {})}
    kept = {name: json.dumps(value) for name, value in texts.items() if value is not None}
    return kept if format == "png" else {name: text for name, text in kept.items() if name in GRAPH_TAGS}


def _written(path: Path, picture: Any, record: Generation, chunks: Mapping[str, str]) -> Path:
    """Write the file; a JPEG whose workflow is too long for it does without."""
    try:
        return save_image(path, picture, record, chunks)
    except BadFile:
        raise
    except BadValue as error:
        if path.suffix != ".jpg" or not chunks:
            raise
        log.warning("%s is saved without its workflow: %s", path.name, error)
        return save_image(path, picture, record)


NODES: list[type] = [LoadImageSettings, SaveImage]
