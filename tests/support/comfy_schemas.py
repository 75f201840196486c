"""The schemas of Concord's nodes over the stand-in of ComfyUI, and what is made of them: classes, tables, locales."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from comfy_fake import PACKAGE, FakeComfy, Port

ROOT = Path(__file__).parents[2]
FORBIDDEN = "{}|@"
"""Signs that the page's translations take for syntax, and swallow."""
MOST_OPTIONS = 8
"""A help page lists the entries of a dropdown up to this number."""


def schemas_of(fake: FakeComfy) -> dict[str, Any]:
    """Return the schema of every node by its id, in the order of the menu."""
    folders: Any = fake.module("host").folder_paths
    folders.models_dir = str(fake.folder)
    folders.filter_files_content_types = lambda files, kinds: list(files)
    nodes = [node for name in import_module(PACKAGE).MODULES for node in fake.module(name).NODES]
    return {one.node_id: one for one in (node.define_schema() for node in nodes)}


def as_class(schema: Any) -> type:
    """Return a schema as a node class that declares itself as ComfyUI's nodes do."""
    required, optional = (
        {one.id: (one.kind, one.given) for one in schema.inputs if bool(one.given.get("optional")) is wanted}
        for wanted in (False, True)
    )
    inputs = {"required": required, "optional": optional}
    outputs = [(one.kind, label(one) or one.kind) for one in schema.outputs]
    return type(
        schema.node_id,
        (),
        {
            "INPUT_TYPES": classmethod(lambda cls: inputs),
            "RETURN_TYPES": [kind for kind, _ in outputs],
            "RETURN_NAMES": [name for _, name in outputs],
        },
    )


def label(port: Port) -> str:
    """Return what an input or output is called on the node."""
    return port.given.get("display_name") or port.id


def english(schemas: Iterable[Any]) -> dict[str, Any]:
    """Return the English ``nodeDefs.json`` of nodes.

    Texts with `FORBIDDEN` signs are left out: the page then shows the node's own, whole.
    """
    return {one.node_id: _english(one) for one in schemas}


def _english(schema: Any) -> dict[str, Any]:
    found = {"display_name": schema.display_name, "description": schema.description}
    return {name: text for name, text in found.items() if _is_plain(text)} | {
        "inputs": {port.id: _words(port) for port in schema.inputs},
        "outputs": {str(i): _words(port) for i, port in enumerate(schema.outputs)},
    }


def tables(schema: Any) -> str:
    """Return the part of a help page that says what goes in and what comes out."""
    lines = ["## Inputs", "", "| input | type | default | what it is |", "|---|---|---|---|"]
    lines += [
        f"| `{one.id}` | {_type(one)} | {_default(one)} | {_cell(_tip(one))} |" for one in schema.inputs
    ]
    lines += ["", "## Outputs", "", "| output | type | what it is |", "|---|---|---|"]
    lines += [f"| {label(one) or one.kind} | {one.kind} | {_cell(_tip(one))} |" for one in schema.outputs]
    return "\n".join([*lines, ""])


def kept(path: Path, wanted: str) -> bool:
    """Tell whether a file holds ``wanted``; with ``CONCORD_WRITE`` set, write it so."""
    if os.environ.get("CONCORD_WRITE"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted, encoding="utf-8")
    return path.is_file() and path.read_text(encoding="utf-8") == wanted


def texts(value: Any) -> Iterator[str]:
    """Yield all texts in a value of JSON."""
    if isinstance(value, dict):
        for one in value.values():
            yield from texts(one)
    elif isinstance(value, str):
        yield value


def _words(port: Port) -> dict[str, str]:
    found = {"name": label(port).replace("_", " ") or port.kind, "tooltip": _tip(port)}
    return {key: text for key, text in found.items() if text and _is_plain(text)}


def _is_plain(text: str) -> bool:
    return not set(text) & set(FORBIDDEN)


def _tip(port: Port) -> str:
    return port.given.get("tooltip", "")


def _type(port: Port) -> str:
    options = port.given.get("options") or []
    if 0 < len(options) <= MOST_OPTIONS:
        return "one of " + ", ".join(f"`{one}`" for one in options)
    return port.kind + (" (optional)" if port.given.get("optional") else "")


def _default(port: Port) -> str:
    value = port.given.get("default")
    return "" if value is None else f"`{value}`" if value != "" else "empty"


def _cell(text: str) -> str:
    """Return text as a cell of a Markdown table shows it."""
    return text.replace("|", "\\|").replace("<", "&lt;")
