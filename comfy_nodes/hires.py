"""Concord Hires: the second, larger pass of the web UIs' hires fix."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..core.errors import BadValue
from ..core.image.generation import Generation
from ..core.image.hires import HiresSize, cut_latent, hires_size
from ..core.image.keys import REFINED
from ..core.image.parts import Hires
from ..core.image.upscale import LATENT_UPSCALERS, RESAMPLERS, upscale_image, upscale_latent
from ..core.image.upscalers import find_upscaler
from ..core.run import DEFAULT_STRENGTH
from ..core.sampling import SAMPLERS
from ..core.sigmas import SCHEDULERS
from .host import folder_paths, io, schema
from .passes import Drawn, Second, draw
from .records import bare, file_above
from .rig import Rig
from .sampling import AUTOMATIC, MAX_SIDE, check_vae, output_of, prompt_inputs, samples_of
from .wires import RECORD, REFINER

SAME = "as the first pass"
FOLDER = "upscale_models"
_SAME_CHECKPOINT = ("Use same checkpoint", "")


class HiresNode(io.ComfyNode):
    """Concord Hires."""

    @classmethod
    def define_schema(cls) -> Any:
        """Return the schema."""
        files = [Path(name).stem for name in folder_paths.get_filename_list(FOLDER)]
        return schema(
            node_id="ConcordHires",
            display_name="Concord Hires",
            category="Concord/sampling",
            description="Enlarges what Concord Sampler made and draws over it, as the web UIs' hires fix does.",
            search_aliases=["hires fix", "highres fix", "upscale latent", "second pass"],
            inputs=[
                io.Model.Input("model", tooltip="The model of this pass; it may be another one."),
                io.Clip.Input("clip", tooltip="Its text encoder."),
                io.Latent.Input("latent", tooltip="The LATENT of Concord Sampler."),
                RECORD.Input("record", tooltip="The record of Concord Sampler."),
                io.Combo.Input(
                    "upscaler",
                    options=[*LATENT_UPSCALERS, *RESAMPLERS, *files],
                    default="Latent",
                    tooltip="What enlarges; those of pictures need the VAE, files lie in models/upscale_models.",
                ),
                io.Float.Input(
                    "upscale", default=2.0, min=1.0, max=8.0, step=0.05, tooltip="How many times larger."
                ),
                io.Int.Input(
                    "width",
                    default=0,
                    min=0,
                    max=MAX_SIDE,
                    step=8,
                    tooltip="In place of the factor; 0 follows.",
                ),
                io.Int.Input(
                    "height",
                    default=0,
                    min=0,
                    max=MAX_SIDE,
                    step=8,
                    tooltip="In place of the factor; 0 follows.",
                ),
                io.Int.Input("steps", default=0, min=0, max=10000, tooltip="0: as many as the first pass."),
                io.Float.Input(
                    "denoise",
                    default=0.7,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Strength; latents want 0.5 or more.",
                ),
                io.Combo.Input("sampler", options=[SAME, *SAMPLERS], default=SAME, tooltip="Of this pass."),
                io.Combo.Input(
                    "scheduler", options=[SAME, AUTOMATIC, *SCHEDULERS], default=SAME, tooltip="Of this pass."
                ),
                io.Float.Input(
                    "cfg", default=0.0, min=0.0, max=100.0, step=0.1, tooltip="0: as in the first pass."
                ),
                *prompt_inputs(),
                io.Vae.Input(
                    "vae", optional=True, tooltip="For upscalers of pictures, and for the IMAGE output."
                ),
                RECORD.Input(
                    "settings",
                    optional=True,
                    tooltip="A picture's record: its hires settings count, not the widgets.",
                ),
                REFINER.Input(
                    "refiner", optional=True, tooltip="A second model that takes over in this pass."
                ),
            ],
            outputs=[
                io.Latent.Output("latents", display_name="LATENT"),
                RECORD.Output("made", display_name="record"),
                io.Image.Output(
                    "images", display_name="IMAGE", tooltip="The pictures, where a VAE is wired."
                ),
                io.String.Output("warnings", display_name="warnings"),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        latent: dict[str, Any],
        record: Generation,
        vae: Any = None,
        settings: Generation | None = None,
        refiner: Second | None = None,
        **widgets: Any,
    ) -> Any:
        """Run the pass."""
        rig = Rig(model=widgets.pop("model"), clip=widgets.pop("clip"), vae=vae)
        check_vae(rig, cls.hidden)
        strength = widgets.pop("denoise")
        hires = hires_of(**widgets)
        if settings is not None:
            if settings.hires is None:
                raise BadValue("the settings have no hires pass; leave them out, and the widgets count")
            hires, strength = settings.hires, _or_default(settings.denoising_strength)
        file = file_above(cls.hidden.prompt, cls.hidden.unique_id)
        whole = with_hires(record, hires, strength, file, refiner)
        drawn = second_pass(rig, whole, samples_of(latent), refiner)
        return output_of(rig, whole, drawn)


def hires_of(
    *, upscaler: str, upscale: float, width: int, height: int, positive: str, negative: str, **same: Any
) -> Hires:
    """Return what the widgets of Concord Hires say; 0, empty texts and ``SAME`` are as in the first pass."""
    resize = (width, height) if width or height else None
    sampler, scheduler = (None if same[key] == SAME else bare(same[key]) for key in ("sampler", "scheduler"))
    return Hires(
        upscale=None if resize else upscale,
        resize=resize,
        upscaler=upscaler,
        steps=same["steps"] or None,
        sampler=sampler,
        scheduler=scheduler,
        cfg=same["cfg"] or None,
        prompt=positive or None,
        negative_prompt=negative or None,
    )


def with_hires(
    record: Generation, hires: Hires, strength: float, file: str | None, second: Second | None
) -> Generation:
    """Return the first pass's ``record`` with a hires pass of ``hires``, and with the refiners of both.

    ``file``: of the model, recorded where it is another one.
    """
    if hires.upscale is None and not any(hires.resize or ()):
        hires = replace(hires, upscale=2.0)
    name = Path(file.replace("\\", "/")).stem if file else None
    first = record.model.name if record.model else None
    hires = replace(
        hires,
        upscaler=hires.upscaler or "Latent",
        steps=hires.steps or None,
        checkpoint=name if name != first else None,
    )
    refiner = record.refiner
    if second is not None:
        refiner = replace(second.settings, passes=REFINED[0] if refiner is None else REFINED[2])
    elif refiner is not None:
        refiner = replace(refiner, passes=REFINED[1])
    return replace(record, hires=hires, denoising_strength=strength, refiner=refiner)


def size_of(record: Generation, latent: Tensor) -> HiresSize:
    """Return the sizes of both passes; ``latent``: what the first made.  Raises ``BadValue`` for one too small."""
    assert record.hires
    first = (latent.shape[3] * 8, latent.shape[2] * 8)
    resize = record.hires.resize
    if resize is not None and any(resize):
        size = hires_size(first, resize=resize)
    else:
        size = hires_size(first, upscale=record.hires.upscale or 2.0)
    if min(size.final) < 8:
        raise BadValue(f"the hires pass would be {size.final[0]}x{size.final[1]}; pass 8x8 or more")
    return size


def second_pass(rig: Rig, record: Generation, latent: Tensor, second: Second | None) -> Drawn:
    """Return the latents of the hires pass of ``record`` over those of the first."""
    hires = record.hires
    assert hires
    size, name = size_of(record, latent), hires.upscaler or "Latent"
    if name in LATENT_UPSCALERS:
        larger = upscale_latent(latent, size.latent, name)
    else:
        folders = [Path(folder) for folder in folder_paths.get_folder_paths(FOLDER)]
        upscaler = find_upscaler(name, folders, device=rig.device)
        larger = rig.encoded([upscale_image(one, size.to, upscaler) for one in rig.levels(latent)])
    larger = cut_latent(larger, size.cut).contiguous()
    run = replace(
        record,
        prompt=hires.prompt or record.prompt,
        negative_prompt=hires.negative_prompt or record.negative_prompt,
    )
    return draw(rig, run, "hires", batch=len(latent), latent=larger, second=second)


def _or_default(strength: float | None) -> float:
    return DEFAULT_STRENGTH if strength is None else strength


NODES: list[type] = [HiresNode]
