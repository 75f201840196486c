"""Write the small copy of the golden sets ``prompts`` and ``cond`` from a folder that has the whole of them.

Same file names and layout as the whole.  Of ``prompts`` every hand-picked case is kept and every sixth random one; of
``cond`` every fourth case, every case in which Forge differs, and all of padding.

    python subset.py WHOLE SMALL
"""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

RANDOM_KEPT, COND_KEPT = 6, 4
PROMPT_FILES = ("attention", "calls", "chunks", "multicond", "schedules", "slow_or_error", "tags", "unstable")


def filter_lines(
    source: Path, target: Path, keep: Callable[[int, dict[str, Any]], bool]
) -> list[dict[str, Any]]:
    """Copy the JSON lines that ``keep`` accepts, and return them."""
    lines = gzip.decompress(source.read_bytes()).decode("utf-8").splitlines()
    kept = [line for i, line in enumerate(lines) if keep(i, json.loads(line))]
    target.write_bytes(gzip.compress(("\n".join(kept) + "\n").encode("utf-8"), 9, mtime=0))
    return [json.loads(line) for line in kept]


def keep_prompt(index: int, case: dict[str, Any]) -> bool:
    """Keep hand-picked cases and every sixth random one, the same in every file."""
    name = case.get("id")
    if name is None:
        return index % 2 == 0
    return not name.startswith("f") or int(name[1:]) % RANDOM_KEPT == 0


def copy_prompts(whole: Path, small: Path) -> None:
    """Write the set ``prompts``."""
    small.mkdir(parents=True, exist_ok=True)
    shutil.copy(whole / "README.md", small / "README.md")
    for name in PROMPT_FILES:
        filter_lines(whole / f"{name}.jsonl.gz", small / f"{name}.jsonl.gz", keep_prompt)


def copy_arrays(source: Path, target: Path, keep: Callable[[str], bool]) -> None:
    """Copy the arrays whose name ``keep`` accepts."""
    with np.load(source) as file:
        np.savez_compressed(target, **{key: file[key] for key in file.files if keep(key)})


def copy_cond(whole: Path, small: Path) -> None:
    """Write the set ``cond``."""
    small.mkdir(parents=True, exist_ok=True)
    for name in ("README_a1111.md", "README_comfyui.md", "a1111_tiny_clip.py", "make_tiny_clip.py"):
        shutil.copy(whole / name, small / name)
    shutil.copytree(whole / "a1111_embeddings", small / "a1111_embeddings", dirs_exist_ok=True)
    shutil.copy(whole / "forge.npz", small / "forge.npz")

    def keep(index: int, case: dict[str, Any]) -> bool:
        return index % COND_KEPT == 0 or case.get("forge") == "other" or "conds_list" in case

    kept = [
        case
        for name in ("a1111.jsonl.gz", "a1111_pads.jsonl.gz")
        for case in filter_lines(whole / name, small / name, keep)
    ]
    ids = {case["id"] for case in kept} | {"empty_sd1", "empty_sdxl"}
    copy_arrays(whole / "a1111.npz", small / "a1111.npz", lambda key: key.split(".")[0] in ids)
    record = json.loads((whole / "comfyui.json").read_text(encoding="utf-8"))
    record["prompts"] = record["prompts"][::COND_KEPT]
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    (small / "comfyui.json").write_text(text, encoding="utf-8")
    keys = {
        name
        for prompt in record["prompts"]
        for cond in prompt["cond"]
        for name in (cond["key"], cond["pooled"])
    }
    copy_arrays(whole / "comfyui.npz", small / "comfyui.npz", keys.__contains__)


if __name__ == "__main__":
    copy_prompts(Path(sys.argv[1]) / "prompts", Path(sys.argv[2]) / "prompts")
    copy_cond(Path(sys.argv[1]) / "cond", Path(sys.argv[2]) / "cond")
