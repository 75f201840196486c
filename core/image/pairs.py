"""The text level of an infotext: prompt, negative prompt, and the line of ``Key: value`` pairs."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable

NEGATIVE = "Negative prompt:"

# A1111's expression, begun only where a run of key characters begins: the same pairs, in linear time.
_PAIR = re.compile(r'(?<![\w \-/])[ \-/]*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_KEY = re.compile(r"[\s,:]*([^:,]+)")
_HOST_KEY = re.compile(r"\w[\w \-/]*$")
_VALUE = re.compile(r'\s*("(?:\\.|[^\\"])+"(?=\s*(?:,|$))|[^,]*)')
_JSON = json.JSONDecoder()
_LONGEST_KEY = 60


def quote(value: object) -> str:
    """Return ``value`` as an infotext holds it: a JSON string if it has a comma, colon or line end.

    Source: A1111 1.9.4; tests/golden/infotext/quote.jsonl.gz.
    """
    text = str(value)
    if "," in text or "\n" in text or ":" in text:
        return json.dumps(text, ensure_ascii=False)
    return text


def unquote(text: str) -> str:
    """Return what ``quote`` was given; text that is not a JSON string is returned as it is."""
    if not (text.startswith('"') and text.endswith('"')):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, str) else text


def split_text(text: str) -> tuple[str, str, str]:
    """Return (prompt, negative prompt, line of settings) of an infotext, by A1111's rules.

    The last line is settings when it holds at least three pairs, else it belongs to the prompt.  Each line is
    stripped, and blank lines before the first word of a prompt are lost.
    """
    lines = text.strip().split("\n")
    settings = lines.pop() if len(_PAIR.findall(lines[-1])) >= 3 else ""
    prompt: list[str] = []
    negative: list[str] = []
    current = prompt
    for line in lines:
        part = line.strip()
        if part.startswith(NEGATIVE):
            current = negative
            part = part[len(NEGATIVE) :].strip()
        if part or current:
            current.append(part)
    return "\n".join(prompt), "\n".join(negative), settings


def host_pairs(line: str) -> list[tuple[str, str]]:
    """Return the pairs that A1111 finds in a line of settings, values as written."""
    return _PAIR.findall(line)


def read_pairs(line: str, known: Container[str]) -> list[tuple[str, str]]:
    """Return every pair of a line of settings, values unquoted, with nothing lost.

    Beyond what A1111 finds: JSON arrays and objects are one value (civitai), keys may be of any form
    (``X: 1``, ``foo.bar: 1``), and a bare word is a pair of a key equal to its value.  A key in ``known`` is
    found behind a stray sign too (``(Steps: 20``), as A1111 does.  Never raises.
    """
    pairs: list[tuple[str, str]] = []
    position = 0
    while match := _KEY.match(line, position):
        key, position = match[1].strip(), match.end()
        value = key
        if line.startswith(":", position):
            value, position = _value(line, position + 1)
        if key:
            pairs.append((_cut_free(key, known), value))
    return pairs


def _cut_free(key: str, known: Container[str]) -> str:
    tail = _HOST_KEY.search(key[-_LONGEST_KEY:])
    return tail[0] if tail and key not in known and tail[0] in known else key


def _value(line: str, start: int) -> tuple[str, int]:
    """Return the value that stands at ``start``, unquoted, and where it ends."""
    match = _VALUE.match(line, start)
    value, end = (match[1], match.end()) if match else ("", start)
    if value[:1] in ("[", "{"):
        begin = end - len(value)
        try:
            _, after = _JSON.raw_decode(line, begin)
        except (ValueError, RecursionError):
            after = end
        if line[after:].lstrip()[:1] in ("", ","):
            value, end = line[begin:after], after
    return unquote(value.strip()), end


def join_text(prompt: str, negative: str, settings: str) -> str:
    """Return the infotext of these three parts; an empty negative prompt has no line."""
    negative_line = f"\n{NEGATIVE} {negative}" if negative else ""
    return f"{prompt}{negative_line}\n{settings}".strip()


def join_pairs(pairs: Iterable[tuple[str, str]]) -> str:
    """Return the line of settings for ``pairs``; a value equal to its key is written as the bare key."""
    return ", ".join(key if key == value else f"{key}: {quote(value)}" for key, value in pairs)
