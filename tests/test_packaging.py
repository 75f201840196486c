"""The ways in which the folder becomes a package: wheel, editable, ComfyUI, A1111, and under any name."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PARTS = ("core", "comfy_nodes", "a1111_scripts", "harness")
DATA = ("models", "example_workflows", "locales")
FILES = ("__init__.py", "install.py", "setup.py", "pyproject.toml", "README.md", "LICENSE", "constraints.txt")
AGPL = "0d96a4ff68ad6d4b6f1f30f713b18d5184912ba8dd389f86aa7710db079abcb0"  # sha256 of gnu.org's agpl-3.0.txt
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="session")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout in a folder whose name is no identifier."""
    folder = tmp_path_factory.mktemp("somewhere") / "ComfyUI-Concord v1.x (copy)"
    folder.mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    for part in (*PARTS, *DATA, "scripts", "tests"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "golden"))
    return folder


@pytest.fixture(scope="session")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("build_wheel", checkout, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip installed the wheel."""
    folder = tmp_path_factory.mktemp("target")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(folder),
    ]
    subprocess.run([*pip, str(wheel)], check=True)
    return folder


def built(hook: str, checkout: Path, folder: Path) -> Path:
    """Call a hook of the build backend the way pip does; return the wheel."""
    call = f"import sys; from setuptools.build_meta import {hook}; {hook}(sys.argv[1])"
    subprocess.run([sys.executable, "-c", call, str(folder)], cwd=checkout, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def python(*argv: str, cwd: Path, path: Path | None = None, isolated: bool = False) -> str:
    """Run Python in ``cwd`` with ``path`` ahead of everything; return what it printed, or fail with it."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path is not None:
        environ["PYTHONPATH"] = str(path)
    command = [sys.executable, *(["-I", "-S"] if isolated else []), *argv]
    done = subprocess.run(command, cwd=cwd, env=environ, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# The project file


def test_the_packages_are_those_of_the_tree(project: dict[str, Any]) -> None:
    folders = {path.parent.relative_to(ROOT) for part in PARTS for path in (ROOT / part).rglob("*.py")}
    tree = {".".join(("sd_concord", *folder.parts)) for folder in folders}
    assert set(project["tool"]["setuptools"]["packages"]) == tree | {"sd_concord"}


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for part in PARTS for path in (ROOT / part).rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]


def test_every_package_that_is_asked_for_is_pinned(project: dict[str, Any]) -> None:
    extras = project["project"]["optional-dependencies"].values()
    asked = {
        re.split("[<>=]", name)[0]
        for extra in (project["project"]["dependencies"], *extras)
        for name in extra
    }
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert asked == {name for name in asked if re.search(rf"^{name}==", pins, re.MULTILINE)}


def test_a_wheel_brings_what_hosts_are_asked_for_and_no_torch(project: dict[str, Any]) -> None:
    asked = set(project["project"]["dependencies"])
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert {line.partition("#")[0].strip() for line in lines if not line.startswith("#")} <= asked
    assert not {name for name in asked if name.startswith("torch")}


def test_a_checkout_that_is_not_installed_knows_its_version(project: dict[str, Any]) -> None:
    source = (ROOT / "core" / "version.py").read_text(encoding="utf-8")
    assert f'_CHECKOUT = "{project["project"]["version"]}"' in source


def test_comfyuis_registry_is_told_what_it_shows(project: dict[str, Any]) -> None:
    told = project["tool"]["comfy"]
    assert told["PublisherId"]
    assert told["DisplayName"] == "Concord"
    assert told["requires-comfyui"] == ">=0.3.52"
    assert told["Icon"].startswith("https://") or (ROOT / told["Icon"]).read_bytes().startswith(PNG)
    assert "web" not in told, "the root module's WEB_DIRECTORY says it; twice is served twice"
    assert "comfyui" not in project["project"]["name"].lower()


def test_the_licence_is_the_whole_agpl() -> None:
    text = (ROOT / "LICENSE").read_bytes().replace(b"\r\n", b"\n")
    assert hashlib.sha256(text).hexdigest() == AGPL


# The wheel


def test_the_wheel_holds_the_package_with_its_data_and_nothing_else(wheel: Path, checkout: Path) -> None:
    wanted = {"sd_concord/__init__.py"} | {
        f"sd_concord/{path.relative_to(checkout).as_posix()}"
        for part in (*PARTS, *DATA)
        for path in (checkout / part).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == wanted
    assert names.isdisjoint({"sd_concord/install.py", "sd_concord/setup.py", "install.py", "setup.py"})


def test_the_wheel_has_the_licences(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]


def test_the_installed_wheel_is_complete(installed: Path, tmp_path: Path, project: dict[str, Any]) -> None:
    code = "import sd_concord, sd_concord.core.prompt as p; p.clip_tokenizer(); print(sd_concord.__file__)"
    assert python("-c", code, cwd=tmp_path, path=installed).startswith(str(installed))
    told = python("-m", "sd_concord.harness.cli", "--version", cwd=tmp_path, path=installed)
    assert told == f"sd-concord {project['project']['version']}\n"
    assert [path.stem for path in (installed / "bin").iterdir()] == ["sd-concord"]


def test_the_installed_wheel_renders_a_picture(installed: Path, tmp_path: Path) -> None:
    asked = ["generate", "a red circle", "--steps", "2", "--seed", "1", "--out", "picture.png", "--quiet"]
    code = (
        "import sys, sd_concord; from sd_concord.harness.cli import main; status = main(sys.argv[1:]); "
        "print(sd_concord.__file__); sys.exit(status)"
    )
    assert str(installed) in python("-c", code, *asked, cwd=tmp_path, path=installed)
    assert (tmp_path / "picture.png").read_bytes().startswith(PNG)


# The checkout


def test_an_editable_installation_reads_the_checkout(
    checkout: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    zipfile.ZipFile(built("build_editable", checkout, tmp_path)).extractall(tmp_path / "site")
    code = (
        f"import site; site.addsitedir({str(tmp_path / 'site')!r}); import sd_concord.core.errors as e, "
        "sd_concord.a1111_scripts; print(e.__file__)"
    )
    told = python("-c", code, cwd=tmp_path_factory.mktemp("elsewhere"), isolated=True)
    assert Path(told.strip()).samefile(checkout / "core" / "errors.py")


def test_pytest_runs_in_a_folder_of_any_name(checkout: Path) -> None:
    told = python("-m", "pytest", "-q", "tests/test_boundaries.py", "-k", "root_module", cwd=checkout)
    assert told.splitlines()[-1].startswith("1 passed")


COMFYUI = """
import asyncio, importlib.util, inspect, os, pathlib, sys

sys.path.insert(0, sys.argv[2])
from comfy_fake import modules_of

host = modules_of(pathlib.Path(sys.argv[3]))
sys.modules.update(host)
del sys.path[0]
ComfyExtension = host["comfy_api.latest"].ComfyExtension

path = sys.argv[1]
name = path.replace(".", "_x_")
spec = importlib.util.spec_from_file_location(name, os.path.join(path, "__init__.py"))
module = importlib.util.module_from_spec(spec)
sys.modules[name] = module
before = set(sys.modules)
spec.loader.exec_module(module)
assert set(sys.modules) == before, "imported something early"
assert not hasattr(module, "NODE_CLASS_MAPPINGS"), "hides comfy_entrypoint"
assert inspect.iscoroutinefunction(module.comfy_entrypoint)
extension = asyncio.run(module.comfy_entrypoint())
assert isinstance(extension, ComfyExtension)
assert all(issubclass(node, object) for node in asyncio.run(extension.get_node_list()))
assert name + ".comfy_nodes" in sys.modules
assert not [key for key in sys.modules if key.partition(".")[0] in ("sd_concord", "core", "comfy_nodes")]
print("loaded")
"""


def test_comfyui_loads_the_folder(checkout: Path, tmp_path: Path) -> None:
    support = str(ROOT / "tests" / "support")
    assert python("-c", COMFYUI, str(checkout), support, str(tmp_path), cwd=tmp_path) == "loaded\n"


A1111 = """
import importlib.util, os, sys

root = sys.argv[1]
def load():
    path = os.path.join(root, "scripts", "concord.py")
    spec = importlib.util.spec_from_file_location("concord.py", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return sys.modules["sd_concord"], sys.modules["sd_concord.a1111_scripts"]

sys.path.insert(0, root)
first = load()
sys.path.remove(root)
sys.modules["sd_concord.gone"] = sys
second = load()
assert "sd_concord.gone" not in sys.modules, "a module that is stale stayed"
assert second[0] is not first[0] and second[1] is not first[1], "reload kept the code of before"
assert not {"concord", "concord.py", "core", "a1111_scripts", "scripts"} & set(sys.modules)
for module in (*first, *second):
    assert module.__file__.startswith(os.path.realpath(root)), module.__file__
print("loaded")
"""


def test_a1111_loads_the_script_twice(checkout: Path, tmp_path: Path) -> None:
    assert python("-c", A1111, str(checkout), cwd=tmp_path) == "loaded\n"


def test_the_script_registers_each_time(checkout: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(checkout / "scripts", other / "scripts")
    shutil.copy(checkout / "__init__.py", other)
    (other / "a1111_scripts.py").write_text("def register(): print('registered'); return []")
    assert python("-c", A1111, str(other), cwd=tmp_path) == "registered\nregistered\nloaded\n"


def test_the_package_here_is_the_checkout() -> None:
    spec = importlib.util.find_spec("sd_concord")
    assert spec is not None
    assert Path(str(spec.origin)).samefile(ROOT / "__init__.py")
