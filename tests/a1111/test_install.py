"""install.py as the web UIs run it: with their Python, their root on the path, and sometimes without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRAP = "raise SystemExit('install.py has imported the host or torch')\n"


@pytest.fixture
def extension(tmp_path: Path) -> Path:
    """A copy of what install.py reads, where a user has it."""
    folder = tmp_path / "a web ui" / "extensions" / "Concord for web UIs"
    folder.mkdir(parents=True)
    for name in ("install.py", "requirements.txt"):
        shutil.copy(ROOT / name, folder)
    for name in ("modules", "gradio", "torch"):
        (folder.parents[1] / f"{name}.py").write_text(TRAP)
    return folder


def run(extension: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run it as ``launch.py`` does: a shell's command line, the root in front of the path, what is said captured."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return subprocess.run(
        f'"{sys.executable}" "{extension / "install.py"}"',
        shell=True,
        check=False,
        capture_output=True,
        text=True,
        cwd=extension.parents[1],
        env={
            **kept,
            "PYTHONPATH": str(extension.parents[1]),
            "PIP_INDEX_URL": "http://127.0.0.1:9",
            **environ,
        },
    )


def want(extension: Path, *lines: str) -> None:
    """Ask for further packages."""
    with (extension / "requirements.txt").open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def test_with_everything_there_it_is_quiet_and_asks_nobody(extension: Path) -> None:
    done = run(extension)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_a_network_it_says_what_is_lost_in_one_line_each_and_the_host_starts(extension: Path) -> None:
    want(extension, "concord_nowhere_a  # the first thing", "concord_nowhere_b  # the second thing")
    done = run(extension)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    for line, name, lost in (
        (first, "concord_nowhere_a", "the first thing"),
        (second, "concord_nowhere_b", "the second"),
    ):
        assert line.startswith(
            f"Concord: {name} is missing (the package index does not answer); without it: {lost}"
        )
        assert line.endswith(f"-m pip install {name}")


def test_without_pip_too(extension: Path) -> None:
    want(extension, "concord_nowhere_a  # the first thing")
    (extension.parents[1] / "pip.py").write_text("raise SystemExit('no pip')\n")
    done = run(extension)
    assert (done.returncode, done.stderr) == (0, "")
    [line] = done.stdout.splitlines()
    assert "has no working pip); without it: the first thing" in line


def test_what_the_host_has_is_held_and_torch_is_never_asked_for(extension: Path) -> None:
    want(extension, "concord_nowhere_a  # the first thing")
    log = extension / "asked.txt"
    (extension.parents[1] / "pip.py").write_text(
        "import pathlib, sys\n"
        "if 'list' in sys.argv: sys.exit(print('torch==2.1.0+cu118\\nnumpy==1.26.4'))\n"
        "kept = pathlib.Path(sys.argv[sys.argv.index('-c') + 1]).read_text()\n"
        f"pathlib.Path({str(log)!r}).write_text(' '.join(sys.argv[1:]) + '\\n' + kept)\n"
    )
    assert run(extension).returncode == 0
    asked, *kept = log.read_text().splitlines()
    assert asked.startswith("--disable-pip-version-check --no-input install ")
    assert asked.endswith(" concord_nowhere_a")
    assert "torch" not in asked
    assert kept == ["torch==2.1.0+cu118", "numpy==1.26.4"]
