"""The CLIP tokenizer: its vocabulary, its three variants, long words, decoding."""

from __future__ import annotations

import hashlib
import sys
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sd_concord.core.errors import BadValue, Missing
from sd_concord.core.prompt import clip_tokenizer
from sd_concord.core.prompt.bpe import merge_pairs, merge_table, split_word, token_bytes


def test_the_merges_are_those_of_clip() -> None:
    # SHA-256 of the pairs of token numbers of bpe_simple_vocab_16e6.txt, little-endian 16-bit, left and right in turn
    raw = b"".join(
        a.to_bytes(2, "little") + b.to_bytes(2, "little") for a, b in zip(*merge_pairs(), strict=True)
    )
    assert (
        hashlib.sha256(raw).hexdigest() == "88d5677a60bb2d33e2c2b0e57fcd83b2b64fe832ff26e0395aff9a749db6f546"
    )


def test_the_special_tokens_are_clips() -> None:
    tokenizer = clip_tokenizer()
    assert (tokenizer.size, tokenizer.bos, tokenizer.eos, tokenizer.pad) == (49408, 49406, 49407, 49407)
    assert clip_tokenizer(pad=0).pad == 0


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", []),
        ("a photo of an astronaut", [320, 1125, 539, 550, 18376]),
        (",", [267]),
        ("<|endoftext|>", [49407]),
        ("a<|ENDOFTEXT|>b", [320, 49407, 321]),
    ],
)
def test_known_ids(text: str, ids: list[int]) -> None:
    assert clip_tokenizer().encode(text) == ids


@pytest.mark.parametrize(
    ("text", "same_as"),
    [("ｆｕｌｌ", "full"), ("“x”", '"x"'), ("&amp;", "&"), ("ﬁne", "fine"), ("a\r\nb", "a b")],
)
def test_ftfy_mends_the_text_in_a1111_only(text: str, same_as: str) -> None:
    assert clip_tokenizer("a1111").encode(text) == clip_tokenizer("a1111").encode(same_as)
    if text != "a\r\nb":
        assert clip_tokenizer("rust").encode(text) != clip_tokenizer("rust").encode(same_as)


def test_bert_cleaning_parts_chinese_characters() -> None:
    parted = clip_tokenizer("no-ftfy")
    assert parted.encode("日本") == parted.encode("日 本") == clip_tokenizer("rust").encode("日 本")
    assert clip_tokenizer("rust").encode("日本") != clip_tokenizer("rust").encode("日 本")


def test_plain_english_needs_no_ftfy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ftfy", None)
    assert clip_tokenizer().encode("a (red:1.2) cat,\n100%") == clip_tokenizer("rust").encode(
        "a (red:1.2) cat, 100%"
    )
    with pytest.raises(Missing, match="pip install ftfy"):
        clip_tokenizer().encode("café")


def test_an_unknown_variant_offers_the_known_ones() -> None:
    bad: Any = "a111"
    with pytest.raises(BadValue, match="did you mean a1111"):
        clip_tokenizer(bad)


def test_decoding_gives_the_words_back() -> None:
    tokenizer = clip_tokenizer()
    text = "an unbelievable 日本 castle , 8 k <|endoftext|> x"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def merge_naively(word: bytes) -> list[int]:
    """Merge the lowest pair everywhere, left to right, until none is left."""
    symbols = [token_bytes().index(bytes([b])) for b in word]
    symbols[-1] += 256
    table = merge_table()
    while made := [table[a << 16 | b] for a, b in pairwise(symbols) if a << 16 | b in table]:
        lowest, i, out = min(made), 0, []
        while i < len(symbols):
            if i + 1 < len(symbols) and table.get(symbols[i] << 16 | symbols[i + 1]) == lowest:
                out.append(lowest)
                i += 2
            else:
                out.append(symbols[i])
                i += 1
        symbols = out
    return symbols


@settings(max_examples=150, deadline=None)
@given(st.text(min_size=1, max_size=12).map(lambda text: text.encode("utf-8", errors="replace")))
def test_splitting_a_word_is_byte_pair_encoding(word: bytes) -> None:
    assert split_word(word) == merge_naively(word)


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="aeinrst", min_size=1, max_size=30).map(str.encode))
def test_splitting_a_word_with_many_merges_is_byte_pair_encoding(word: bytes) -> None:
    assert split_word(word) == merge_naively(word)


@pytest.fixture(scope="module")
def library() -> Any:
    """The tokenizer of the installed ``tokenizers`` library, made from the same merges."""
    tokenizers = pytest.importorskip("tokenizers")
    table = token_bytes()
    signs = {bytes([b]): chr(b) for b in [*range(33, 127), *range(161, 173), *range(174, 256)]}
    for number, b in enumerate(b for b in range(256) if bytes([b]) not in set(signs)):
        signs[bytes([b])] = chr(256 + number)

    def spelled(token: int) -> str:
        inner = table[token]
        ends = token >= 256 and inner.endswith(b" ")
        body = inner[:-1] if ends else inner
        return "".join(signs[bytes([b])] for b in body) + ("</w>" if ends else "")

    vocabulary = {spelled(i): i for i in range(len(table))}
    vocabulary |= {"<|startoftext|>": 49406, "<|endoftext|>": 49407}
    pairs = [(spelled(a), spelled(b)) for a, b in zip(*merge_pairs(), strict=True)]
    made = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocabulary, pairs, end_of_word_suffix="</w>", unk_token="<|endoftext|>")
    )
    normalizers, splitters = tokenizers.normalizers, tokenizers.pre_tokenizers
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(tokenizers.Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
    made.pre_tokenizer = splitters.Sequence(
        [
            splitters.Split(tokenizers.Regex(words), behavior="removed", invert=True),
            splitters.ByteLevel(add_prefix_space=False),
        ]
    )
    special = [
        tokenizers.AddedToken(t, normalized=False, special=True) for t in ("<|startoftext|>", "<|endoftext|>")
    ]
    made.add_special_tokens(special)
    return made


@settings(max_examples=300, deadline=None)
@given(
    st.text(
        alphabet=st.characters(codec="utf-8", exclude_categories=("Cs", "Cn", "Cc"))
        | st.sampled_from("aB's 'LL,.1\n\t"),
        max_size=40,
    )
)
def test_rust_variant_equals_the_library(library: Any, text: str) -> None:
    assert clip_tokenizer("rust").encode(text) == library.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize(
    "text", ["ΣΑΣ", "İi", "don't I'LL", "１２３", "\u2028x\u3000y", "<|endoftext|>a", "<|ENDOFTEXT|>"]
)
def test_rust_variant_equals_the_library_on_hard_cases(library: Any, text: str) -> None:
    assert clip_tokenizer("rust").encode(text) == library.encode(text, add_special_tokens=False).ids


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
@pytest.mark.parametrize("variant", ["a1111", "no-ftfy", "rust"])
def test_no_text_raises(variant: Any, text: str) -> None:
    assert all(0 <= i < 49408 for i in clip_tokenizer(variant).encode(text))


def test_a_word_twice_as_long_takes_about_twice_the_time() -> None:
    word = "ab" * 50_000
    began = time.process_time()
    once = len(clip_tokenizer("rust").encode(word))
    first = time.process_time() - began
    began = time.process_time()
    assert len(clip_tokenizer("rust").encode(word * 2)) == 2 * once
    assert time.process_time() - began < 3 * first + 0.1
