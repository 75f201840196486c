"""Read what a picture file holds of how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import BadFile, BadValue
from .civitai import generation_of_json
from .comfyui_graph import read_comfyui_graph
from .exif import EXIF_POINTER, GRAPH_TAGS, USER_COMMENT, comment_text, graph_texts
from .files import KEY
from .generation import Generation
from .infotext import parse_infotext
from .novelai import SOFTWARE, novelai_fields, novelai_generation, novelai_infotext
from .stealth import stealth_text

_LOSSLESS = ("PNG", "WEBP")


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What a picture file holds: ``texts`` by the names of their chunks, and the EXIF user ``comment``.

    ``hidden``: text in the lowest bits, looked for only where there is nothing else.
    """

    size: tuple[int, int]
    comment: str = ""
    texts: Mapping[str, str] = field(default_factory=dict[str, str])
    hidden: str = ""

    @property
    def holds_settings(self) -> bool:
        """Tell whether there is something that says how the picture was made."""
        return bool(
            self.comment or self.texts.get("Software") == SOFTWARE or {KEY, *GRAPH_TAGS} & set(self.texts)
        )

    @property
    def infotext(self) -> str | None:
        """Return the text that A1111 shows; None when there is none."""
        text = self.comment or self.texts.get(KEY) or None
        text = novelai_infotext(self.texts, self.size) or text
        if text is None and self.hidden:
            fields = novelai_fields(self.hidden)
            return self.hidden if fields is None else novelai_infotext(fields, self.size)
        return text

    @property
    def generation(self) -> Generation | None:
        """Return the record; None when there is none, or only what nobody can read."""
        fields = novelai_fields(self.hidden)
        if fields is None and self.texts.get("Software") == SOFTWARE:
            fields = self.texts
        if fields is not None and (found := novelai_generation(fields, self.size)):
            return found
        text = self.comment or self.texts.get(KEY) or self.hidden
        if text:
            found = generation_of_json(text) if text.lstrip()[:1] == "{" else None
            return found or parse_infotext(text)
        try:
            return read_comfyui_graph(self.texts["prompt"]).generation if "prompt" in self.texts else None
        except BadValue:
            return None


def read_infotext(path: str | Path) -> str | None:
    """Return the infotext of a picture file, where the web UIs look for it; None when it has none.

    NovelAI's fields become the text that A1111 makes of them.  Raises ``BadFile`` when the file cannot be read
    as a picture.
    """
    return read_stored(path).infotext


def read_chunks(path: str | Path) -> dict[str, str]:
    """Return the texts of a picture file by name, the infotext's own left out.

    Those are a PNG's text chunks, and ComfyUI's ``prompt`` and ``workflow`` of any file.  Raises as
    ``read_infotext``.
    """
    return {name: text for name, text in read_stored(path).texts.items() if name != KEY}


def read_image_info(path: str | Path) -> Generation:
    """Return the generation record of a picture file.

    Read are infotexts of the web UIs, NovelAI's fields and hidden text, civitai's JSON, and where there is
    none of these ComfyUI's graph.  Raises ``BadFile`` when the file cannot be read as a picture, or holds
    nothing of the kind.
    """
    stored = read_stored(path)
    found = stored.generation
    if found is None:
        graph = next((name for name in ("prompt", "workflow") if name in stored.texts), None)
        held = f"only a ComfyUI {graph} that names no known sampler" if graph else "no generation settings"
        if graph == "workflow":
            held = "ComfyUI's workflow without the prompt that was run"
        raise BadFile(f"{path} holds {held}; pass a picture as the program that made it saved it")
    return found


def read_stored(path: str | Path) -> Stored:
    """Return all that a picture file holds of how it was made; raises as ``read_infotext``."""
    try:
        with Image.open(path) as image:
            return _stored(image)
    except FileNotFoundError as error:
        raise BadFile(f"{path} does not exist; check the path") from error
    except Exception as error:  # on a damaged file each of Pillow's readers raises what it likes
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadFile(f"{path} cannot be read as a picture ({reason}); check that it is whole") from error


def _stored(image: Image.Image) -> Stored:
    """Return what an opened picture holds; raises what Pillow raises."""
    png = image.format == "PNG"
    if png and KEY not in image.info:
        image.load()  # text that stands after the pixels is found only now
    info = {str(name): value for name, value in image.info.items()}
    kept = {name: str(value) for name, value in info.items() if png and isinstance(value, str)}
    if image.format == "GIF" and isinstance(comment := info.get("comment"), bytes):
        kept = {KEY: comment.decode("utf-8", "replace")}
    comment = ""
    if not png or "exif" in image.info:
        comment, graphs = _exif(image)
        kept = {**graphs, **kept}
    stored = Stored(size=image.size, comment=comment, texts=kept)
    if image.format in _LOSSLESS and image.mode in ("RGB", "RGBA") and not stored.holds_settings:
        hidden = stealth_text(np.asarray(image))
        stored = Stored(size=image.size, comment=comment, texts=kept, hidden=hidden or "")
    return stored


def _exif(image: Image.Image) -> tuple[str, dict[str, str]]:
    """Return the EXIF user comment and graphs; nothing when there are none, or when the EXIF part is damaged."""
    try:
        exif = image.getexif()
        comment = exif.get_ifd(EXIF_POINTER).get(USER_COMMENT)
        graphs = graph_texts(dict(exif))
    except Exception:  # as above
        return "", {}
    return comment_text(comment) if isinstance(comment, bytes) else "", graphs
