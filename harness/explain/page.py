"""An explanation as one web page that needs nothing else."""

from __future__ import annotations

from html import escape

from ...core.prompt.explain import ChunkView, Explanation, PartView, PassView, spans

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222;background:#fff}
h1{font-size:1.3em}h2{font-size:1.1em;margin-top:2em}pre{white-space:pre-wrap;background:#f4f4f6;padding:.7em}
table{border-collapse:collapse;width:100%;table-layout:fixed}td{height:1.5em;padding:0}
td.name{width:3em;font-weight:bold}.text{margin:.6em 0}.chunk{color:#666;font-size:.9em;margin-left:2em}
.chunk span{color:#222;padding:0 .15em}mark{background:#ffd7d0;border-bottom:2px solid #d33}
.warning{margin:.8em 0;padding:.5em .8em;border-left:4px solid #d33;background:#fff6f4}.code{font-weight:bold}
@media(prefers-color-scheme:dark){body{background:#1b1b1f;color:#ddd}pre{background:#28282e}.chunk span{color:#ddd}
.chunk{color:#999}.warning{background:#332423}mark{background:#633;color:#fff}}
"""


def as_page(explanation: Explanation) -> str:
    """Return the explanation as HTML."""
    body = [f"<h1>{escape(explanation.dialect)}</h1>", f"<pre>{_marked(explanation)}</pre>"]
    if explanation.template is not None:
        body.append(f"<p>made of the template</p><pre>{escape(explanation.template)}</pre>")
    if explanation.networks:
        body.append(f"<p>networks, all the time: {escape(', '.join(explanation.networks))}</p>")
    body += map(_pass, explanation.passes)
    if explanation.problem is not None:
        body.append(f'<div class="warning">{escape(explanation.problem)}</div>')
    for warning in explanation.warnings:
        said = f"{escape(warning.message)}; {escape(warning.suggestion)}"
        body.append(f'<div class="warning"><span class="code">{warning.code}</span> {said}</div>')
    head = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Prompt</title><style>{_STYLE}</style>'
    )
    return f"{head}<body>{''.join(body)}</body></html>\n"


def _marked(explanation: Explanation) -> str:
    """Return the prompt with the places of warnings marked."""
    text, out, at = explanation.prompt, "", 0
    for warning in explanation.warnings:
        start, end = max(warning.start, at), warning.end
        if start < end:
            said = escape(warning.message, quote=True)
            out += f'{escape(text[at:start])}<mark title="{said}">{escape(text[start:end])}</mark>'
            at = end
    return out + escape(text[at:])


def _pass(one: PassView) -> str:
    head = f"<h2>{one.name}: {one.steps} steps, {one.calls} model calls</h2>"
    return head + "".join(_part(part, len(one.parts)) for part in one.parts)


def _part(part: PartView, parts: int) -> str:
    head = (
        f"<p>AND part, weight {part.weight:g}: {escape(part.text)}</p>"
        if parts > 1 or part.weight != 1
        else ""
    )
    rows = "".join(
        f'<tr><td class="name">{text.name}</td>{_cells(part, i)}</tr>' for i, text in enumerate(part.texts)
    )
    texts = ""
    for text in part.texts:
        networks = f" <em>{escape(', '.join(text.networks))}</em>" if text.networks else ""
        chunks = "".join(map(_chunk, text.chunks))
        texts += f'<div class="text"><b>{text.name}</b> {escape(text.text)}{networks}{chunks}</div>'
    return f"{head}<table>{rows}</table>{texts}"


def _cells(part: PartView, index: int) -> str:
    cells, at = "", 0
    for first, last, share in spans(part.calls, index):
        cells += f'<td colspan="{first - at}"></td>' if first > at else ""
        title = f"calls {first} to {last}"
        color = f"background:hsl({_hue(index)} 60% 55% / {share:.2f})"
        cells += f'<td colspan="{last - first + 1}" title="{title}" style="{color}"></td>'
        at = last + 1
    left = len(part.calls) - at
    return cells + (f'<td colspan="{left}"></td>' if left else "")


def _hue(index: int) -> int:
    return (210 + index * 137) % 360


def _chunk(chunk: ChunkView) -> str:
    words = " ".join(
        f"<span>{escape(piece)}</span>"
        if weight == 1
        else f'<span style="background:hsl({10 if weight > 1 else 220} 80% 60% / .35)" '
        f'title="weight {weight:.4g}">{escape(piece)} <small>{weight:.4g}</small></span>'
        for piece, weight in chunk.pieces
    )
    return f'<div class="chunk">{chunk.tokens} of 75 tokens {words}</div>'
