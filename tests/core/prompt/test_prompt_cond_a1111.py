"""Conditioning tensors of A1111 and Forge, text to tensor."""

from __future__ import annotations

import gzip
import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clip import TinyClip, load_script, tensors
from golden import golden_dir
from safetensors.torch import load_file
from sd_concord.core.prompt import Conditioning, Dialect, RunShape, clip_tokenizer, encode, plan
from sd_concord.core.prompt.padding import batch_for_call, pad_with_empty, pad_with_last
from sd_concord.core.prompt.size import size_embedding

pytestmark = pytest.mark.golden

# float32 sums in another order: values reach 15, a wrong rule shows at 1e-2 or more
ATOL = 5e-5
FIELDS = {
    *("id", "model", "p", "neg", "steps", "hires", "old", "emphasis", "clip_skip", "comma", "size", "batch"),
    *("rows", "texts", "params", "err", "forge", "forge_batch", "forge_params", "forge_err"),
}
PAD_FIELDS = {
    "id",
    "model",
    "pos",
    "neg",
    "steps",
    "call",
    "conds_list",
    "pad_cond_uncond",
    "pad_cond_uncond_v0",
}
Sides = tuple[torch.Tensor, torch.Tensor]
CLIP_SKIPS = {"a1111": {"sd1": (1, 12), "sdxl": (2, 2)}, "forge": {"sd1": (1, 12), "sdxl": (2, 12)}}


@lru_cache(maxsize=1)
def script() -> Any:
    return load_script(golden_dir("cond") / "a1111_tiny_clip.py")


@lru_cache(maxsize=2)
def weights(which: str) -> dict[str, torch.Tensor]:
    return tensors(script().weights(which))


@lru_cache(maxsize=8)
def encoders(model: str, host: str) -> list[TinyClip]:
    folder = golden_dir("cond") / "a1111_embeddings" / model
    files = {path.stem: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
    assert len(files) == 4
    skips = CLIP_SKIPS[host][model]
    made: list[TinyClip] = []
    for which in ("l", "g") if model == "sdxl" else ("l",):
        key = f"clip_{which}" if model == "sdxl" else "emb_params"
        made.append(
            TinyClip(
                weights=weights(which),
                heads=4,
                act="quick_gelu" if which == "l" else "gelu",
                tokenizer=clip_tokenizer(pad=0 if which == "g" else None),
                final_norm=model == "sd1",
                clip_skips=skips,
                embeddings={name: file[key] for name, file in files.items()},
                with_pooled=which == "g",
            )
        )
    return made


def read(name: str) -> list[dict[str, Any]]:
    raw = gzip.decompress((golden_dir("cond") / name).read_bytes()).decode("utf-8")
    cases = [json.loads(line) for line in raw.splitlines()]
    assert cases
    return cases


@lru_cache(maxsize=4)
def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(golden_dir("cond") / name) as file:
        return {key: file[key] for key in file.files}


def projected(hidden: torch.Tensor) -> np.ndarray:
    matrix = torch.from_numpy(script().projection()).double()
    parts = [part @ matrix for part in hidden.double().split(64, dim=-1)]
    return torch.cat(parts, dim=-1).numpy()


def recorded(store: dict[str, np.ndarray], key: str, row: int, hidden: torch.Tensor) -> tuple[Any, Any]:
    """Return the record of ``row`` and the same of ``hidden``."""
    if f"{key}.full" in store:
        return store[f"{key}.full"][row], hidden.numpy()
    if f"{key}.full{row}" in store:
        return store[f"{key}.full{row}"], hidden.numpy()
    if f"{key}.proj{row}" in store:
        return store[f"{key}.proj{row}"], projected(hidden)
    return store[f"{key}.proj"][row], projected(hidden)


def encoded(case: dict[str, Any], host: str) -> list[Conditioning]:
    dialect = Dialect(
        comma_backtrack=case["comma"] if host == "a1111" else 20, old_timeline=bool(case["old"])
    )
    run = RunShape(hires_steps=case["hires"], negative=bool(case["neg"]))
    zero = case["model"] == "sdxl" and bool(case["neg"])
    return [
        encode(
            plan(text, case["steps"], dialect=dialect, run=run),
            encoders(case["model"], host),
            emphasis=case["emphasis"],
            clip_skip=case["clip_skip"],
            zero_empty=zero,
        )
        for text in case["p"]
    ]


def check_case(
    case: dict[str, Any], done: list[Conditioning], store: dict[str, np.ndarray], batch: list[Any]
) -> None:
    for conditioning, parts in zip(done, batch, strict=True):
        assert [part.weight for part in conditioning.parts] == [weight for weight, _ in parts]
        for part, (_, segments) in zip(conditioning.parts, parts, strict=True):
            assert list(part.lasts) == [last for last, _ in segments]
            for row, (_, want) in zip(part.rows, segments, strict=True):
                expected, got = recorded(store, case["id"], want, part.hidden[row])
                np.testing.assert_allclose(got, expected, rtol=0, atol=ATOL, err_msg=case["id"])
                if part.pooled is not None:
                    pooled = store[f"{case['id']}.pooled"][want]
                    np.testing.assert_allclose(
                        part.pooled[row], pooled, rtol=0, atol=ATOL, err_msg=case["id"]
                    )


def check_texts(case: dict[str, Any]) -> None:
    run = RunShape(hires_steps=case["hires"], negative=bool(case["neg"]))
    for text in case["p"]:
        laid = plan(text, case["steps"], dialect=Dialect(old_timeline=bool(case["old"])), run=run)
        for part in laid.parts:
            assert [[s.last, s.text] for s in part.segments] == case["texts"][part.text]


def check_size(case: dict[str, Any], store: dict[str, np.ndarray]) -> None:
    width, height = case["size"] or (1024, 1024)
    got = size_embedding([height, width, 0, 0, height, width])
    # the sine of a large float32 angle: the angle itself is good to 1e-4
    np.testing.assert_allclose(got, store[f"{case['id']}.size"], rtol=0, atol=1e-4)


def check_params(case: dict[str, Any], done: list[Conditioning]) -> None:
    """The embeddings that the host names in its infotext, by the hash of a file, are those in use."""
    entries = [
        entry.split(": ") for entry in case.get("params", {}).get("TI hashes", "").split(", ") if entry
    ]
    used = dict.fromkeys(name for conditioning in done for name in conditioning.embeddings)
    assert list(used) == list(dict.fromkeys(name for name, _ in entries))
    files = golden_dir("cond") / "a1111_embeddings"
    for name, digest in entries:
        sums = {
            hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in files.glob(f"*/{name}.safetensors")
        }
        assert digest in sums


def test_the_script_rebuilds_the_weights() -> None:
    sums = {which: script().checksum(script().weights(which)) for which in ("l", "g")}
    readme = (golden_dir("cond") / "README_a1111.md").read_text(encoding="utf-8")
    assert all(digest in readme for digest in sums.values())


def test_conditionings_are_those_of_a1111_and_forge() -> None:
    torch.set_num_threads(1)
    cases = read("a1111.jsonl.gz")
    a1111, forge = arrays("a1111.npz"), arrays("forge.npz")
    others = 0
    for case in cases:
        assert set(case) <= FIELDS, set(case) - FIELDS
        done = encoded(case, "a1111")
        if "err" in case:
            continue
        check_texts(case)
        check_case(case, done, a1111, case["batch"])
        check_params(case, done)
        if f"{case['id']}.size" in a1111:
            check_size(case, a1111)
        if "forge_batch" in case:
            others += 1
            check_case(case, encoded(case, "forge"), forge, case["forge_batch"])
        elif "forge_err" not in case:
            assert case["forge"] == "same"
    print(f"a1111.jsonl.gz: {len(cases)} cases; forge.npz: {others} cases")


def test_unequal_lengths_are_padded_as_a1111_does() -> None:
    torch.set_num_threads(1)
    cases, store = read("a1111_pads.jsonl.gz"), arrays("a1111.npz")
    for case in cases:
        assert set(case) == PAD_FIELDS, set(case) ^ PAD_FIELDS
        models = encoders(case["model"], "a1111")
        conds = [encode(plan(text, case["steps"]), models) for text in case["pos"]]
        negative = RunShape(negative=True)
        unconds = [encode(plan(text, case["steps"], run=negative), models) for text in case["neg"]]
        cond, uncond = batch_for_call(conds, case["call"]), batch_for_call(unconds, case["call"])
        assert [[list(pair) for pair in image] for image in cond.images] == case["conds_list"]
        empty = torch.from_numpy(store[f"empty_{case['model']}.full"][0])
        name, sides = case["id"], (cond.hidden, uncond.hidden)
        check_sides(name, sides, {"cond": f"{name}.cond.proj", "uncond": f"{name}.uncond.proj"}, sides)
        check_sides(name, pad_with_empty(*sides, empty), case["pad_cond_uncond"], sides)
        check_sides(name, pad_with_last(*sides), case["pad_cond_uncond_v0"], sides)
    print(f"a1111_pads.jsonl.gz: {len(cases)} cases")


def check_sides(case: str, got: Sides, names: dict[str, str], before: Sides) -> None:
    for i, side in enumerate(("cond", "uncond")):
        if names[side] == "unchanged":
            assert torch.equal(got[i], before[i])
        else:
            want = arrays("a1111.npz")[names[side]]
            np.testing.assert_allclose(projected(got[i]), want, rtol=0, atol=ATOL, err_msg=case)


def test_the_empty_prompt_is_that_of_a1111() -> None:
    for model in ("sd1", "sdxl"):
        hidden = encode(plan("", 4), encoders(model, "a1111")).for_call(0).hidden
        want = arrays("a1111.npz")[f"empty_{model}.full"]
        np.testing.assert_allclose(hidden.numpy(), want.reshape(hidden.shape), rtol=0, atol=ATOL)


def test_golden_folder_has_every_file() -> None:
    wanted = ["a1111.jsonl.gz", "a1111.npz", "forge.npz", "a1111_pads.jsonl.gz", "a1111_tiny_clip.py"]
    assert [name for name in wanted if not Path(golden_dir("cond") / name).is_file()] == []
