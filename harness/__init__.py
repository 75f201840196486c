"""The standalone front: the command line, the diffusers host and the training of the embedded model.

from sd_concord.harness import Pipeline
[picture] = Pipeline.load()("a red circle left of a blue square", steps=20, seed=1)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .pipeline import Picture, Pipeline

__all__ = ["Picture", "Pipeline"]


def __getattr__(name: str) -> Any:
    """Import the pipeline when it is first asked for: it loads torch."""
    if name in __all__:
        from . import pipeline

        return getattr(pipeline, name)
    raise AttributeError(name)
