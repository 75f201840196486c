"""docs/samplers.md is what the registries say."""

from __future__ import annotations

from pathlib import Path

from sd_concord.core.profiles import PROFILES
from sd_concord.core.sampling import SAMPLERS
from sd_concord.core.sigmas import SCHEDULERS
from sd_concord.harness.tables import FILE, document, profile_row, sampler_row, table

ROOT = Path(__file__).parents[2]


def test_the_page_is_made_from_the_registries():
    text = FILE.read_text(encoding="utf-8")
    assert text == document(), "write it anew with: python -m sd_concord.harness.tables"
    for name in (*SAMPLERS, *SCHEDULERS, *PROFILES):
        assert f"| `{name}`" in text


def test_the_readme_counts_and_links_it():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"[{len(SAMPLERS)} samplers and {len(SCHEDULERS)} schedules](docs/samplers.md)" in readme


def test_rows():
    row = sampler_row(SAMPLERS["dpmpp_sde"])
    assert row[:6] == ["`dpmpp_sde`, `dpmpp_sde_gpu`", "DPM++ SDE", "2", "2n - 1", "sde", "`karras`"]
    assert "`r=0.5`" in row[6]
    assert sampler_row(SAMPLERS["dpm_adaptive"])[3] == "adapts"
    assert sampler_row(SAMPLERS["euler_cfg_pp"])[4] == "deterministic, CFG++"
    assert profile_row(PROFILES["reforge"])[2] == "unverified"
    assert table(["a"], [["b|c"]]) == "| a |\n| --- |\n| b\\|c |"
