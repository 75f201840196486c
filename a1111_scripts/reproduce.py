"""The script "Concord Reproduce": another program's picture, or the tab's, drawn under its profile and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from ..core.errors import BadValue, unknown
from ..core.filled import filled, profile_of
from ..core.image.generation import Generation
from ..core.image.infotext import format_infotext
from ..core.profile_choice import borrowed
from ..core.profiles import PROFILES
from ..core.same_picture import report
from ..core.seeds import batch_of
from .drawn_as import Drawn, check, draw, load_model
from .gradio_parts import elem_id
from .host import gr, images, processing, scripts, shared
from .reproduce_source import FILE, SOURCES, TAB, Asked, asked, init_image

TITLE = "Concord Reproduce"
AUTO = "auto"
UNVERIFIED = " (unverified)"


class ConcordReproduce(scripts.Script):
    """The script as the host's list has it."""

    def title(self) -> str:
        """Return the name in the list."""
        return TITLE

    def ui(self, is_img2img: bool) -> list[Any]:
        """Return the controls: where the settings come from, the profile, an infotext and a picture file."""
        with gr.Row():
            source = gr.Radio(
                label="Settings of",
                choices=list(SOURCES),
                value=FILE,
                elem_id=elem_id("reproduce_source", img2img=is_img2img),
            )
            profile = gr.Dropdown(
                label="Draw as (auto: as the program that made it, or this one for the tab's fields)",
                choices=[AUTO, *profile_labels()],
                value=AUTO,
                elem_id=elem_id("reproduce_profile", img2img=is_img2img),
            )
        text = gr.Textbox(
            label="Infotext",
            value="",
            lines=4,
            elem_id=elem_id("reproduce_text", img2img=is_img2img),
        )
        file = gr.File(
            label="A picture of A1111, Forge, reForge, ComfyUI or Concord: drawn again, and compared",
            elem_id=elem_id("reproduce_file", img2img=is_img2img),
        )
        return [source, profile, text, file]

    def run(self, p: Any, source: str = TAB, profile: str = AUTO, text: str = "", file: Any = None) -> Any:
        """Draw what is asked for, and say how far it is from the file; raises ``ConcordError`` before anything runs."""
        processing.fix_seed(p)
        load_model()
        wanted = asked(p, source, profile_called(profile), text, file)
        record, image, mask = init_image(p, wanted.record)
        check(record, image, mask)
        sizes = [p.batch_size] * p.n_iter if source == TAB else [_batch_of(record)]
        if record.size is None and image is None:
            record = replace(record, size=(p.width, p.height))
        shared.state.job_count = len(sizes) * (2 if record.hires else 1)
        record = filled(record)
        drawn: list[Drawn] = []
        for i, size in enumerate(sizes):
            shared.state.job = f"{i + 1} out of {len(sizes)}"
            drawn.append(draw(p, batch_of(record, i, size), batch=size, image=image, mask=mask))
            if drawn[-1].stopped:
                break
            shared.state.nextjob()
        return _answer(p, wanted, drawn)


def register() -> list[type]:
    """Return the script."""
    return [ConcordReproduce]


def profile_labels() -> list[str]:
    """Return the names of the profiles, those that are compared with no recording marked so."""
    return [name + ("" if host.verified else UNVERIFIED) for name, host in PROFILES.items()]


def profile_called(label: str | None) -> str | None:
    """Return the profile of a label or name, None for auto; raises ``BadValue`` that offers the nearest."""
    name = (label or AUTO).removesuffix(UNVERIFIED)
    if name == AUTO:
        return None
    if name not in PROFILES:
        raise unknown("profile", name, [AUTO, *PROFILES])
    return name


def _batch_of(record: Generation) -> int:
    """Return how many pictures are drawn at once: of a host that draws noise for a batch, the recorded batch."""
    own = record.concord
    if profile_of(record).noise_layout == "batch" and own and own.batch_size and own.batch_position is None:
        return own.batch_size
    return 1


def _answer(p: Any, wanted: Asked, drawn: Sequence[Drawn]) -> Any:
    """Return what the script answers with: the pictures with their records, and what is said of them."""
    records = [record for one in drawn for record in one.records]
    if not records:
        raise BadValue("nothing was drawn; ask for one picture or more")
    texts = [format_infotext(record) for record in records]
    pixels = [picture for one in drawn for picture in one.pictures]
    lines = [*borrowed(wanted.record), *wanted.notes, *(line for one in drawn for line in one.warnings)]
    if wanted.recorded is not None and not any(one.stopped for one in drawn):
        lines.insert(0, report(pixels, wanted.recorded, wanted.record, lossy=wanted.lossy).words)
    for line in lines:
        comment = getattr(p, "comment", None)
        if comment is not None:
            comment(f"{TITLE}: {line}")
    pictures = [Image.fromarray(one) for one in pixels]
    for picture, record, text in zip(pictures, records, texts, strict=True):
        picture.info["parameters"] = text
        if shared.opts.samples_save and not p.do_not_save_samples:
            images.save_image(
                picture,
                p.outpath_samples,
                "",
                record.seed,
                record.prompt,
                shared.opts.samples_format,
                info=text,
                p=p,
            )
    processed = processing.Processed(
        p,
        pictures,
        records[0].seed,
        texts[0],
        all_prompts=[record.prompt for record in records],
        all_negative_prompts=[record.negative_prompt for record in records],
        all_seeds=[record.seed for record in records],
        all_subseeds=[-1 for _ in records],
        infotexts=texts,
    )
    processed.extra_generation_params = {TITLE: "; ".join(lines)}  # the API has no comments
    return processed
