"""Detectors' checkpoints, read without running them: inert unpickling, conversion, and strict rebuilding."""

from __future__ import annotations

from .convert import convert_detector, read_converted
from .network import Network, build_network

__all__ = ["Network", "build_network", "convert_detector", "read_converted"]
