"""What Concord's panels share: they are always there, on both tabs, and may look at controls of the host."""

from __future__ import annotations

from typing import Any, ClassVar

from .host import scripts


class Panel(scripts.Script):
    """A panel of the host's tabs.

    ``label``: what the host and its API call it; ``name`` is the host's own.  ``watched``: controls of the host that
    it looks at or fills, by the end of their ids; ``seen`` has those that are there, by "txt2img_steps" and the
    like.
    """

    label: ClassVar[str] = ""
    watched: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        """Know no control of the host yet."""
        super().__init__()
        self.seen: dict[str, Any] = {}

    def title(self) -> str:
        """Return the name that the host and its API know the script by."""
        return self.label

    def show(self, is_img2img: bool) -> Any:
        """Be there always, on both tabs."""
        del is_img2img
        return scripts.AlwaysVisible

    def after_component(self, component: Any, **given: Any) -> None:
        """Remember the host's controls that are watched."""
        tab, _, name = str(given.get("elem_id") or "").partition("_")
        if name in self.watched and tab in ("txt2img", "img2img"):
            self.seen[f"{tab}_{name}"] = component
