"""A sweep of 200 cells that is killed ten times, at random, and gone on with each time."""

import multiprocessing
import random
import time

import pytest
from sd_concord.harness.sweep.conduct import begin, conduct
from sweeps import go_on, journal, pictures, two_hundred, undisturbed

KILLS = 10
MOST = 2
"""Batches of 7 or 8 pictures that a process makes before it waits for its end: ten of them leave some to be made."""
PRELOADED = [
    "sd_concord.harness.sweep.conduct",
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.models.unets.unet_2d_condition",
    "transformers.models.clip.modeling_clip",
]


def counted(folder):
    return sum(1 for _ in (folder / "pictures").iterdir())


@pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork processes"
)
def test_two_hundred_cells_killed_ten_times(tmp_path):
    chance = random.Random(20)
    folder = tmp_path / "killed"
    begin(folder, two_hundred())
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    stamps = {}
    for kill in range(KILLS):
        before = counted(folder)
        process = context.Process(target=go_on, args=(str(folder), MOST))
        process.start()
        if kill % 5 == 4:  # while it is starting
            time.sleep(chance.uniform(0, 0.5))
        else:
            wanted, waited = before + chance.randint(1, 7), time.monotonic()
            while counted(folder) < wanted and time.monotonic() - waited < 60:
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.1))
        process.kill()
        process.join()
        for path in (folder / "pictures").glob("*.png"):
            stamp = path.stat().st_mtime_ns
            assert stamps.setdefault(path.name, stamp) == stamp, "it was made twice"
    assert 0 < len(stamps) < 200
    report = conduct(folder, quiet=True)
    assert (report.total, report.done, report.made) == (200, 200, 200 - len(stamps))
    assert pictures(folder) == pictures(undisturbed())
    assert len(pictures(folder)) == 200
    for path in (folder / "pictures").iterdir():
        assert stamps.get(path.name, path.stat().st_mtime_ns) == path.stat().st_mtime_ns
    same = "SELECT cell, state, file, sha256, infotext, tries FROM cells ORDER BY cell"
    assert journal(folder, same) == journal(undisturbed(), same)
