"""The detailer's settings in the web UI, and the names by which they are kept."""

from __future__ import annotations

from typing import Any

from .host import gr, listen, shared

SECTION = ("concord", "Concord")
UNITS = "concord_detailer_units"
CROPS = "concord_detailer_crops"
SCRIPTS = "concord_detailer_scripts"
FOLDERS = "concord_detailer_folders"
SAVE_BEFORE = "concord_detailer_save_before"
SAVE_PREVIEWS = "concord_detailer_save_previews"
MOST_UNITS = 15
DEFAULTS: dict[str, Any] = {
    UNITS: 4,
    CROPS: 8,
    SCRIPTS: "dynamic_prompting,dynamic_thresholding,lora_block_weight,negpip,wildcard_recursive,wildcards,"
    "soft_inpainting,hypertile_script",
    FOLDERS: "",
    SAVE_BEFORE: False,
    SAVE_PREVIEWS: False,
}
"""What counts where nobody has set anything; the scripts are those that ADetailer lets into its passes."""


def setting(name: str) -> Any:
    """Return a setting; its default where the host has no page of settings."""
    return shared.opts.data.get(name, DEFAULTS[name])


def units() -> int:
    """Return how many units there are, at least one."""
    return max(1, min(int(setting(UNITS)), MOST_UNITS))


def add_settings() -> None:
    """Add the settings when the host makes its page of them."""
    listen("ui_settings", _add)


def _add() -> None:
    slider = {"minimum": 1, "maximum": MOST_UNITS, "step": 1}
    _option(UNITS, "Units of the detailer", gr.Slider, slider).needs_reload_ui()
    _option(
        CROPS, "Parts that the detailer draws at once", gr.Slider, {"minimum": 1, "maximum": 32, "step": 1}
    )
    _option(FOLDERS, "More folders of detectors, parted by |")
    _option(SCRIPTS, "Scripts that work in the detailer's own passes too: names of their files, with commas")
    _option(SAVE_BEFORE, "Save the picture before the detailer")
    _option(SAVE_PREVIEWS, "Save what the detailer has found")


def _option(name: str, label: str, component: Any = None, args: dict[str, Any] | None = None) -> Any:
    info = shared.OptionInfo(DEFAULTS[name], label, component, args, section=SECTION)
    shared.opts.add_option(name, info)
    return info
