"""The timeline of an explanation as a picture: calls across, texts down."""

from __future__ import annotations

import colorsys

from PIL import Image, ImageDraw, ImageFont

from .explain import Explanation, PartView, PassView, spans

LABELS, BAR, ROW, MARGIN = 360, 560, 26, 14
INK, FAINT, GRID, PAPER = (30, 30, 36), (130, 130, 140), (220, 220, 226), (255, 255, 255)
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
MOST_ROWS = 200


def as_picture(explanation: Explanation) -> Image.Image:
    """Return the timeline, RGB, one row a text, at most 200 of them."""
    rows = [row for one in explanation.passes for row in _rows(one)][:MOST_ROWS]
    image = Image.new("RGB", (LABELS + BAR + 3 * MARGIN, ROW * (len(rows) + 1) + 2 * MARGIN), PAPER)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(14)
    for i, (label, part, index, calls) in enumerate(rows):
        top = MARGIN + i * ROW
        draw.text((MARGIN, top + 4), _fitted(label, draw, font), fill=INK, font=font)
        if part is None:
            _axis(draw, top, calls, font)
        else:
            _bar(draw, part, index, top, calls)
    return image


def _rows(one: PassView) -> list[tuple[str, PartView | None, int, int]]:
    rows: list[tuple[str, PartView | None, int, int]] = []
    rows.append((f"{one.name}: {one.steps} steps, {one.calls} model calls", None, 0, one.calls))
    for number, part in enumerate(one.parts, start=1):
        if len(one.parts) > 1:
            rows.append((f"AND part {number}, weight {part.weight:g}", None, 0, one.calls))
        for i, text in enumerate(part.texts):
            networks = "".join(f" <{name}>" for name in text.networks)
            rows.append((f"{text.name}  {' '.join(text.text.split())}{networks}", part, i, one.calls))
    return rows


def _bar(draw: ImageDraw.ImageDraw, part: PartView, index: int, top: int, calls: int) -> None:
    left, step = LABELS + 2 * MARGIN, BAR / calls
    draw.rectangle((left, top + 3, left + BAR, top + ROW - 4), outline=GRID)
    for first, last, share in spans(part.calls, index):
        box = (left + first * step, top + 3, left + (last + 1) * step, top + ROW - 4)
        draw.rectangle(box, fill=_color(index, share))
    if calls <= 60:
        for call in range(1, calls):
            x = left + call * step
            draw.line((x, top + ROW - 7, x, top + ROW - 4), fill=PAPER)


def _axis(draw: ImageDraw.ImageDraw, top: int, calls: int, font: Font) -> None:
    """Write the numbers of some calls above the bars."""
    left, step = LABELS + 2 * MARGIN, BAR / calls
    for call in range(0, calls, max(1, -(-calls // 10))):
        draw.text((left + (call + 0.5) * step, top + 6), str(call), fill=FAINT, font=font, anchor="ma")


def _color(index: int, share: float) -> tuple[int, int, int]:
    """Return the color of a text, paler where its share is less."""
    full = colorsys.hls_to_rgb((210 + index * 137) % 360 / 360, 0.5, 0.6)
    red, green, blue = (round(255 * (1 - share * (1 - channel))) for channel in full)
    return red, green, blue


def _fitted(label: str, draw: ImageDraw.ImageDraw, font: Font) -> str:
    """Return as much of a label as fits beside the bars."""
    label = label[:200]
    while label and draw.textlength(label, font=font) > LABELS:
        label = label[: -2 if not label.endswith("…") else -3] + "…"
    return label
