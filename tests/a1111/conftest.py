"""Fixtures: the fake web UIs."""

from webui_fake import make_webui, webui_fake

__all__ = ["make_webui", "webui_fake"]
