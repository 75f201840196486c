"""Install what Concord needs, and show that it works.

  python install.py demo [options] [-- options of sd-concord generate]
      make .venv beside this file, install the pinned versions, render a picture
      with the embedded model and say where it is
  python install.py test [options] [options of pytest]
      the same environment and the packages for testing; run the tests
  python install.py
      as A1111, Forge, reForge and ComfyUI-Manager run it, with their Python: add
      what is missing of requirements.txt and change nothing else, torch least of
      all; without a network, say what is lost and let the host start

What is installed already is left alone, and an installation that was cut short
begins anew.  Only the standard library is used.
"""
# Python 3.6 can still read this file: an older Python gets a message, not a SyntaxError.

import argparse
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PINS = ROOT / "constraints.txt"
PICTURE = ROOT / "demo.png"
DEMO = ["generate", "a red circle left of a blue square", "--seed", "1", "--out", str(PICTURE)]
RECORD = VENV / "concord.json"  # {"done": {stage: key}, "doing": the stage under way, or null}
FOREIGN = {"PYTHONHOME", "PYTHONPATH", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "__PYVENV_LAUNCHER__"}
WITHOUT_DEPENDENCIES = [
    "facenet-pytorch",
    "k-diffusion",
    "spandrel",
    "ultralytics",
]  # they ask for torchvision
OFFLINE = ("connection broken by", "Max retries exceeded", "Read timed out", "Connection aborted")
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input", "install")
BRIEFLY = ("--quiet", "--retries", "1", "--timeout", "10", "--prefer-binary")  # a host waits for it to start
DISK_FULL = ("No space left on device", "not enough space on the disk")


class InstallError(Exception):
    """What went wrong and what to do about it, in one line for the user."""


class Stage(NamedTuple):
    """One thing to install into ``.venv``; it is skipped while the record has its name with its key."""

    name: str
    key: str  # empty: whichever the record has will do
    megabytes: int  # free disk space that it takes, downloads included
    calls: "list[list[str]]"  # arguments of `pip install`, one list a call


def main(argv: "list[str]") -> int:
    """Run the command line ``argv`` (without the program's name); return the exit status."""
    try:
        check_python(sys.version_info[:3])
        if not argv:
            return add_missing()
        options = parse(argv)
        wanted = stages(options)
        python = ensure_venv(wanted)
        install(python, wanted)
        return (test if options.command == "test" else demo)(python, options.passed)
    except (InstallError, OSError) as error:
        if "--debug" in argv:
            raise
        advice = f"; is there room in {ROOT} and may you write there?" if isinstance(error, OSError) else ""
        print(f"Concord: {error}{advice}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        say("stopped")
        return 130


def say(text: str) -> None:
    """Print ``text`` at once, so that it stands ahead of what a child process prints."""
    print(f"Concord: {text}", flush=True)


def check_python(version: "tuple[int, ...]") -> None:
    """Raise InstallError when ``version`` of Python is too old for Concord."""
    if version < (3, 10):
        raise InstallError(
            f"this is Python {'.'.join(map(str, version))} ({sys.executable}) and 3.10 or newer is needed; "
            "install a newer one and start install.py with it, for example: python3.12 install.py demo"
        )


def parse(argv: "list[str]") -> argparse.Namespace:
    """Return the options in ``argv``; ``passed`` are those of generate or pytest."""
    parser = argparse.ArgumentParser(
        "install.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("command", choices=["demo", "test"])
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--torch-index", metavar="URL", help="index to take torch from (or CONCORD_TORCH_INDEX)"
    )
    source.add_argument("--torch-wheel", metavar="FILE", help="path or URL of torch (or CONCORD_TORCH_WHEEL)")
    parser.add_argument("--debug", action="store_true", help="on failure, show the whole of what was said")
    cut = argv.index("--") if "--" in argv else len(argv)
    options, unknown = parser.parse_known_args(argv[:cut])
    if unknown and options.command == "demo":
        parser.error(f"unknown: {' '.join(unknown)} (options of generate come after --)")
    options.passed = unknown + argv[cut + 1 :]
    if not options.torch_index and not options.torch_wheel:
        options.torch_index = os.environ.get("CONCORD_TORCH_INDEX")
        options.torch_wheel = os.environ.get("CONCORD_TORCH_WHEEL")
        if options.torch_index and options.torch_wheel:
            raise InstallError("CONCORD_TORCH_INDEX and CONCORD_TORCH_WHEEL are both set; keep one of them")
    return options


# The two commands


def demo(python: str, passed: "list[str]") -> int:
    """Render the picture with the interpreter ``python`` and say where it is; return the exit status."""
    if PICTURE.exists():
        PICTURE.unlink()
    status = run([python, "-m", "sd_concord.harness.cli", *DEMO, *passed], env=own_environ())
    if status == 0 and PICTURE.exists():
        say(f"the picture is {PICTURE}")
    return status


def test(python: str, passed: "list[str]") -> int:
    """Run pytest with the arguments ``passed``; return its exit status."""
    return run([python, "-m", "pytest", *passed], env=own_environ(), cwd=str(ROOT))


def run(command: "list[str]", **options: Any) -> int:
    """Run ``command`` to its end and return its exit status; Ctrl-C is for it to answer."""
    with subprocess.Popen(command, **options) as child:
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:
                continue


def own_environ() -> "dict[str, str]":
    """Return the environment variables for ``.venv``: none that lead it astray, and threads that wait asleep.

    Threads that spin while they wait for each other make a picture take minutes on cores that are shared.
    """
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    return dict({"OMP_WAIT_POLICY": "PASSIVE"}, **kept)


# What goes into .venv


def stages(options: argparse.Namespace) -> "list[Stage]":
    """Return what the command needs, in the order of installation."""
    pins = ["-c", str(PINS)]
    parts = [PINS.read_bytes(), (ROOT / "pyproject.toml").read_bytes(), str(ROOT).encode()]
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()
    editable = ["--no-build-isolation", "-e"]
    wanted = [
        torch_stage(options.torch_index, options.torch_wheel),
        Stage("Concord", key, 1000, [[*pins, "setuptools"], [*pins, *editable, f"{ROOT}[standalone]"]]),
        Stage(
            "the packages for testing",
            key,
            950,
            [[*pins, *editable, f"{ROOT}[detailer,test]"], [*pins, "--no-deps", *WITHOUT_DEPENDENCIES]],
        ),
    ]
    return wanted if options.command == "test" else wanted[:2]


def torch_stage(index: "str | None", wheel: "str | None") -> Stage:
    """Return the stage of torch: from ``wheel``, from ``index``, or from where pip is set to look."""
    found = re.search(r"^torch==(\S+)", PINS.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise InstallError(f"{PINS} has no line torch==VERSION; restore the file")
    pin = found.group(1)
    source = ["--force-reinstall", "--index-url", index, f"torch=={pin}"] if index else [f"torch=={pin}"]
    if wheel:
        if "://" not in wheel:
            path = Path(wheel).expanduser().resolve()
            if not path.is_file():
                raise InstallError(f"--torch-wheel: there is no file {path}")
            wheel = str(path)
        name = re.split(r"[/\\]", wheel)[-1]
        if not re.match(rf"torch-{re.escape(pin)}(-|\+|%2B)", name):
            raise InstallError(
                f"--torch-wheel: {name} is not torch {pin}, which is what Concord is pinned to"
            )
        source = ["--force-reinstall", wheel]
    more = ["--extra-index-url", index] if index else []
    calls = [["--no-deps", *source], [*more, "-c", str(PINS), "torch"]]  # torch, then what it needs
    return Stage(f"torch {pin}", wheel or index or "", 1500, calls)


# The environment


def ensure_venv(wanted: "list[Stage]") -> str:
    """Make ``.venv`` for the stages ``wanted``, anew where it cannot serve; return its interpreter."""
    python = str(VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    if VENV.exists():
        why = defect(python)
        if not why:
            return python
        say(f"{VENV} {why}; making it anew")
        shutil.rmtree(str(VENV))
    command = venv_command()
    check_space(wanted)
    say(f"making {VENV}")
    VENV.mkdir()
    write_record({}, "the environment")
    status, said = heard(command)
    if status:
        last = (said.strip().splitlines() or ["no reason given"])[-1]
        raise InstallError(f"{' '.join(command)} failed: {last}; mend that or use another Python")
    write_record({}, None)
    return python


def venv_command() -> "list[str]":
    """Return the command that makes ``.venv`` with the Python that runs this."""
    # The base, because the Python of the very .venv that is being replaced may run this.
    python = getattr(sys, "_base_executable", None) or sys.executable
    if importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
        return [python, "-m", "venv", str(VENV)]
    if importlib.util.find_spec("virtualenv"):
        return [sys.executable, "-m", "virtualenv", "-p", python, str(VENV)]
    found = shutil.which("virtualenv")
    if found:
        return [found, "-p", python, str(VENV)]
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    raise InstallError(
        f"{python} has no venv with ensurepip, so {VENV} cannot be made; on Debian and Ubuntu "
        f"`apt install {package}`, elsewhere `pip install virtualenv`, then run this again"
    )


def defect(python: str) -> str:
    """Return what is wrong with ``.venv`` and its interpreter ``python``; empty if it can serve."""
    if not (VENV / "pyvenv.cfg").exists() and not RECORD.exists():
        raise InstallError(f"{VENV} is in the way and is no Python environment; move it, then run this again")
    if read_record()[1]:
        return "was left half made"
    try:
        status, said = heard(
            [python, "-c", "import sys; print(*sys.version_info[:2], sep='.', flush=True); import pip"]
        )
    except OSError:
        return "has lost the Python it was made with"
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    version = said.partition("\n")[0]
    if version != own:
        return f"is of Python {version} and this is {own}"
    return "has no pip that works" if status else ""


def heard(command: "list[str]", environ: "dict[str, str] | None" = None) -> "tuple[int, str]":
    """Run ``command`` unseen, with ``environ`` or what suits ``.venv``; return its exit status and output."""
    done = subprocess.run(
        command,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=own_environ() if environ is None else environ,
    )
    return done.returncode, done.stdout


def read_record() -> "tuple[dict[str, str], str | None]":
    """Return the keys of the stages that are done, and the stage that was under way."""
    try:
        record = json.loads(RECORD.read_text(encoding="utf-8"))
        return record["done"], record["doing"]
    except FileNotFoundError:
        return {}, None
    except (ValueError, KeyError, TypeError):
        return {}, "an unreadable record"


def write_record(done: "dict[str, str]", doing: "str | None") -> None:
    """Record which stages are ``done`` and which one is under way."""
    RECORD.write_text(json.dumps({"done": done, "doing": doing}, indent=1), encoding="utf-8")


def check_space(due: "list[Stage]") -> None:
    """Raise InstallError when the disk has too little room for the stages ``due``."""
    needed = sum(stage.megabytes for stage in due)
    free = shutil.disk_usage(str(ROOT)).free // 10**6
    if free < needed:
        raise InstallError(
            f"{ROOT} has {free} MB of disk left and {needed} MB are needed; free some or use another disk"
        )


def install(python: str, wanted: "list[Stage]") -> None:
    """Install those of the stages ``wanted`` that the record does not have."""
    done, _ = read_record()
    due = [stage for stage in wanted if stage.name not in done or stage.key not in ("", done[stage.name])]
    check_space(due)
    for stage in due:
        say(f"installing {stage.name}")
        write_record(done, stage.name)
        for call in stage.calls:
            status, said = pip_install([python], ["--no-compile", *call], own_environ())
            if status:
                if status > 0 and not any(sign in said for sign in DISK_FULL):
                    write_record(done, None)  # pip has undone what it began
                raise InstallError(explain(stage.name, said)) from InstallError(said)
        done[stage.name] = stage.key
        write_record(done, None)


# pip


def pip_install(python: "list[str]", arguments: "list[str]", environ: "dict[str, str]") -> "tuple[int, str]":
    """Run ``pip install`` with its progress shown; return its exit status and what it said on stderr."""
    command = [*python, *PIP, *arguments]
    said = ""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace", env=environ) as pip:
        for line in pip.stderr or ():
            if "Retrying (" in line and "Retrying (" not in said:
                say("the package index does not answer; pip tries again")
            said += line
    return pip.returncode, said


def failure(said: str) -> str:
    """Return the line of what pip ``said`` that names its failure."""
    lines = said.strip().splitlines() or ["pip gave no reason"]
    errors = [line[7:] for line in lines if line.startswith("ERROR: ") and "ResolutionImpossible" not in line]
    return lines[-1] if not errors or errors[-1] == "Exception:" else errors[-1]


def explain(what: str, said: str) -> str:
    """Return one line on why installing ``what`` failed and what to do, from what pip ``said``."""
    error = failure(said)
    if any(sign in said for sign in DISK_FULL):
        advice = "free some disk (8 GB for a CUDA build of torch, --torch-index may name a smaller one)"
    elif any(sign in said for sign in OFFLINE):
        advice = "the package index does not answer: check the network, and pip's proxy and index settings"
    elif "No matching distribution" in error:
        advice = f"no build for this machine and Python {sys.version.split()[0]}: try another Python or index"
    else:
        advice = "--debug shows all that pip said"
    return f"installing {what} failed: {error.rstrip('.')}; {advice}, then run this again"


def add_missing() -> int:
    """Install those packages of requirements.txt that this Python lacks, and say what is lost without the rest.

    Returns 0, as a host starts without them too.
    """
    missing = {name: lost for name, lost in required() if not present(name)}
    if not missing:
        return 0
    python = [sys.executable, "-s"] if sys.flags.no_user_site else [sys.executable]
    status, listed = heard([*python, "-m", "pip", "list", "--format=freeze"], dict(os.environ))
    why = f"{sys.executable} has no working pip" if status else ""
    if not why:
        why = add_each(python, list(missing), listed)
    importlib.invalidate_caches()
    for name, lost in missing.items():
        if present(name):
            say(f"{name} is added")
        else:
            say(
                f"{name} is missing ({why}); without it: {lost}; to add it: {python[0]} -m pip install {name}"
            )
    return 0


def required() -> "list[tuple[str, str]]":
    """Return the packages of requirements.txt, each with what is lost without it."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.partition("#") for line in lines if line and not line.startswith("#")]
    return [(name.strip(), lost.strip()) for name, _, lost in pairs]


def add_each(python: "list[str]", names: "list[str]", listed: str) -> str:
    """Install ``names`` one by one beside what pip ``listed``; return why one that is missing now is so.

    Nothing that is there is changed.  After an index that does not answer no further package is asked for.
    """
    why = "it cannot be imported"
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder, "kept.txt")
        kept.write_text("".join(re.findall(r"^[\w.-]+==\S+\n", listed, re.MULTILINE)), encoding="utf-8")
        for name in names:
            status, said = heard([*python, *PIP, *BRIEFLY, "-c", str(kept), name], dict(os.environ))
            if status and any(sign in said for sign in OFFLINE):
                return "the package index does not answer"
            if status:
                why = failure(said)
    return why


def present(name: str) -> bool:
    """Return whether this Python can import ``name``."""
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
