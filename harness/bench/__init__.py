"""Benchmarks: each module measures one thing and has `run() -> dict[str, float]`; ratios, within one run."""
