"""Which model a sweep draws with, on what, and where other files are found; the same on every machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ...core.errors import BadFile, BadValue
from ..pipeline import DEMO


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What `load_model` and `Pipeline` are given, as texts; an empty ``model`` is the embedded one.

    Paths are absolute, so that they hold wherever a sweep is gone on with.
    """

    model: str = ""
    vae: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    prediction: str | None = None
    ztsnr: bool | None = None
    lora_dir: tuple[str, ...] = ()
    embedding_dir: tuple[str, ...] = ()
    model_dir: tuple[str, ...] = ()
    upscaler_dir: tuple[str, ...] = ()
    detector_dir: tuple[str, ...] = ()
    detailer_batch: int | None = None

    @property
    def path(self) -> Path:
        """The model's file or folder."""
        return Path(self.model) if self.model else DEMO

    @classmethod
    def of(cls, args: Any) -> Setup:
        """Return the setup of the options of a command line; raises ``BadFile`` for a folder that is not there."""
        values: dict[str, Any] = {}
        for field in fields(cls):
            value = getattr(args, field.name, None)
            if field.name.endswith("_dir"):
                values[field.name] = tuple(_folder(field.name, one) for one in value or ())
            elif isinstance(value, Path):
                values[field.name] = "" if value == DEMO else str(value.expanduser().absolute())
            elif value is not None:
                values[field.name] = value
        return cls(**values)

    @classmethod
    def restored(cls, data: dict[str, Any]) -> Setup:
        """Return the setup that ``plain`` made ``data`` of; raises ``BadValue`` for one of another version."""
        try:
            values: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
            }
            return cls(**values)
        except TypeError as error:
            raise BadValue(f"the journal's setup is of another version of Concord ({error})") from error

    def plain(self) -> dict[str, Any]:
        """Return the setup as JSON has it."""
        return asdict(self)


def _folder(option: str, path: Path) -> str:
    if not path.is_dir():
        raise BadFile(f"--{option.replace('_', '-')} {path} is not a folder; check the path")
    return str(path.expanduser().absolute())
