"""What the script "Concord Reproduce" does: draw what is asked for, compare it, and hand it to the host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from ..core.errors import BadValue
from ..core.filled import filled, profile_of
from ..core.image.generation import Generation
from ..core.image.infotext import format_infotext
from ..core.profile_choice import borrowed
from ..core.same_picture import report
from ..core.seeds import batch_of
from .drawn_as import Drawn, check, draw, load_model
from .host import images, processing, shared
from .reproduce import TAB, TITLE
from .reproduce_source import Asked, asked, init_image


def drawn_again(p: Any, source: str, profile: str | None, text: str, file: Any) -> Any:
    """Return the host's answer: the pictures of what is asked for, and how far they are from the file.

    ``profile``: None for that of the program that made the picture.  Raises ``ConcordError`` before anything runs.
    """
    processing.fix_seed(p)
    load_model()
    wanted = asked(p, source, profile, text, file)
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
