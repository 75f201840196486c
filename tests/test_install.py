"""install.py, run as a program on a copy of its files, with stand-ins for pip, pytest and sd-concord."""

from __future__ import annotations

import ast
import errno
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest

ROOT = Path(__file__).parents[1]
PIN = "2.13.0"
PACKAGES = ["ftfy", "regex", "safetensors", "scipy"]

FAKES = {
    # Writes down what it is asked; $PIP_SAYS and $PIP_STATUS make it fail, $PIP_HAS is what it lists, with $PIP_MAKES
    # what it installs can be imported.
    "pip/__init__.py": "",
    "pip/__main__.py": """
import json, os, pathlib, sys
if "list" in sys.argv:
    sys.exit(print(os.environ.get("PIP_HAS", "")))
kept = [pathlib.Path(name).read_text() for flag, name in zip(sys.argv, sys.argv[1:]) if flag == "-c"]
with open(os.environ["PIP_LOG"], "a") as log:
    log.write(json.dumps({"asked": sys.argv[1:], "kept": "".join(kept)}) + chr(10))
if "PIP_MAKES" in os.environ:
    pathlib.Path(__file__).parents[1].joinpath(sys.argv[-1] + ".py").touch()
print(os.environ.get("PIP_SAYS", ""), file=sys.stderr)
sys.exit(int(os.environ.get("PIP_STATUS", "0")))
""",
    "pytest.py": "import sys; print('pytest got', sys.argv[1:]); sys.exit(5)",
    "sd_concord/harness/cli.py": """
import pathlib, sys
print("generate got", sys.argv[1:])
if "--bad" in sys.argv:
    sys.exit(3)
pathlib.Path(sys.argv[sys.argv.index("--out") + 1]).touch()
""",
}


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a run of install.py printed, and the calls of pip that it made."""

    status: int
    out: str
    err: str
    pip: list[list[str]]
    kept: str

    def installed(self) -> list[str]:
        """The last word of each call of pip: what it was to install."""
        return [call[-1].replace("\\", "/").rpartition("/")[2] for call in self.pip]


@dataclass(frozen=True, kw_only=True)
class Clone:
    """A folder with what install.py reads, and a ``.venv`` of stand-ins."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def record(self) -> Path:
        return self.folder / ".venv" / "concord.json"

    def run(self, *argv: str, python: str = sys.executable, **environ: str) -> Ran:
        log = self.folder / "pip.log"
        log.write_text("")
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("CONCORD_", "PIP_"))
        }
        done = subprocess.run(
            [python, str(self.folder / "install.py"), *argv],
            check=False,
            capture_output=True,
            text=True,
            env={**kept, "PIP_LOG": str(log), **environ},
            cwd=self.folder.parent,
        )
        calls = [json.loads(line) for line in log.read_text().splitlines()]
        asked = [call["asked"][call["asked"].index("install") + 1 :] for call in calls]
        kept_back = "".join(call["kept"] for call in calls)
        return Ran(status=done.returncode, out=done.stdout, err=done.stderr, pip=asked, kept=kept_back)

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    def module(self) -> ModuleType:
        """Import the clone's install.py."""
        spec = importlib.util.spec_from_file_location("install", self.folder / "install.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    folder = tmp_path / "a clone"
    folder.mkdir()
    for name in ("install.py", "constraints.txt", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    venv.create(folder / ".venv", symlinks=os.name != "nt")
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    site = folder / ".venv" / ("Lib" if os.name == "nt" else f"lib/{version}") / "site-packages"
    for name, source in FAKES.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(source)
    return Clone(folder=folder)


# The two commands


def test_demo_installs_torch_first_and_says_where_the_picture_is(clone: Clone) -> None:
    ran = clone.run("demo")
    assert ran.status == 0, ran.err
    assert ran.installed() == [f"torch=={PIN}", "torch", "setuptools", "a clone[standalone]"]
    assert all(call[call.index("-c") + 1] == str(clone.folder / "constraints.txt") for call in ran.pip[1:])
    assert ran.out.endswith(f"Concord: the picture is {clone.folder / 'demo.png'}\n")


def test_a_second_demo_does_not_run_pip(clone: Clone) -> None:
    clone.run("demo")
    ran = clone.run("demo")
    assert (ran.status, ran.pip) == (0, [])


def test_demo_passes_options_on_and_returns_the_status_of_generate(clone: Clone) -> None:
    ran = clone.run("demo", "--", "--steps", "3", "--bad")
    assert ran.status == 3
    assert "'--steps', '3', '--bad'" in ran.out
    assert "the picture is" not in ran.out


def test_demo_does_not_point_at_an_old_picture(clone: Clone) -> None:
    (clone.folder / "demo.png").touch()
    clone.run("demo", "--", "--bad")
    assert not (clone.folder / "demo.png").exists()


def test_test_adds_its_packages_and_returns_the_status_of_pytest(clone: Clone) -> None:
    clone.run("demo")
    ran = clone.run("test", "tests/core", "-k", "a or b", "--", "--debug")
    assert ran.status == 5
    assert ran.installed() == ["a clone[detailer,test]", "ultralytics"]
    assert ran.out.endswith("pytest got ['tests/core', '-k', 'a or b', '--debug']\n")


def test_test_alone_installs_all(clone: Clone) -> None:
    assert clone.run("test").installed() == [
        f"torch=={PIN}",
        "torch",
        "setuptools",
        "a clone[standalone]",
        "a clone[detailer,test]",
        "ultralytics",
    ]


@pytest.mark.parametrize(
    "argv", [["dmeo"], ["demo", "--steps", "3"], ["demo", "--torch-index"]], ids=" ".join
)
def test_wrong_usage_is_told(clone: Clone, argv: list[str]) -> None:
    ran = clone.run(*argv)
    assert ran.status == 2
    assert "install.py: error:" in ran.err
    assert ran.pip == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signal for one process")
def test_ctrl_c_is_left_to_the_program_that_runs(clone: Clone) -> None:
    child = "from signal import *; signal(SIGINT, SIG_IGN); import time; time.sleep(1); raise SystemExit(7)"
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    assert clone.module().run([sys.executable, "-c", child]) == 7


# What is installed again


@pytest.mark.parametrize(
    ("name", "old", "new", "installed"),
    [
        ("constraints.txt", "tqdm==", "tqdm==99.", ["setuptools", "a clone[standalone]"]),
        (
            "constraints.txt",
            f"torch=={PIN}",
            "torch==9.9",
            ["torch==9.9", "torch", "setuptools", "a clone[standalone]"],
        ),
        ("pyproject.toml", "0.1.0", "0.2.0", ["setuptools", "a clone[standalone]"]),
    ],
    ids=["another pin", "another torch", "another project file"],
)
def test_only_what_changed_is_installed_again(
    clone: Clone, name: str, old: str, new: str, installed: list[str]
) -> None:
    clone.run("demo")
    clone.edit(name, old, new)
    assert clone.run("demo").installed() == installed


def test_a_clone_that_was_moved_is_installed_again(clone: Clone, tmp_path: Path) -> None:
    clone.run("demo")
    moved = Clone(folder=clone.folder.rename(tmp_path / "moved"))
    assert moved.run("demo").installed() == ["setuptools", "moved[standalone]"]


def half_made(clone: Clone) -> None:
    clone.record.write_text('{"done": {}, "doing": "Concord"}')


def record_cut_short(clone: Clone) -> None:
    clone.record.write_text('{"done": {"to')


def base_gone(clone: Clone) -> None:
    clone.python.unlink()


def without_pip(clone: Clone) -> None:
    for path in clone.folder.glob(".venv/**/site-packages/pip"):
        shutil.rmtree(path)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (half_made, "was left half made"),
        (record_cut_short, "was left half made"),
        (base_gone, "has lost the Python it was made with"),
        (without_pip, "has no pip that works"),
    ],
)
def test_an_environment_that_cannot_serve_is_made_anew(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], spoil: Any, why: str
) -> None:
    spoil(clone)
    install = clone.module()
    made = f"import pathlib; pathlib.Path({str(clone.folder)!r}, '.venv', 'made').touch()"
    monkeypatch.setattr(install, "venv_command", lambda: [sys.executable, "-c", made])
    install.ensure_venv([])
    assert f"{clone.folder / '.venv'} {why}; making it anew" in capsys.readouterr().out
    assert sorted(path.name for path in (clone.folder / ".venv").iterdir()) == ["concord.json", "made"]
    assert install.read_record() == ({}, None)


def test_an_environment_of_another_python_is_made_anew(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    install = clone.module()
    assert install.defect(str(clone.python)) == ""
    monkeypatch.setattr(install, "heard", lambda command: (0, "3.9\n"))
    assert re.fullmatch(r"is of Python 3\.9 and this is 3\.\d+", install.defect(str(clone.python)))


def test_a_folder_that_is_no_environment_is_left_alone(clone: Clone) -> None:
    shutil.rmtree(clone.folder / ".venv")
    (clone.folder / ".venv").mkdir()
    (clone.folder / ".venv" / "thesis.txt").touch()
    ran = clone.run("demo")
    assert ran.status == 1
    assert "is in the way" in ran.err
    assert (clone.folder / ".venv" / "thesis.txt").exists()


# Where torch comes from


def test_torch_can_come_from_another_index(clone: Clone) -> None:
    first, second = clone.run("demo", "--torch-index", "https://x.invalid/cpu").pip[:2]
    assert "--no-deps" in first
    assert first[-3:] == ["--index-url", "https://x.invalid/cpu", f"torch=={PIN}"]
    assert second[:3] == ["--no-compile", "--extra-index-url", "https://x.invalid/cpu"]


def test_torch_can_be_a_wheel_and_another_wheel_replaces_it(clone: Clone) -> None:
    for build in ("cpu", "cu130"):
        wheel = clone.folder / f"torch-{PIN}+{build}-cp311-cp311-linux_x86_64.whl"
        wheel.touch()
        ran = clone.run("demo", "--torch-wheel", os.path.relpath(wheel, clone.folder.parent))
        assert ran.pip[0] == ["--no-compile", "--no-deps", "--force-reinstall", str(wheel)]
    assert clone.run("demo", CONCORD_TORCH_WHEEL=str(wheel)).pip == []


def test_without_an_option_the_torch_that_is_there_will_do(clone: Clone) -> None:
    clone.run("demo", CONCORD_TORCH_INDEX="https://x.invalid/cpu")
    assert clone.run("demo").pip == []


def test_an_option_wins_over_the_environment(clone: Clone) -> None:
    ran = clone.run("demo", "--torch-index", "https://x.invalid/a", CONCORD_TORCH_WHEEL="https://x.invalid/w")
    assert "https://x.invalid/a" in ran.pip[0]


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"CONCORD_TORCH_WHEEL": "nowhere.whl"}, "there is no file"),
        (
            {"CONCORD_TORCH_WHEEL": "https://x.invalid/torch-2.14.0-cp311.whl"},
            f"is not torch {PIN}",
        ),
        (
            {"CONCORD_TORCH_WHEEL": "https://x.invalid/torch-2.13.01-cp311.whl"},
            f"is not torch {PIN}",
        ),
        ({"CONCORD_TORCH_WHEEL": "a", "CONCORD_TORCH_INDEX": "b"}, "both set"),
    ],
    ids=["no file", "another version", "a longer version", "two sources"],
)
def test_a_wrong_source_of_torch_is_told(clone: Clone, environ: Mapping[str, str], message: str) -> None:
    ran = clone.run("demo", **environ)
    assert ran.status == 1
    assert message in ran.err
    assert len(ran.err.splitlines()) == 1
    assert ran.pip == []


def test_variables_that_lead_astray_do_not_reach_the_environment(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_INDEX_URL"):
        monkeypatch.setenv(name, "x")
    environ = clone.module().own_environ()
    assert not {"PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET"} & set(environ)
    assert environ["PIP_INDEX_URL"] == "x"


def test_threads_wait_asleep_unless_told_otherwise(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert clone.module().own_environ()["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert clone.module().own_environ()["OMP_WAIT_POLICY"] == "ACTIVE"


# What can go wrong


def test_an_old_python_is_told_what_it_needs(clone: Clone) -> None:
    install = clone.module()
    install.check_python((3, 10, 0))
    with pytest.raises(install.InstallError, match=r"this is Python 3\.9\.18 .* 3\.10 or newer is needed"):
        install.check_python((3, 9, 18))


def test_an_old_python_can_read_the_file() -> None:
    source = (ROOT / "install.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 6))
    annotations = [
        note
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
        for note in (node.returns, *(argument.annotation for argument in node.args.args))
        if note is not None
    ]
    evaluated = {ast.unparse(note) for note in annotations if not isinstance(note, ast.Constant)}
    assert evaluated <= {"str", "int", "bool", "None", "Any", "Stage", "argparse.Namespace"}


def test_an_old_python_shows_no_traceback(clone: Clone) -> None:
    named = [shutil.which(f"python3.{minor}") for minor in range(6, 10)]
    old = [python for python in named if python and subprocess.call([python, "-c", ""], stderr=-3) == 0]
    if not old:
        pytest.skip("there is no Python older than 3.10 here")
    for python in old:
        ran = clone.run("demo", python=python)
        assert ran.status == 1
        assert re.fullmatch(r"Concord: this is Python 3\.\d\..*\n", ran.err)


@pytest.mark.parametrize(
    ("said", "shown", "advice"),
    [
        ("x connection broken by 'y'\nERROR: No matching z", "No matching z", "check the network"),
        (
            "ERROR: Exception:\n  x\nReadTimeoutError: Read timed out.",
            "ReadTimeoutError: Read timed out",
            "check the network",
        ),
        (
            "ERROR: No matching distribution found for x",
            "No matching distribution",
            "another Python or index",
        ),
        ("ERROR: [Errno 28] No space left on device", "[Errno 28]", "free some disk"),
        ("ERROR: Cannot install x\nERROR: ResolutionImpossible: for help", "Cannot install x", "--debug"),
        ("ERROR: Exception:\n  x\nValueError: 3", "ValueError: 3", "--debug"),
        ("", "pip gave no reason", "--debug"),
    ],
    ids=["no network", "slow network", "no build", "no disk", "a conflict", "a bug of pip", "silence"],
)
def test_a_failure_of_pip_is_one_line_with_advice(clone: Clone, said: str, shown: str, advice: str) -> None:
    ran = clone.run("demo", PIP_STATUS="1", PIP_SAYS=said)
    assert ran.status == 1
    pattern = (
        rf"Concord: installing torch {PIN} failed: {re.escape(shown)}.*; .*{advice}.*, then run this again\n"
    )
    assert re.fullmatch(pattern, ran.err)


def test_debug_shows_all_that_pip_said(clone: Clone) -> None:
    ran = clone.run("demo", "--debug", PIP_STATUS="1", PIP_SAYS="line one\nERROR: line two")
    assert "Traceback" in ran.err
    assert "line one" in ran.err


@pytest.mark.parametrize(
    ("status", "said", "again"),
    [
        ("1", "ERROR: No matching distribution found", False),
        ("1", "ERROR: [Errno 28] No space left on device", True),
        ("-9", "", True),
    ],
    ids=["pip gave up", "the disk was full", "pip was killed"],
)
def test_only_an_installation_that_was_cut_short_begins_anew(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, status: str, said: str, again: bool
) -> None:
    install = clone.module()
    monkeypatch.setattr(install, "pip_install", lambda *_: (int(status), said))
    with pytest.raises(install.InstallError):
        install.install(str(clone.python), [install.Stage("torch", "", 0, [["torch"]])])
    assert (install.defect(str(clone.python)) == "was left half made") == again


def test_an_index_that_does_not_answer_is_named_as_the_cause(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    install = clone.module()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environ |= {"PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "1"}
    asked = ["--no-deps", "--dry-run", "--index-url", "http://127.0.0.1:9/simple", "no-such-torch==2.13.0"]
    status, said = install.pip_install([sys.executable], asked, environ)
    assert status == 1
    assert "does not answer; pip tries again" in capfd.readouterr().out
    assert "check the network" in install.explain("torch", said)


def test_too_small_a_disk_is_told_before_anything_is_made(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(clone.folder / ".venv")
    install = clone.module()
    usage = shutil.disk_usage(clone.folder)
    monkeypatch.setattr(install.shutil, "disk_usage", lambda _: usage._replace(free=10**9))
    assert install.main(["demo"]) == 1
    assert re.search(r"has 1000 MB of disk left and 2500 MB are needed", capsys.readouterr().err)
    assert not (clone.folder / ".venv").exists()


def test_a_folder_one_may_not_write_to_is_told(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(clone.folder / ".venv")
    install = clone.module()

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert install.main(["demo"]) == 1
    told = capsys.readouterr().err
    assert re.fullmatch(r"Concord: .*Permission denied.*may you write there\?\n", told)


@pytest.mark.parametrize(
    ("modules", "program", "starts"),
    [
        ({"venv", "ensurepip", "virtualenv"}, None, ["-m", "venv"]),
        ({"venv", "virtualenv"}, None, ["-m", "virtualenv"]),
        ({"venv"}, "/usr/bin/virtualenv", ["-p"]),
    ],
    ids=["venv", "the module virtualenv", "the program virtualenv"],
)
def test_the_environment_is_made_with_what_there_is(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, modules: set[str], program: str | None, starts: list[str]
) -> None:
    install = clone.module()
    monkeypatch.setattr(install.importlib.util, "find_spec", lambda name: name in modules)
    monkeypatch.setattr(install.shutil, "which", lambda name: program)
    command = install.venv_command()
    assert command[1 : 1 + len(starts)] == starts
    assert command[-1] == str(clone.folder / ".venv")


def test_a_python_without_venv_is_told_which_package_has_it(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    install = clone.module()
    monkeypatch.setattr(install.importlib.util, "find_spec", lambda name: name == "venv")
    monkeypatch.setattr(install.shutil, "which", lambda name: None)
    with pytest.raises(install.InstallError, match=r"apt install python3\.\d+-venv`.*virtualenv"):
        install.venv_command()


# Bare, in a host


def test_bare_adds_only_what_is_missing_and_holds_the_rest(clone: Clone) -> None:
    has = "torch==2.1.0+cu118\nnumpy==1.26.4\nWARNING: nonsense\n"
    ran = clone.run(python=str(clone.python), PIP_HAS=has, PIP_MAKES="1")
    assert ran.status == 0, ran.err
    assert [call[-1] for call in ran.pip] == PACKAGES
    assert ran.kept == "torch==2.1.0+cu118\nnumpy==1.26.4\n" * len(PACKAGES)
    assert ran.out == "".join(f"Concord: {name} is added\n" for name in PACKAGES)
    assert clone.run(python=str(clone.python)).pip == [], "a second start finds them"


def test_bare_is_quiet_when_nothing_is_missing(clone: Clone) -> None:
    ran = clone.run()
    assert (ran.status, ran.out, ran.err, ran.pip) == (0, "", "", [])


def lines_of_the_missing(ran: Ran, why: str) -> None:
    """Check that ``ran`` said in one line each which packages are missing, why, and what is lost; and did not fail."""
    assert (ran.status, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert len(lines) == len(PACKAGES)
    for name, line in zip(PACKAGES, lines, strict=True):
        assert re.fullmatch(
            rf"Concord: {name} is missing \({why}\); without it: .+; to add it: .+ {name}", line
        )


def test_bare_failing_is_one_line_a_package_and_the_host_starts(clone: Clone) -> None:
    ran = clone.run(python=str(clone.python), PIP_STATUS="1", PIP_SAYS="a\nERROR: b")
    lines_of_the_missing(ran, "b")
    assert len(ran.pip) == len(PACKAGES), "one that fails does not keep the others away"


def test_bare_asks_an_index_that_does_not_answer_once(clone: Clone) -> None:
    said = "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError'\nERROR: No matching"
    ran = clone.run(python=str(clone.python), PIP_STATUS="1", PIP_SAYS=said)
    lines_of_the_missing(ran, "the package index does not answer")
    assert len(ran.pip) == 1


def test_bare_without_pip_names_the_packages(clone: Clone) -> None:
    without_pip(clone)
    lines_of_the_missing(clone.run(python=str(clone.python)), ".+ has no working pip")


# The lists


def pins() -> list[tuple[str, str, str]]:
    """Return ``(name, version, marker)`` of each line of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [re.fullmatch(r"([a-z0-9-]+)==([\w.]+)(?:; (.+?))?(?:  #.*)?", line) for line in lines]
    assert all(match or not line or line.startswith("#") for line, match in zip(lines, found, strict=True))
    return [cast("tuple[str, str, str]", match.groups("")) for match in found if match]


def test_each_pin_holds_for_every_python() -> None:
    markers: dict[str, list[str]] = {}
    for name, _, marker in pins():
        markers.setdefault(name, []).append(marker)
    both = ['python_version >= "3.11"', 'python_version < "3.11"']
    assert {name: found for name, found in markers.items() if found not in ([""], both)} == {}


def test_torch_is_pinned_and_torchvision_cannot_be_had() -> None:
    assert ("torch", PIN, "") in pins()
    assert ("torchvision", "0", "") in pins()


def test_hosts_are_asked_for_names_only() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = [line.partition("#")[0].strip() for line in lines if not line.startswith("#")]
    assert all(re.fullmatch("[a-z]+", name) for name in names)
    assert all(len(line.partition("# ")[2]) > 20 for line in lines if line[0] != "#"), "each is explained"
    assert not {"torch", "torchvision", "numpy", "pillow"} & set(names)
    assert all(importlib.util.find_spec(name) for name in names)
