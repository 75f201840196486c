"""What each part may import, and the shape every module keeps."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("core", "comfy_nodes", "a1111_scripts", "harness")
SCIENCE = {"torch", "numpy", "scipy", "PIL", "safetensors", "ftfy", "regex"}
OPTIONAL = {"ultralytics", "onnxruntime", "spandrel", "skimage", "facenet_pytorch", "dynamicprompts", "yaml"}
PEERS = {"torchsde", "compel"}
"""What the benchmarks compare with, where it is installed."""
HOSTS = {
    "core": set[str](),
    "comfy_nodes": {
        "aiohttp",
        "comfy",
        "comfy_api",
        "comfy_execution",
        "folder_paths",
        "latent_preview",
        "nodes",
        "server",
    },
    "a1111_scripts": {"backend", "gradio", "modules", "modules_forge", "starlette"},
    "harness": {"diffusers", "ray", "tqdm", "transformers"},
}
NO_NAMES = {"utils", "helpers", "common", "misc"}
LONGEST = 400


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imports(tree: ast.AST, inside: bool = False) -> Iterator[tuple[str, int, bool]]:
    """Yield ``(module, level, inside a function)`` of every import, import_module("…") included."""
    for node in ast.iter_child_nodes(tree):
        within = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is None:
            yield from ((alias.name, node.level, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.level, inside
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            match node.args:
                case [ast.Constant(value=str(name)), *_]:
                    yield name.lstrip("."), len(name) - len(name.lstrip(".")), inside
        yield from imports(node, within)


def breaches(path: Path, source: str) -> list[str]:
    """Return what the imports of ``source``, a file at ``path`` below the root, do that they may not."""
    part, found = path.parts[0], []
    allowed = sys.stdlib_module_names | SCIENCE | HOSTS[part]
    optional = OPTIONAL | PEERS if path.parts[:2] == ("harness", "bench") else OPTIONAL
    if path == Path("core/torchvision_stand_in.py"):
        optional = optional | {"torchvision"}
    for module, level, inside in imports(ast.parse(source)):
        top = module.partition(".")[0]
        if level:
            target = (*path.parts[:-level], top)[0] if level < len(path.parts) else top
            if level > len(path.parts) or target not in {part, "core"}:
                found.append(f"{path}: {'.' * level}{module} leads into {target}")
        elif top in {"sd_concord", *PARTS}:
            found.append(f"{path}: {module} is imported by an absolute name")
        elif top not in allowed and not (inside and top in optional):
            found.append(f"{path}: {module} is not for {part}")
    return found


@pytest.mark.parametrize("part", PARTS)
def test_a_part_imports_its_host_the_core_and_itself(part: str) -> None:
    found = [
        breach
        for path in files(part)
        for breach in breaches(path.relative_to(ROOT), path.read_text(encoding="utf-8"))
    ]
    assert not found


@pytest.mark.parametrize(
    ("path", "line", "allowed"),
    [
        ("core/sigmas/ays.py", "from ..errors import BadValue", True),
        ("core/sigmas/ays.py", "from ...harness import cli", False),
        ("core/sigmas/ays.py", "from ... import harness", False),
        ("core/sigmas/ays.py", "from ....other import x", False),
        ("core/sigmas/ays.py", "import diffusers", False),
        ("core/sigmas/ays.py", "from sd_concord.core import errors", False),
        ("core/sigmas/ays.py", "import core.errors", False),
        ("core/detailer/yolo.py", "import ultralytics", False),
        ("core/detailer/yolo.py", "def load(): import ultralytics", True),
        ("core/detailer/yolo.py", "def load(): import comfy.samplers", False),
        ("core/detailer/yolo.py", "def load(): import torchvision", False),
        ("core/torchvision_stand_in.py", "def load(): import torchvision", True),
        ("core/detailer/yolo.py", "def load(): return import_module('comfy.samplers')", False),
        ("comfy_nodes/prompt.py", "from ..core.prompt import plan", True),
        ("comfy_nodes/prompt.py", "from ..harness import Pipeline", False),
        ("comfy_nodes/prompt.py", "from comfy_api.latest import io", True),
        ("comfy_nodes/prompt.py", "import modules.shared", False),
        ("a1111_scripts/prompt.py", "from ..comfy_nodes import extension", False),
        ("harness/bench/sampling.py", "def tree(): import torchsde", True),
        ("harness/bench/sampling.py", "import torchsde", False),
        ("core/sampling/noise.py", "def tree(): import torchsde", False),
        ("harness/cli.py", "import_module('.commands.bench', __package__)", True),
        ("harness/cli.py", "importlib.import_module('..comfy_nodes', __package__)", False),
    ],
)
def test_a_breach_is_found(path: str, line: str, allowed: bool) -> None:
    assert (breaches(Path(path), line) == []) == allowed


def test_the_root_module_imports_nothing_until_asked() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    assert {module for module, _, _ in imports(tree)} == {"comfy_nodes"}
    assert all(inside for _, _, inside in imports(tree))


@pytest.mark.parametrize("path", [*files("scripts"), ROOT / "install.py"], ids=lambda path: path.name)
def test_what_a_host_runs_as_a_file_needs_only_the_standard_library(path: Path) -> None:
    # A1111 keeps scripts/*.py out of sys.modules: relative imports and dataclasses fail there.
    found = {(module, level) for module, level, _ in imports(ast.parse(path.read_text(encoding="utf-8")))}
    assert all(level == 0 for _, level in found)
    names = {module.partition(".")[0] for module, _ in found} - {"sd_concord"}
    assert names <= sys.stdlib_module_names - {"dataclasses"}


def test_no_module_has_a_name_that_says_nothing() -> None:
    folders = [
        path for part in (*PARTS, "tests") for path in (ROOT / part).rglob("*") if path.suffix in {"", ".py"}
    ]
    assert not [path for path in folders if path.stem.strip("_") in NO_NAMES]


def lines_of_code(source: str) -> int:
    """Count the lines of ``source`` without its tables: constants of the module that span several lines."""
    tables = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.end_lineno is not None
    ]
    return len(source.splitlines()) - sum((node.end_lineno or 0) - node.lineno for node in tables)


@pytest.mark.parametrize("part", PARTS)
def test_no_module_is_longer_than_a_subject(part: str) -> None:
    long = {path.relative_to(ROOT): lines_of_code(path.read_text(encoding="utf-8")) for path in files(part)}
    assert not {path: lines for path, lines in long.items() if lines > LONGEST}


def test_a_table_does_not_count_as_code() -> None:
    assert lines_of_code("A = {\n  1: 2,\n  3: 4,\n}\n\ndef f():\n    return 1\n") == 4
