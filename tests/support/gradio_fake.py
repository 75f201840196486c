"""A small stand-in for gradio 3.41 and 4.40: components that take the arguments of that version and no others."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

VERSIONS = {3: "3.41.2", 4: "4.40.0"}
_BOX = "every show_label container scale min_width interactive visible elem_id elem_classes"
_BOTH = {
    "Accordion": "label open visible elem_id",
    "Blocks": "theme analytics_enabled mode title css",
    "Button": "value variant size icon link visible interactive elem_id elem_classes scale min_width",
    "Checkbox": f"value label info {_BOX}",
    "CheckboxGroup": f"choices value type label info {_BOX}",
    "Code": "value language lines label interactive show_label container scale min_width visible elem_id elem_classes",
    "Column": "scale min_width variant visible elem_id",
    "Dataframe": "value headers row_count col_count datatype type label every show_label height scale min_width "
    "interactive visible elem_id elem_classes wrap",
    "Dropdown": f"choices value type multiselect allow_custom_value max_choices label info {_BOX}",
    "File": f"value file_count file_types type label height {_BOX}",
    "Gallery": "value label every show_label container scale min_width visible elem_id elem_classes columns rows "
    "height preview object_fit allow_preview show_share_button show_download_button",
    "Group": "visible elem_id",
    "HTML": "value label every show_label visible elem_id elem_classes",
    "HighlightedText": "value color_map show_legend combine_adjacent adjacent_separator label every show_label "
    "container scale min_width visible elem_id elem_classes",
    "Image": f"value height width image_mode type label show_download_button streaming show_share_button {_BOX}",
    "JSON": "value label every show_label container scale min_width visible elem_id elem_classes",
    "Markdown": "value rtl latex_delimiters visible elem_id elem_classes",
    "Number": f"value label info precision minimum maximum step {_BOX}",
    "Radio": f"choices value type label info {_BOX}",
    "Row": "variant visible elem_id equal_height",
    "Slider": f"minimum maximum value step label info randomize {_BOX}",
    "State": "value",
    "Tab": "label id elem_id",
    "Tabs": "selected visible elem_id",
    "Textbox": f"value lines max_lines placeholder label info autofocus type text_align show_copy_button {_BOX}",
    "UploadButton": "label value variant visible size scale min_width interactive elem_id elem_classes type "
    "file_count file_types",
}
_ONLY: dict[int, dict[str, str]] = {
    3: {
        "Image": "shape invert_colors source tool brush_radius brush_color mask_opacity",
        "Box": "visible elem_id",
    },
    4: {
        **dict.fromkeys(("Accordion", "Column", "Group", "Row", "Tab", "Tabs"), "elem_classes render"),
        "Dropdown": "filterable inputs render key",
        "HighlightedText": "show_inline_category interactive render key",
        "Image": "format sources inputs render key",
        "JSON": "open show_indices render key",
        "Markdown": "label height sanitize_html line_breaks show_copy_button render key",
        "Textbox": "autoscroll inputs render key",
    },
}
_EVENTS = {
    **dict.fromkeys(("Checkbox", "CheckboxGroup", "Radio"), "change input select"),
    **dict.fromkeys(("HTML", "JSON", "Markdown", "State"), "change"),
    "Blocks": "load",
    "Button": "click",
    "Dropdown": "change input select focus blur",
    "File": "change select upload clear",
    "Gallery": "select",
    "Image": "change select upload clear",
    "Number": "change input submit",
    "Slider": "change input release",
    "Tab": "select",
    "Textbox": "change input submit blur",
    "UploadButton": "click upload",
}
_LAYOUT = {"Accordion", "Blocks", "Box", "Column", "Group", "Row", "Tab", "Tabs"}


class Component:
    """What a script made: ``kind``, ``given``, its ``value`` and ``elem_id``, and the ``events`` bound to it."""

    kind = ""
    takes: tuple[str, ...] = ()
    made: list[Component]

    def __init__(self, *args: Any, **given: Any) -> None:
        unknown = [name for name in given if name not in self.takes]
        if unknown or len(args) > len(self.takes):
            raise TypeError(f"{self.kind}() got an unexpected argument {unknown or args}")
        self.given = dict(zip(self.takes, args, strict=False)) | given
        self.value, self.label = self.given.get("value"), self.given.get("label")
        self.elem_id, self.choices = self.given.get("elem_id"), self.given.get("choices")
        self.events: dict[str, list[Callable[..., Any]]] = {}
        self.made.append(self)

    def __getattr__(self, name: str) -> Any:
        if name not in _EVENTS.get(self.kind, "").split():
            raise AttributeError(f"{self.kind} has no {name}")

        def bind(
            fn: Callable[..., Any] | None = None, inputs: Any = None, outputs: Any = None, **more: Any
        ) -> Any:
            self.events.setdefault(name, []).append(
                SimpleNamespace(fn=fn, inputs=inputs, outputs=outputs, **more)
            )
            return SimpleNamespace(then=bind, success=bind)

        return bind


class Layout(Component):
    """A component that others are made in."""

    def __enter__(self) -> Layout:
        return self

    def __exit__(self, *raised: object) -> None:
        return None


def fake_gradio(major: int) -> ModuleType:
    """Return a module ``gradio`` of that major version; ``made`` lists the components in order."""
    module: Any = ModuleType("gradio")
    module.__version__ = VERSIONS[major]
    made: list[Component] = []
    for kind in _BOTH.keys() | _ONLY[major].keys():
        takes = f"{_BOTH.get(kind, '')} {_ONLY[major].get(kind, '')}".split()
        base = Layout if kind in _LAYOUT else Component
        setattr(module, kind, type(kind, (base,), {"kind": kind, "takes": tuple(takes), "made": made}))
    module.TabItem, module.made = module.Tab, made
    module.update = lambda **given: {"__type__": "update", **given}
    module.skip = lambda: {"__type__": "update"}
    module.Request, module.SelectData, module.Error = object, object, RuntimeError
    module.Warning = module.Info = lambda message: None
    return module
