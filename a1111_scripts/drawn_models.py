"""A second checkpoint for a part of a picture: the host is given it, and its own back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from typing import Any

from ..core.errors import BadValue
from .host import sd_models, shared


class Checkpoints:
    """The checkpoints of one drawing; ``use`` loads another one, ``give_back`` that of its beginning.

    The host's own choice, which its page shows, stays as it is.
    """

    def __init__(self) -> None:
        """Remember what is loaded."""
        self._own = shared.sd_model.sd_checkpoint_info

    @property
    def is_away(self) -> bool:
        """Tell whether another one is loaded."""
        return not _is(shared.sd_model.sd_checkpoint_info, self._own)

    def use(self, name: str) -> Any:
        """Return the host's model of checkpoint ``name``, loaded; raises ``BadValue`` where the host has none."""
        return self._load(checkpoint_called(name))

    def give_back(self) -> Any:
        """Return the model that was loaded before, loaded."""
        return self._load(self._own)

    @staticmethod
    def _load(info: Any) -> Any:
        if _is(shared.sd_model.sd_checkpoint_info, info):
            return shared.sd_model
        with _unwritten():
            if hasattr(sd_models, "forge_model_reload"):
                _reload_forge(info)
            else:
                sd_models.reload_model_weights(info=info)
        return shared.sd_model


def _is(one: Any, other: Any) -> bool:
    return one is other or one.filename == other.filename


def checkpoint_called(name: str) -> Any:
    """Return the host's entry of the checkpoint that a text calls ``name``; raises ``BadValue``."""
    found = sd_models.get_closet_checkpoint_match(name)
    if found is None:
        raise BadValue(
            f"the refiner {name} is not among the host's checkpoints; put it into its models folder and refresh"
        )
    return found


def _unwritten() -> AbstractContextManager[Any]:
    """Return what keeps the host from writing its choice into its settings file."""
    kept = getattr(sd_models, "SkipWritingToConfig", None)
    return nullcontext() if kept is None else kept()


def _reload_forge(info: Any) -> None:
    """Let Forge load a checkpoint; it goes by its settings, which are put back at once."""
    with _chosen(info.title):
        entry: Any = import_module("modules_forge.main_entry")
        entry.refresh_model_loading_parameters()
        sd_models.forge_model_reload()


@contextmanager
def _chosen(title: str) -> Iterator[None]:
    data: dict[str, Any] = shared.opts.data
    was_set, before = "sd_model_checkpoint" in data, data.get("sd_model_checkpoint")
    data["sd_model_checkpoint"] = title
    try:
        yield
    finally:
        if was_set:
            data["sd_model_checkpoint"] = before
        else:
            del data["sd_model_checkpoint"]
        entry: Any = import_module("modules_forge.main_entry")
        entry.refresh_model_loading_parameters()
