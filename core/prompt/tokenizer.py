"""The CLIP tokenizer in the three forms that hosts have, offline.

They share the byte-pair merges and differ in what happens to the text before: mended by ftfy, cleaned as
BERT does, or only brought to NFC.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Literal, Protocol, cast

import regex

from ..errors import Missing, unknown
from .bpe import split_word, token_bytes

Variant = Literal["a1111", "no-ftfy", "rust"]

BOS_TEXT, EOS_TEXT = "<|startoftext|>", "<|endoftext|>"
_SPECIAL = re.compile(r"(<\|startoftext\|>|<\|endoftext\|>)")
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_WORD = regex.compile(_WORDS, regex.IGNORECASE)
_WORD_OR_SPECIAL = regex.compile(r"<\|startoftext\|>|<\|endoftext\|>|" + _WORDS, regex.IGNORECASE)
_SPACE = re.compile(r"\s+")
_NOTHING_TO_MEND = re.compile(r"[\n\t -%'-~]*")  # printable ASCII without "&", which may begin an HTML entity
_REMEMBERED = 1 << 16
_LONGEST_REMEMBERED = 64


class Tokenizer(Protocol):
    """What the prompt core asks of a tokenizer; ids are plain integers."""

    bos: int
    eos: int
    pad: int
    size: int

    def encode(self, text: str) -> list[int]:
        """Return the ids of ``text`` without BOS and EOS; never raises on any text."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """Return readable text of ``ids``, words parted by spaces."""
        ...


class ClipTokenizer:
    """The byte-pair tokenizer of CLIP (49,408 tokens), words of at most 64 letters remembered."""

    def __init__(
        self, prepare: Callable[[str], str], words: regex.Pattern[str], pad: int | None = None
    ) -> None:
        """Make a tokenizer from a text preparation and a word pattern; ``pad`` is EOS unless given."""
        self.size = len(token_bytes()) + 2
        self.bos, self.eos = self.size - 2, self.size - 1
        self.pad = self.eos if pad is None else pad
        self._prepare = prepare
        self._words = words
        self._known: dict[str, list[int]] = {BOS_TEXT: [self.bos], EOS_TEXT: [self.eos]}

    def encode(self, text: str) -> list[int]:
        """Return the ids of ``text`` without BOS and EOS; special tokens typed in the text are honoured."""
        ids: list[int] = []
        for i, piece in enumerate(_SPECIAL.split(text)):
            words = [piece] if i % 2 else cast("list[str]", self._words.findall(self._prepare(piece)))
            for word in words:
                ids += self._known.get(word) or self._split(word)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Return readable text of ``ids``; bytes that are no UTF-8 show as the replacement sign."""
        table = token_bytes()
        special = {self.bos: f"{BOS_TEXT} ".encode(), self.eos: f"{EOS_TEXT} ".encode()}
        raw = b"".join(special[i] if i in special else table[i] for i in ids)
        return raw.decode("utf-8", errors="replace").rstrip(" ")

    def _split(self, word: str) -> list[int]:
        ids = split_word(word.encode("utf-8", errors="replace"))
        if len(word) <= _LONGEST_REMEMBERED and len(self._known) < _REMEMBERED:
            self._known[word] = ids
        return ids


def _mended(text: str) -> str:
    """Mend ``text`` with ftfy, as A1111 does, join runs of white space and lower-case."""
    if not _NOTHING_TO_MEND.fullmatch(text):
        try:
            import ftfy  # noqa: PLC0415
        except ImportError as error:
            raise Missing(
                "ftfy is not installed; A1111's tokenizer needs it for this text; run: pip install ftfy"
            ) from error
        text = ftfy.fix_text(text)
    return _SPACE.sub(" ", text).strip().lower()


def _is_cjk(char: str) -> bool:
    """Tell whether ``char`` is in one of the blocks of Chinese characters that BERT puts spaces round."""
    code = ord(char)
    return (
        0x4E00 <= code <= 0x9FFF
        or 0x3400 <= code <= 0x4DBF
        or 0x20000 <= code <= 0x2A6DF
        or 0x2A700 <= code <= 0x2B73F
        or 0x2B740 <= code <= 0x2B81F
        or 0x2B820 <= code <= 0x2CEAF
        or 0xF900 <= code <= 0xFAFF
        or 0x2F800 <= code <= 0x2FA1F
    )


def _cleaned_char(char: str) -> str:
    if char in "\t\n\r" or unicodedata.category(char) == "Zs":
        return " "
    if char in "\0\ufffd" or unicodedata.category(char).startswith("C"):
        return ""
    return f" {char} " if _is_cjk(char) else char


def _bert_cleaned(text: str) -> str:
    """Drop control characters, put spaces round Chinese characters, bring to NFC and lower-case.

    Source: the cleaning of Devlin et al.  2019 (arXiv:1810.04805), without accent stripping and
    punctuation splitting.
    """
    cleaned = "".join(map(_cleaned_char, text))
    return " ".join(word.lower() for word in unicodedata.normalize("NFC", cleaned).split())


def _normalized(text: str) -> str:
    """Bring to NFC, join runs of white space and lower-case each character by itself."""
    joined = _SPACE.sub(" ", unicodedata.normalize("NFC", text))
    return joined.lower() if joined.isascii() else "".join(char.lower() for char in joined)


_VARIANTS: dict[str, tuple[Callable[[str], str], regex.Pattern[str]]] = {
    "a1111": (_mended, _WORD_OR_SPECIAL),
    "no-ftfy": (_bert_cleaned, _WORD_OR_SPECIAL),
    "rust": (_normalized, _WORD),
}


@lru_cache(maxsize=8)
def clip_tokenizer(variant: Variant = "a1111", pad: int | None = None) -> ClipTokenizer:
    """Return the CLIP tokenizer of SD1.5 and SDXL, offline.

    ``variant``: ``"a1111"`` mends the text with ftfy (A1111, Forge, diffusers on transformers 4 with
    ftfy); ``"no-ftfy"`` cleans it as BERT does (transformers 4 without ftfy); ``"rust"`` only normalizes
    it (transformers 5, ComfyUI on it).  ``pad``: the padding token, EOS unless given; CLIP-G has 0.
    Raises ``BadValue`` for another variant.
    """
    if variant not in _VARIANTS:
        raise unknown("tokenizer variant", variant, _VARIANTS)
    prepare, words = _VARIANTS[variant]
    return ClipTokenizer(prepare, words, pad)
