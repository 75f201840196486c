"""A model file as the web UIs name it."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import BadType


@dataclass(frozen=True, kw_only=True)
class ModelRef:
    """A checkpoint, VAE, LoRA or embedding: its name without folder and ending, and its short hash.

    None: not known.  The web UIs hash with SHA-256 (10 digits for checkpoints and VAEs, 12 for LoRA files).
    """

    name: str | None = None
    hash: str | None = None

    def __post_init__(self) -> None:
        """Check the fields; raises ``BadType``."""
        for field in ("name", "hash"):
            value = getattr(self, field)
            if value is not None and not isinstance(value, str):
                raise BadType(f"the {field} of a model is {value!r}; pass text, or None when it is not known")
